/**
 * A stream of Falco's alerts with the structure that real ones have: many rules, identities that come once, in a burst
 * of at most 44 s of repeats, and never again; seven of ten alerts are repeats. What varies between the repeats of an
 * identity is what does in Falco's output: times, event numbers, process ids, client ports.
 */
import type { JsonObject } from "../../src/model/json.ts";

export interface StreamOptions {
  readonly identities: number;
  readonly seed?: number;
  /** The last alert's time, in ms since the epoch. */
  readonly endAt: number;
  /** From the first alert to the last. */
  readonly spanMs?: number;
  readonly namespaces?: number;
}

export interface FalcoStream {
  /** In order of time, one body a request. */
  readonly alerts: readonly JsonObject[];
  readonly identities: number;
  /** Where their Pods are. */
  readonly namespaces: readonly string[];
}

const RULES = 96;
const NODES = 7;
const REPEATS_OF_TEN = 7;
const LONGEST_BURST_MS = 44_000;
const PRIORITIES = ["Warning", "Notice", "Critical", "Informational", "Error", "Debug", "Emergency"];

/** Makes the stream; the same for the same options. */
export function falcoStream(options: StreamOptions): FalcoStream {
  const { identities, seed = 20_261_122, endAt, spanMs = 1_782_000, namespaces: count = 8 } = options;
  const random = randomOf(seed);
  const namespaces = Array.from({ length: count }, (_, index) => `team-${index}`);
  const total = Math.round(identities * 10 / (10 - REPEATS_OF_TEN));
  const sizes = burstSizes(identities, total, random);
  const beganAt = endAt - spanMs;
  const sent: { at: number; identity: number }[] = [];
  for (const [identity, size] of sizes.entries()) {
    const burstAt = beganAt + random() * (spanMs - LONGEST_BURST_MS);
    for (let repeat = 0; repeat < size; repeat++) {
      sent.push({ at: burstAt + random() * LONGEST_BURST_MS, identity });
    }
  }
  sent.sort((a, b) => a.at - b.at);
  const alerts = sent.map(({ at, identity }, number) => alertOf(identity, { at, number, namespaces }));
  return { alerts, identities, namespaces };
}

/** How many alerts each identity gets: one at least, together `total`, a few get very many. */
function burstSizes(identities: number, total: number, random: () => number): number[] {
  const sizes = new Array<number>(identities).fill(1);
  for (let left = total - identities; left > 0; left--) {
    const identity = Math.floor(random() ** 2 * identities);
    sizes[identity] = (sizes[identity] ?? 0) + 1;
  }
  return sizes;
}

function alertOf(
  identity: number,
  { at, number, namespaces }: { at: number; number: number; namespaces: readonly string[] },
): JsonObject {
  const time = `${new Date(at).toISOString().slice(0, -1)}${String(number % 1_000_000).padStart(6, "0")}Z`;
  const rule = identity % RULES;
  const onHost = identity % 6 === 0;
  const namespace = namespaces[identity % namespaces.length] ?? "default";
  return {
    hostname: `node-${identity % NODES}`,
    rule: `Rule ${rule}`,
    priority: PRIORITIES[rule % PRIORITIES.length] ?? "Notice",
    source: "syscall",
    tags: ["container", "mitre_execution"],
    time,
    output: `${time}: Something was done by process ${number} (user=root pid=${number})`,
    output_fields: {
      "evt.time": Math.trunc(at * 1e6),
      "evt.time.iso8601": Math.trunc(at * 1e6) + number,
      "evt.num": number,
      "proc.pid": 1_000 + number,
      "proc.ppid": 999 + number,
      "proc.name": "sh",
      "proc.cmdline": `sh -c cat /var/lib/file-${identity}`,
      "fd.name": `10.0.0.1:${30_000 + number % 20_000}->10.0.0.2:443`,
      "user.name": "root",
      ...(onHost ? { "container.id": "host" } : {
        "container.id": (identity * 7_919 % 0xfffffff).toString(16).padStart(12, "c"),
        "k8s.ns.name": namespace,
        "k8s.pod.name": `web-${identity % 97}`,
      }),
    },
  };
}

/** A linear congruential generator: good enough to spread things, and the same everywhere. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
