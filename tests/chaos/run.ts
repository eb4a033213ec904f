/** One fault after another under the load of four kinds of sources, and the table of what came of it. */
import { assert, assertEquals } from "@std/assert";
import { textTable } from "../../scripts/support/table.ts";
import { isObject } from "../../src/model/json.ts";
import type { KubeApi } from "../../src/kube/api.ts";
import { OBSERVATIONS } from "../../src/store/mod.ts";
import { eventually } from "../support/eventually.ts";
import type { Fleet } from "./fleet.ts";
import { inForm, printLine } from "./form.ts";
import { ChaosLoad, type Kind, KINDS, type Result } from "./load.ts";

/** Something that breaks, and is whole again when `strike` has resolved. */
export interface ChaosFault {
  readonly name: string;
  /** What is done when a third of the load is taken. Resolves with when the fault ended, by `performance.now()`. */
  strike(): Promise<number>;
  /** Brings back what the fault took away for good. */
  restore?(): Promise<unknown>;
}

/** A line of the table. */
export interface RunRow extends Result {
  readonly fault: string;
  /** From the end of the fault until what was brought in then was stored. */
  readonly healedMs: number;
}

/** Where the load goes: a namespace of its own for each run. */
export interface ChaosRunOptions {
  readonly fleet: Fleet;
  readonly namespace: string;
}

/** Items of each kind. */
const SIZE = inForm({
  short: { alerts: 120, auditBatches: 24, reports: 20, nodes: 4 },
  long: { alerts: 600, auditBatches: 120, reports: 100, nodes: 20 },
});
/** Numbered beyond those of the load. */
const PROBE = 9_999;

/** Strikes in the middle of a load; afterwards nothing is lost, nothing doubled, and the books balance. */
export async function underFault(
  fault: ChaosFault,
  { fleet, namespace }: ChaosRunOptions,
): Promise<RunRow[]> {
  const load = new ChaosLoad({ api: fleet.api, urls: () => fleet.urls, namespace, ...SIZE });
  await fleet.untilLed();
  const running = load.run();
  await Promise.race([load.reached(1 / 3), running]);
  const endedAt = await fault.strike();
  const healed = await heal(load, { api: fleet.api, namespace, endedAt });
  await running;
  const results = await load.results();
  await fault.restore?.();
  await fleet.closed();
  printLine(`${fault.name}: ${load.refused} requests refused with 503, ${load.unanswered} unanswered`);
  return results.map((result) => ({ fault: fault.name, healedMs: healed[result.kind], ...result }));
}

/** Brings one item of each kind in once the fault is over, and waits until it is stored. */
async function heal(
  load: ChaosLoad,
  { api, namespace, endedAt }: { api: KubeApi; namespace: string; endedAt: number },
): Promise<Record<Kind, number>> {
  const probes: Readonly<Record<Kind, { bring: () => Promise<void>; name: string }>> = {
    falco: { bring: () => load.alert("pod-probe", PROBE), name: "pod-probe" },
    audit: { bring: () => load.audit(["probe"]), name: "gone-probe" },
    trivy: { bring: () => load.report(PROBE), name: `app-${PROBE}` },
    "kube-bench": { bring: () => load.node("probe", 1), name: `${namespace}-probe` },
  };
  const healed: Record<Kind, number> = { falco: 0, audit: 0, trivy: 0, "kube-bench": 0 };
  await Promise.all(KINDS.map(async (kind) => {
    const { bring, name } = probes[kind];
    await Promise.all([bring(), untilStored(api, { kind, name, namespace })]);
    healed[kind] = performance.now() - endedAt;
  }));
  return healed;
}

async function untilStored(
  api: KubeApi,
  { kind, name, namespace }: { kind: Kind; name: string; namespace: string },
): Promise<void> {
  await eventually(`${name} to be stored`, async () => {
    const { items } = await api.list(OBSERVATIONS, {
      namespace: kind === "kube-bench" ? "zen-system" : namespace,
      labelSelector: `zen.kube-zen.io/source=${kind}`,
      fieldSelector: `spec.resource.name=${name}`,
    });
    return items.some(({ spec }) => isObject(spec));
  }, { timeoutMs: 240_000 });
}

/** Prints the table and fails where anything is lost or doubled. */
export function judge(title: string, rows: readonly RunRow[]): void {
  const cells = rows.map(({ fault, kind, accepted, lost, doubled, healedMs }) => [
    fault,
    kind,
    String(accepted),
    String(lost),
    String(doubled),
    (healedMs / 1_000).toFixed(1),
  ]);
  printLine(
    `\n${title}\n${textTable(["fault", "source", "accepted", "lost", "doubled", "healed s"], cells)}`,
  );
  for (const { fault, kind, accepted, lost, doubled } of rows) {
    assert(accepted > 0, `${fault}: nothing of ${kind} was brought in`);
    assertEquals([lost, doubled], [0, 0], `${fault}: ${kind} lost and doubled`);
  }
}
