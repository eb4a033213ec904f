/** Hostile bodies of one sender and of eight against the program as a process of its own: how much memory it takes. */
import { assert, assertEquals } from "@std/assert";
import { LONG, SHOW } from "./form.ts";
import { HOSTILE_TEXTS } from "../support/hostile_texts.ts";
import { freshBundle } from "../../scripts/bundle.ts";
import type { Controller } from "../../scripts/support/controller.ts";
import { makeCgroup } from "../../scripts/bench/processes.ts";
import { report } from "../cluster/watching.ts";
import { startDevPod } from "../support/dev_pod.ts";

const MIB = 2 ** 20;
/** As large as a body may be. */
const BYTES = 16 * MIB - 1024;
/** What the process may take at most, and what it takes at rest in a Pod. */
const MOST_MIB = 300, REST_MIB = 65;
const SHORT: ReadonlySet<string> = new Set([
  "numbers",
  "invalid UTF-8",
  "different keys in many items",
  "an alert with a long output",
  "an alert with many fields",
  "audit events, one of them nested",
  "quotes",
  "empty objects",
  "documents",
  "lines that are not JSON between documents",
]);

/** Resident memory now, and the most of it since it was reset. */
async function memoryOf(pid: number): Promise<{ readonly now: number; readonly peak: number }> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const bytes = (field: string) =>
    1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]);
  return { now: bytes("VmRSS"), peak: bytes("VmHWM") };
}

/** Requests under way at once. */
const SENDERS = 8;
const TOKEN = "a-token-of-the-senders";

interface Target extends AsyncDisposable {
  readonly controller: Controller;
  /** Resident before the first request. */
  readonly idleBytes: number;
}

/** The bundle in a Pod; `limitBytes` is its container's memory. */
async function startTarget({ limitBytes }: { readonly limitBytes?: number } = {}): Promise<Target> {
  await using starting = new AsyncDisposableStack();
  const cgroup = limitBytes === undefined ? undefined : await limitedCgroup(limitBytes);
  if (cgroup) starting.defer(() => cgroup.remove());
  const { controller } = starting.use(
    await startDevPod({
      entry: await freshBundle(),
      files: { webhook: TOKEN },
      env: {
        WEBHOOK_AUTH_TOKEN_FILE: "FOLDER/webhook",
        // Each request names the address that it comes from.
        TRUSTED_PROXY_CIDRS: "127.0.0.1/32",
      },
      ...(cgroup && { before: cgroup.command }),
    }),
  );
  const { now: idleBytes } = await memoryOf(controller.pid);
  const stack = starting.move();
  return { controller, idleBytes, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

let cgroups = 0;
const limitedCgroup = (limitBytes: number) =>
  makeCgroup(`zen-attack-${Deno.pid}-${cgroups++}`, { limitBytes });

interface Attack {
  /** Each sends one request after the other, from an address of its own. */
  readonly senders: number;
  /** They are at one address. */
  readonly isOneAddress?: true;
  readonly requests: number;
  readonly bytes: number;
  /** What each of them is answered. */
  readonly answer?: number;
  /** Not every text is survived: the threat model says so under "What remains". */
  readonly isShort?: true;
}

/** Sends hostile texts as `attack` says, and names those that took the process above its bound. */
async function grownBy({ controller, idleBytes }: Target, attack: Attack): Promise<readonly string[]> {
  const grown: string[] = [];
  for (const [name, make] of Object.entries(HOSTILE_TEXTS)) {
    if ((!LONG || attack.isShort) && !SHORT.has(name)) continue;
    const body = make(attack.bytes) as Uint8Array<ArrayBuffer>;
    // Some texts cannot be as short as others.
    if (body.length > 2 * attack.bytes) continue;
    const path = name.startsWith("audit") ? "/audit/webhook" : "/falco/webhook";
    const answers = await Promise.all(Array.from({ length: attack.senders }, async (_, sender) => {
      const statuses: number[] = [];
      for (let times = 0; times < attack.requests; times++) {
        const response = await fetch(controller.url + path, {
          method: "POST",
          headers: {
            authorization: `Bearer ${TOKEN}`,
            "x-forwarded-for": `10.0.0.${attack.isOneAddress ? 1 : sender + 1}`,
          },
          body,
        });
        await response.body?.cancel();
        statuses.push(response.status);
      }
      return statuses;
    }));
    assert(answers.flat().some((status) => status < 500), `${name}: one of them is read`);
    assert(!answers.flat().includes(500), `${name}: no defect`);
    if (attack.answer) assertEquals([...new Set(answers.flat())], [attack.answer], name);
    const health = await fetch(`${controller.url}/health`);
    assertEquals([health.status, (await health.json()).status], [200, "healthy"]);
    const { peak } = await memoryOf(controller.pid);
    if (SHOW) {
      const counts = Object.entries(Object.groupBy(answers.flat(), String));
      report(name, {
        "MiB at rest": idleBytes / MIB,
        "MiB at most": peak / MIB,
        ...Object.fromEntries(counts.map(([status, all]) => [`answered ${status}`, all?.length ?? 0])),
      });
    }
    if (peak - idleBytes > (MOST_MIB - REST_MIB) * MIB) {
      grown.push(`${name}: ${Math.round((peak - idleBytes) / MIB)} MiB`);
    }
  }
  return grown;
}

const ATTACKS: Readonly<Record<string, Attack>> = {
  "four of the largest bodies of one sender": { senders: 4, requests: 1, bytes: BYTES },
  "the largest bodies of eight senders": { senders: SENDERS, requests: 2, bytes: BYTES },
  "bodies of eight senders that just do not count as large": { senders: SENDERS, requests: 4, bytes: MIB },
  "bodies of 4 MiB of eight senders": { senders: SENDERS, requests: 3, bytes: 4 * MIB },
  "200 bodies at once of 60 kB, of 10,000 parts each, of one sender": {
    senders: 200,
    isOneAddress: true,
    requests: 2,
    bytes: 60_000,
  },
};

for (const [name, attack] of Object.entries(ATTACKS)) {
  Deno.test(
    `${name} never take the process above ${MOST_MIB} MiB`,
    { ignore: Deno.build.os !== "linux" },
    async () => {
      await using target = await startTarget();
      assertEquals(await grownBy(target, attack), []);
    },
  );
}

const SMALL_MEMORY = 128 * MIB;
/** A body may be a 32nd of the memory. */
const ATTACKS_ON_SMALL: Readonly<Record<string, Attack>> = {
  "larger bodies than the memory allows": { senders: SENDERS, requests: 2, bytes: BYTES, answer: 413 },
  "the largest bodies that the memory allows": {
    senders: SENDERS,
    requests: 3,
    bytes: SMALL_MEMORY / 32 - 1024,
  },
  "bodies of 1 MiB": { senders: SENDERS, requests: 4, bytes: MIB },
};
const probe = await limitedCgroup(SMALL_MEMORY);
await probe?.remove();

for (const [name, attack] of Object.entries(ATTACKS_ON_SMALL)) {
  const skipped = probe ? "" : " (skipped: this process may make no cgroup)";
  Deno.test({
    name: `${name}, of eight senders, do not kill the program in a container of 128 MiB${skipped}`,
    ignore: !probe,
    async fn() {
      await using target = await startTarget({ limitBytes: SMALL_MEMORY });
      await grownBy(target, attack);
      target.controller.kill("SIGTERM");
      assertEquals((await target.controller.exited).code, 0, target.controller.lines.slice(-5).join("\n"));
    },
  });
}
