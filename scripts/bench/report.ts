/** What was measured, as text for people and as JSON for the next run. */
import type { Compared, Figures } from "./figures.ts";
import { judge } from "./promises.ts";

/** The results of one run of the benchmark. */
export interface Results {
  readonly when: string;
  readonly server: string;
  readonly machine: string;
  readonly runs: number;
  /** Medians, by scenario. */
  readonly scenarios: Readonly<Record<string, Figures>>;
  /** Each run by itself. */
  readonly each: Readonly<Record<string, readonly Figures[]>>;
}

/** The machine and how busy it was with other things. */
export function machine(): string {
  const { total } = Deno.systemMemoryInfo();
  const load = Deno.loadavg().map((each) => each.toFixed(1)).join(" ");
  return `${navigator.hardwareConcurrency} cores, ${
    Math.round(total / 2 ** 30)
  } GiB, load ${load}, Deno ${Deno.version.deno}`;
}

/** Figures a reader can take in: whole numbers from 100 on, three digits below. */
export function shown(value: number): string {
  if (Number.isNaN(value)) return "–";
  if (Number.isInteger(value) || Math.abs(value) >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

const COLUMNS: readonly (readonly [title: string, figure: string])[] = [
  ["accepted/s", "acceptedPerSecond"],
  ["created/s", "createdPerSecond"],
  ["lost", "lost"],
  ["doubled", "doubled"],
  ["503", "refused"],
  ["POST p50/95/99 ms", "post"],
  ["visible p50/95/99 ms", "visible"],
  ["CPU s/1,000", "cpuSecondsPer1000"],
  ["RSS mean/peak MiB", "rss"],
  ["requests/event", "requestsPerEvent"],
  ["sockets", "sockets"],
];

/** Everything, as Markdown. */
export function markdown(results: Results): string {
  const { when, server, machine, runs } = results;
  return [
    `Measured ${when} on: ${machine}. API server: ${server}. Medians of ${runs}.\n`,
    promisesTable(results.scenarios),
    loadTable(results.scenarios),
    otherFigures(results.scenarios),
  ].filter((part) => part !== "").join("\n");
}

function promisesTable(scenarios: Results["scenarios"]): string {
  const rows = judge(scenarios).map(({ what, must, measured, unit, ratio, holds, origin }) => [
    what,
    must,
    `${shown(measured)} ${unit}`.trim(),
    Number.isFinite(ratio) ? shown(ratio) : "",
    holds ? "yes" : "**no**",
    origin,
  ]);
  return rows.length === 0
    ? ""
    : markdownTable(["what", "must", "measured", "ratio", "holds", "origin says"], rows);
}

function loadTable(scenarios: Results["scenarios"]): string {
  const loads = Object.entries(scenarios).filter(([, figures]) => "acceptedPerSecond" in figures);
  if (loads.length === 0) return "";
  const rows = loads.map(([name, figures]) => [name, ...COLUMNS.map(([, figure]) => cell(figures, figure))]);
  return markdownTable(["scenario", ...COLUMNS.map(([title]) => title)], rows);
}

function cell(figures: Figures, figure: string): string {
  const of = (name: string) => shown(figures[name] ?? NaN);
  if (figure === "rss") return `${of("rssMeanMiB")}/${of("rssPeakMiB")}`;
  if (figure !== "post" && figure !== "visible") return of(figure);
  return ["P50", "P95", "P99"].map((share) => of(`${figure}${share}Ms`)).join("/");
}

function otherFigures(scenarios: Results["scenarios"]): string {
  const rows = Object.entries(scenarios).flatMap(([scenario, figures]) =>
    Object.entries(figures).map(([figure, value]) => [scenario, figure, shown(value)])
  );
  return markdownTable(["scenario", "figure", "value"], rows);
}

/** What changed since an earlier run. */
export function comparison(rows: readonly Compared[]): string {
  return markdownTable(
    ["scenario", "figure", "before", "now", "ratio"],
    rows.map(({ scenario, figure, before, now, ratio }) => [
      scenario,
      figure,
      shown(before),
      shown(now),
      shown(ratio),
    ]),
  );
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n") + "\n";
}
