/** What is pushed at the webhooks: raw speed, fixed rates, repeats, filters, audit batches, overload. */
import { type Bundle, startBundle, UNLIMITED } from "../controller.ts";
import type { Figures } from "../figures.ts";
import { AUDIT_BATCH, AUDIT_RELEVANT } from "../inputs.ts";
import { bare, type Bench, pushed } from "../measure.ts";
import type { Scenario } from "../scenario.ts";
import { writeFilters } from "../server.ts";

const FALCO = "/falco/webhook";
const AUDIT = "/audit/webhook";
const WARM_UP = 2_000;
const QUICK_WARM_UP = 300;
/** Creates before the bare client's are counted: its connections, and the server's own code. */
const BARE_WARM_UP = 300;

export const RAW: Scenario = {
  name: "raw",
  doc:
    "unique events as fast as they are taken, beside a bare client's creates, each at its best concurrency",
  quick: true,
  async run(bench) {
    const { quick } = bench;
    const maxMs = quick ? 2_000 : 4_000;
    const count = maxMs * 3;
    await bare(bench, { count: BARE_WARM_UP, pace: { kind: "closed", concurrency: 8, maxMs } });
    const first = await bestBare(bench, { count, maxMs });
    const events = await bestEvents(bench, { count, maxMs });
    // A machine shared with others is not the same a minute later: the bare client has its turn on both sides.
    const second = await bestBare(bench, { count, maxMs });
    const bareRate = (first.rate + second.rate) / 2;
    return {
      ...events.figures,
      concurrency: events.concurrency,
      bareCreatedPerSecond: bareRate,
      bareFirstPerSecond: first.rate,
      bareSecondPerSecond: second.rate,
      bareConcurrency: first.concurrency,
      bareServerCpuMsPerCreate: first.figures.serverCpuMsPerCreate ?? NaN,
      ratio: events.rate / bareRate,
    };
  },
};

interface Burst {
  readonly count: number;
  readonly maxMs: number;
}

function bestBare(bench: Bench, { count, maxMs }: Burst) {
  return best(bench.quick ? [16, 48] : [8, 16, 32, 64], async (concurrency) => {
    const { figures } = await bare(bench, { count, pace: { kind: "closed", concurrency, maxMs } });
    return { figures, rate: figures.createdPerSecond ?? 0 };
  });
}

async function bestEvents(bench: Bench, { count, maxMs }: Burst) {
  await using bundle = await startBundle(bench.server, { env: UNLIMITED });
  await warmUp(bench, bundle);
  let lost = 0;
  let doubled = 0;
  const found = await best(bench.quick ? [32] : [16, 32, 64, 96], async (concurrency) => {
    const plan = { input: "alert" as const, count, pace: { kind: "closed" as const, concurrency, maxMs } };
    const { figures } = await pushed(bench, { bundle, path: FALCO, plan });
    lost += figures.lost ?? 0;
    doubled += figures.doubled ?? 0;
    return { figures, rate: figures.acceptedPerSecond ?? 0 };
  });
  return { ...found, figures: { ...found.figures, lost, doubled } };
}

interface Tried {
  readonly figures: Figures;
  readonly rate: number;
}

async function best(
  concurrencies: readonly number[],
  tryIt: (concurrency: number) => Promise<Tried>,
): Promise<Tried & { readonly concurrency: number }> {
  let found: Tried & { readonly concurrency: number } | undefined;
  for (const concurrency of concurrencies) {
    const tried = await tryIt(concurrency);
    if (!found || tried.rate > found.rate) found = { ...tried, concurrency };
  }
  if (!found) throw new Error("Cannot find the best concurrency of none");
  return found;
}

/** Unique events at a fixed rate; first a bare client at the same rate, both seen by the watcher. */
export function atRate(ratePerSecond: number, seconds: number): Scenario {
  return {
    name: `rate-${ratePerSecond}`,
    doc:
      `unique events at ${ratePerSecond}/s for ${seconds} s, open loop, beside a bare client at the same rate`,
    async run(bench) {
      const pace = { kind: "open" as const, ratePerSecond };
      await bare(bench, { count: BARE_WARM_UP, pace: { kind: "closed", concurrency: 8, maxMs: 10_000 } });
      const client = await bare(bench, { count: ratePerSecond * Math.min(seconds, 10), pace }, {
        watched: true,
      });
      await using bundle = await startBundle(bench.server);
      await warmUp(bench, bundle);
      const plan = { input: "alert" as const, count: ratePerSecond * seconds, pace };
      const { figures } = await pushed(bench, { bundle, path: FALCO, plan, watched: true });
      return { ...figures, ...beside(figures, client.figures) };
    },
  };
}

function beside(figures: Figures, client: Figures): Figures {
  const of = (name: string) => (figures[name] ?? NaN) / (client[name] ?? NaN);
  return {
    bareVisibleP50Ms: client.visibleP50Ms ?? NaN,
    bareVisibleP95Ms: client.visibleP95Ms ?? NaN,
    bareVisibleP99Ms: client.visibleP99Ms ?? NaN,
    p50Ratio: of("visibleP50Ms"),
    p99Ratio: of("visibleP99Ms"),
  };
}

export const SOME_REPEATS: Scenario = {
  name: "repeats-70",
  doc: "as fast as they are taken, seven of ten repeats of an earlier event",
  run: (bench) => repeats(bench, 0.3),
};

export const ALL_REPEATS: Scenario = {
  name: "repeats-100",
  doc: "as fast as they are taken, all but a hundred repeats of those",
  run: (bench) => repeats(bench, 0.01),
};

async function repeats(bench: Bench, uniqueShare: number): Promise<Figures> {
  await using bundle = await startBundle(bench.server, { env: UNLIMITED });
  await warmUp(bench, bundle);
  const pace = { kind: "closed" as const, concurrency: 64, maxMs: 8_000 };
  const plan = { input: "alert" as const, count: 10_000, uniqueShare, pace };
  return (await pushed(bench, { bundle, path: FALCO, plan })).figures;
}

export const FILTERED: Scenario = {
  name: "filtered",
  doc:
    "as fast as they are taken, nine of ten dropped by a document of 100 rules, ten globs and an expression",
  async run(bench) {
    const block = {
      excludeRules: Array.from({ length: 100 }, (_, index) => `Rule number ${index}`),
      excludeNamespaces: Array.from({ length: 10 }, (_, index) => `team-${index}-*`),
      expression: 'resource.name.endsWith("0")',
    };
    await writeFilters(bench.server, { falco: block });
    await using bundle = await startBundle(bench.server, { env: UNLIMITED });
    await warmUp(bench, bundle);
    const pace = { kind: "closed" as const, concurrency: 64, maxMs: 8_000 };
    const plan = { input: "alert" as const, count: 15_000, pace };
    // Dropped ones are acknowledged and not stored: that is no loss, so it is not counted here.
    const { lost: _, ...figures } = (await pushed(bench, { bundle, path: FALCO, plan })).figures;
    return figures;
  },
};

export const AUDIT_BATCHES: Scenario = {
  name: "audit",
  doc: `batches of ${AUDIT_BATCH} audit events, ${AUDIT_RELEVANT} of them of interest, two at a time`,
  async run(bench) {
    await using bundle = await startBundle(bench.server, { env: UNLIMITED });
    await warmUp(bench, bundle);
    const pace = { kind: "closed" as const, concurrency: 2, maxMs: 15_000 };
    const plan = { input: "audit" as const, count: 150, pace };
    const { figures } = await pushed(bench, { bundle, path: AUDIT, plan });
    const batches = figures.acceptedPerSecond ?? 0;
    return {
      ...figures,
      itemsPerSecond: batches * AUDIT_BATCH,
      cpuSecondsPer1000: (figures.cpuSecondsPer1000 ?? NaN) / AUDIT_BATCH,
      requestsPerEvent: (figures.requestsPerEvent ?? NaN) / AUDIT_RELEVANT,
    };
  },
};

export const OVERLOAD: Scenario = {
  name: "overload",
  doc: "unique events at 1,000/s for 20 s, open loop: what the API server cannot take is answered 503",
  async run(bench) {
    await using bundle = await startBundle(bench.server, { env: UNLIMITED });
    await warmUp(bench, bundle);
    const pace = { kind: "open" as const, ratePerSecond: 1_000 };
    const plan = { input: "alert" as const, count: 20_000, pace };
    return (await pushed(bench, { bundle, path: FALCO, plan })).figures;
  },
};

/** The first events of a process are compiled, not measured. */
export async function warmUp(bench: Bench, bundle: Bundle): Promise<void> {
  const plan = {
    input: "alert" as const,
    count: bench.quick ? QUICK_WARM_UP : WARM_UP,
    pace: { kind: "closed" as const, concurrency: 16, maxMs: 30_000 },
  };
  await pushed(bench, { bundle, path: FALCO, plan });
}
