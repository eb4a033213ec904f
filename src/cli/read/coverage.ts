/** `coverage`: what the sources looked at, and what no source looked at. */
import type { Command } from "commander";
import { type Checks, type Coverage, readCoverage } from "../../read/coverage.ts";
import { addCommand, type CommandContext, outputFlag } from "../command.ts";
import { plural } from "../output/problems.ts";
import { createTable } from "../output/table.ts";
import { ageOf, openReader, type Reader, type ReaderFlags, scopeFlags } from "./reader.ts";

interface CoverageFlags extends ReaderFlags {
  readonly output?: "json";
}

/** Workloads without a report that are named one by one. */
const NAMED = 50;

/** Adds the command `coverage`. */
export function coverage(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "coverage",
    summary: "show what the sources checked, and the workloads that no report is about",
    description:
      "Reads the reports of Trivy, Kyverno and other writers of policy reports themselves: how many there are, how old, " +
      "which checks passed and failed, and which workloads none is about.",
    examples: [
      ["coverage", "the whole cluster"],
      ["coverage -n shop", "one namespace"],
    ],
    more:
      "It takes the right to list those reports, deployments, statefulsets, daemonsets and cronjobs; what you may not " +
      "list is named and left out.\n",
  });
  outputFlag(scopeFlags(command), ["json"]).action(async (flags: CoverageFlags) => {
    using reader = await openReader(flags, context);
    const read = await readCoverage(reader.api, reader.selection);
    if (flags.output === "json") {
      const { render } = await import("../output/structured.ts");
      context.io.stdout(render({ ...read, policies: Object.fromEntries(read.policies) }, "json"));
    } else printCoverage(read, { reader, now: context.io.now(), print: context.io.stdout });
    for (const right of read.missing) context.io.stderr(`Left out: you may not ${right}\n`);
    await context.finish(0);
  });
}

interface PrintOptions {
  readonly reader: Reader;
  readonly now: number;
  readonly print: (text: string) => void;
}

const CHECKS = ["pass", "fail", "warn", "error", "skip"] as const;

function cellsOf(checks: Checks): string[] {
  return CHECKS.map((verdict) => String(checks[verdict]));
}

const STATES = { absent: "not installed", forbidden: "no right to list" } as const;

function printCoverage(
  { reports, policies, uncovered }: Coverage,
  { reader, now, print }: PrintOptions,
): void {
  const titles = CHECKS.map((verdict) => verdict.toUpperCase());
  const table = createTable(["SOURCE", "READS", "REPORTS", "NEWEST", "OLDEST", ...titles], reader.table);
  for (const { source, resource, state, reports: count, newest, oldest, checks } of reports) {
    const reported = state === "read" ? String(count) : STATES[state];
    table.add([source, resource, reported, ageOf(newest, now), ageOf(oldest, now), ...cellsOf(checks)]);
  }
  table.flush();
  if (policies.size > 0) {
    print("\n");
    const byPolicy = createTable(["POLICY OR CHECK", ...titles], reader.table);
    const sorted = [...policies].sort(([one, left], [other, right]) =>
      right.fail - left.fail || (one < other ? -1 : 1)
    );
    for (const [name, checks] of sorted) byPolicy.add([name, ...cellsOf(checks)]);
    byPolicy.flush();
  }
  if (uncovered === undefined) return;
  print(`\nNo report is about ${plural(uncovered.length, "workload")}${uncovered.length === 0 ? "" : ":"}\n`);
  for (const workload of uncovered.slice(0, NAMED)) print(`  ${workload}\n`);
  if (uncovered.length > NAMED) print(`  and ${uncovered.length - NAMED} more: -o json names them all\n`);
}
