/** The promises of the product's contract, judged by what was measured. */
import type { Figures } from "./figures.ts";

/** One row of the table. */
export interface Judged {
  readonly what: string;
  readonly must: string;
  readonly measured: number;
  readonly unit: string;
  /** Measured ÷ bound. */
  readonly ratio: number;
  readonly holds: boolean;
  /** What the origin's documents say, where they say something. */
  readonly origin: string;
}

interface Promised {
  readonly what: string;
  readonly scenario: string;
  readonly figure: string;
  readonly atLeast?: number;
  readonly atMost?: number;
  readonly unit?: string;
  readonly origin?: string;
}

const PROMISES: readonly Promised[] = [
  {
    what: "unique events acknowledged after the write ÷ a bare client's creates",
    scenario: "raw",
    figure: "ratio",
    atLeast: 0.8,
    unit: "×",
    origin: "200/s",
  },
  { what: "of those lost", scenario: "raw", figure: "lost", atMost: 0 },
  {
    what: "POST → visible at 200/s, p50 ÷ bare create → watch",
    scenario: "rate-200",
    figure: "p50Ratio",
    atMost: 1.5,
    unit: "×",
    origin: "18 ms",
  },
  {
    what: "POST → visible at 200/s, p99 ÷ bare create → watch",
    scenario: "rate-200",
    figure: "p99Ratio",
    atMost: 2,
    unit: "×",
    origin: "130 ms",
  },
  {
    what: "duplicates decided in process",
    scenario: "pipeline",
    figure: "repeatsPerCpuSecond",
    atLeast: 10_000,
    unit: "/s",
  },
  {
    what: "rate with 20,000 stored against none",
    scenario: "stored",
    figure: "rateChange20k",
    atLeast: -0.05,
    unit: "change",
  },
  {
    what: "rate with 50,000 stored against none",
    scenario: "stored",
    figure: "rateChange50k",
    atLeast: -0.05,
    unit: "change",
  },
  {
    what: "heap after GC with 20,000 stored, growth",
    scenario: "stored",
    figure: "heapGrowthMB20k",
    atMost: 6,
    unit: "MB",
    origin: "10 MB",
  },
  {
    what: "heap after GC with 50,000 stored, growth",
    scenario: "stored",
    figure: "heapGrowthMB50k",
    atMost: 15,
    unit: "MB",
    origin: "15 MB",
  },
  {
    what: "mean stored size over the samples, as kubectl shows it",
    scenario: "sizes",
    figure: "meanBytesWithoutManagedFields",
    atMost: 2_250,
    unit: "bytes",
    origin: "2.2 KB",
  },
  {
    what: "the same with the API server's managedFields",
    scenario: "sizes",
    figure: "meanBytes",
    atMost: 2_250,
    unit: "bytes",
  },
  { what: "RSS idle", scenario: "idle", figure: "rssMeanMiB", atMost: 60, unit: "MiB", origin: "35 MB" },
  {
    what: "RSS idle under the chart's filters",
    scenario: "idle-filtered",
    figure: "rssMeanMiB",
    atMost: 60,
    unit: "MiB",
  },
  {
    what: "RSS at 200/s",
    scenario: "rate-200",
    figure: "rssMeanMiB",
    atMost: 90,
    unit: "MiB",
    origin: "95 MB",
  },
  {
    what: "RSS, peak of 500/s for 30 s",
    scenario: "rate-500",
    figure: "rssPeakMiB",
    atMost: 120,
    unit: "MiB",
    origin: "140 MB",
  },
  {
    what: "CPU idle",
    scenario: "idle",
    figure: "cpuPercent",
    atMost: 0.5,
    unit: "% of a core",
    origin: "2m",
  },
  {
    what: "CPU at 200/s",
    scenario: "rate-200",
    figure: "millicores",
    atMost: 150,
    unit: "millicores",
    origin: "100m",
  },
  {
    what: "API requests at idle beside the lease's",
    scenario: "idle",
    figure: "requestsPerMinute",
    atMost: 15,
    unit: "/min",
    origin: "10–15/min",
  },
  { what: "ready after start", scenario: "start", figure: "readyAfterMs", atMost: 1_000, unit: "ms" },
  {
    what: "ready after start with 50,000 stored",
    scenario: "stored",
    figure: "readyAfterMs50k",
    atMost: 2_000,
    unit: "ms",
  },
  {
    what: "index complete with 50,000 stored",
    scenario: "stored",
    figure: "indexCompleteMs50k",
    atMost: 30_000,
    unit: "ms",
  },
];

/** The rows that were measured. */
export function judge(results: Readonly<Record<string, Figures>>): Judged[] {
  return PROMISES.flatMap((promised) => {
    const { what, scenario, figure, atLeast, atMost, unit = "", origin = "" } = promised;
    const measured = results[scenario]?.[figure];
    if (measured === undefined || Number.isNaN(measured)) return [];
    const bound = atLeast ?? atMost ?? NaN;
    const holds = atLeast === undefined ? measured <= bound : measured >= bound;
    const must = `${atLeast === undefined ? "≤" : "≥"} ${bound} ${unit}`.trim();
    return [{ what, must, measured, unit, ratio: measured === bound ? 1 : measured / bound, holds, origin }];
  });
}
