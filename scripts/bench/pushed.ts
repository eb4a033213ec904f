/** Measurements of what is pushed at the Falco webhook. */
import { startBundle, UNLIMITED } from "./controller.ts";
import { mean, percentile, reconcile, type Row, row, shown } from "./figures.ts";
import {
  bareClient,
  type Bench,
  falcoWebhook,
  fastest,
  put,
  type Seen,
  startFloor,
  storedNumbers,
  warmUp,
} from "./measure.ts";
import { pin } from "./process.ts";
import { startWorker } from "./worker.ts";
import { V8_FLAGS } from "../support/permissions.ts";

const CORES = navigator.hardwareConcurrency;
const ALL_CORES = `0-${CORES - 1}`;

/** Unique events as fast as they are acknowledged, beside the bare client: the API server on a core of its own, and sharing all. */
export async function unique(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  if (CORES > 1 && await pin(bench.server.pids, "0")) {
    await pin([bench.load.pid], `1-${CORES - 1}`);
    rows.push(
      ...await uniqueOn(bench, {
        cores: `1-${CORES - 1}`,
        atLeast: 0.8,
        where: "API server on its own core",
      }),
    );
    await pin([...bench.server.pids, bench.load.pid], ALL_CORES);
  }
  rows.push(...await uniqueOn(bench, { cores: ALL_CORES, atLeast: 0.7, where: `${CORES} cores shared` }));
  return rows;
}

async function uniqueOn(
  bench: Bench,
  { cores, atLeast, where }: { readonly cores: string; readonly atLeast: number; readonly where: string },
): Promise<Row[]> {
  const senders = bench.quick ? [32] : [8, 16, 32, 64];
  const bare = bareClient(bench);
  await warmUp(bench, bare);
  // A shared machine is not the same a minute later: the bare client has its turn before and after.
  const before = await fastest(bench, bare, { senders });
  const found = { lost: 0, doubled: 0 };
  const best = await (async () => {
    await using bundle = await startBundle(bench.server, { env: UNLIMITED });
    await pin([bundle.controller.pid], cores);
    const webhook = falcoWebhook(bundle);
    await warmUp(bench, webhook);
    const look = async ({ run, accepted }: Seen) => {
      const { lost, doubled } = reconcile(accepted, await storedNumbers(bench, run));
      found.lost += lost;
      found.doubled += doubled;
    };
    return await fastest(bench, webhook, { senders, look });
  })();
  const bareBest = mean([before, await fastest(bench, bare, { senders })]);
  return [
    row(`unique events ÷ bare client's creates, ${where}`, best / bareBest, "×", {
      atLeast,
      beside: `${shown(best)}/s, bare ${shown(bareBest)}/s; origin 200/s, reference 147/s`,
    }),
    row(`of those lost or stored twice, ${where}`, found.lost + found.doubled, "", { atMost: 0 }),
  ];
}

/** Unique events at fixed rates: how soon they are visible, what they cost, and the memory, beside the bare client and the floor. */
export async function rates(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  const seconds = bench.quick ? 3 : 15;
  await using floor = await startFloor(bench);
  await using bundle = await startBundle(bench.server, { env: UNLIMITED });
  const webhook = falcoWebhook(bundle);
  for (const target of [bareClient(bench), floor, webhook]) await warmUp(bench, target);
  for (const ratePerSecond of [50, 100, 200]) {
    const plan = { count: ratePerSecond * seconds, pace: { kind: "open", ratePerSecond } } as const;
    const bare = await put(bench, bareClient(bench), { ...plan, watched: true });
    const plain = await put(bench, floor, plan);
    const seen = await put(bench, webhook, { ...plan, watched: true });
    for (const [share, name, atMost] of [[0.5, "p50", 1.5], [0.99, "p99", 2]] as const) {
      const [ours, theirs] = [percentile(seen.visibleMs, share), percentile(bare.visibleMs, share)];
      rows.push(
        row(`POST → visible ÷ bare create → watch, ${name} at ${ratePerSecond}/s`, ours / theirs, "×", {
          ...(ratePerSecond < 200 ? { atMost } : {}),
          beside: `${shown(ours)} ms, bare ${shown(theirs)} ms; origin ${name === "p50" ? 18 : 130} ms`,
        }),
      );
    }
    rows.push(
      row(`CPU per Observation ÷ the floor's, at ${ratePerSecond}/s`, seen.cpuMsEach / plain.cpuMsEach, "×", {
        atMost: 1.8,
        beside: `${shown(seen.cpuMsEach)} ms, floor ${shown(plain.cpuMsEach)} ms; reference 1.9 ms`,
      }),
    );
    if (ratePerSecond < 200) continue;
    rows.push(
      row(
        "memory (working set) at 200/s",
        mean(seen.memory.map(({ workingSetMiB }) => workingSetMiB)),
        "MiB",
        {
          atMost: 90,
          beside: `anonymous ${shown(mean(seen.memory.map(({ anonymousMiB }) => anonymousMiB)))}; origin 95`,
        },
      ),
    );
  }
  return rows;
}

/** Repeats of a thousand events, decided in process. */
export async function duplicates({ quick }: Bench): Promise<Row[]> {
  await using worker = startWorker([V8_FLAGS]);
  const question = quick ? { warmUp: 10, rounds: 10 } : { warmUp: 30, rounds: 100 };
  const measured = await worker.ask("duplicates", question);
  return [row("duplicates decided in process, by CPU time", measured, "/s", { atLeast: 10_000 })];
}
