/** `coverage`: what the sources looked at, and what no source looked at. */
import type { Command } from "commander";
import { type Checks, noChecks } from "../../read/checks.ts";
import { type Coverage, coverageDocument, readCoverage } from "../../read/coverage.ts";
import { addCommand, type CommandContext, outputFlag } from "../command.ts";
import {
  DOCUMENT_FORMATS,
  type DocumentAnswer,
  type DocumentFormat,
  printAnswer,
} from "../output/document.ts";
import { plural } from "../output/problems.ts";
import { createTable } from "../output/table.ts";
import { ageOf, openReader, progressOf, type Reader, type ReaderFlags, scopeFlags } from "./reader.ts";

interface CoverageFlags extends ReaderFlags {
  readonly output?: DocumentFormat;
}

/** Workloads without a report that are named one by one. */
const NAMED = 50;

/** Adds the command `coverage`. */
export function coverage(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "coverage",
    summary: "show what the sources checked, and the workloads that no report is about",
    description:
      "Reads the reports of the sources themselves, those of Trivy, of Kyverno and other writers of policy reports, and the " +
      "ConfigMaps of kube-bench and Checkov: how many there are, how old, which checks passed and failed, and which " +
      "workloads none is about.",
    examples: [
      ["coverage", "the whole cluster"],
      ["coverage -n shop", "one namespace"],
    ],
    more:
      "It takes the right to list those reports, deployments, statefulsets, daemonsets and cronjobs, and the ConfigMaps of " +
      "the namespaces of kube-bench and Checkov (KUBE_BENCH_NAMESPACE, CHECKOV_NAMESPACE); what you may not list is named " +
      "and left out. With -n, what is in no namespace or about nodes is left out.\n",
  });
  outputFlag(scopeFlags(command), DOCUMENT_FORMATS).action(async (flags: CoverageFlags) => {
    using reader = await openReader(flags, context);
    const read = await readCoverage(reader.api, {
      namespace: reader.selection.namespace,
      settings: context.settings(),
      onPage: progressOf(context.io, "reports and workloads"),
    });
    if (flags.output) {
      await printAnswer(answerOf(read), { format: flags.output, print: context.io.stdout });
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

const CHECKS = Object.keys(noChecks()) as readonly (keyof Checks)[];

/** As records: each resource that is read, benchmark, policy or check, and workload that no report is about. */
function answerOf(read: Coverage): DocumentAnswer {
  const { reports, benchmarks, policies, uncovered = [] } = read;
  const tallies = (record: string, tallies: ReadonlyMap<string, Checks>) =>
    [...tallies].map(([name, checks]) => ({ record, name, ...checks }));
  return {
    document: coverageDocument(read),
    columns: ["record", "source", "name", "state", "reports", "newest", "oldest", ...CHECKS],
    records: [
      ...reports.map(({ resource, checks, ...rest }) => ({
        record: "resource",
        name: resource,
        ...rest,
        ...checks,
      })),
      ...tallies("benchmark", benchmarks),
      ...tallies("policy", policies),
      ...uncovered.map((name) => ({ record: "unreported", name })),
    ],
  };
}

function cellsOf(checks: Checks): string[] {
  return CHECKS.map((verdict) => String(checks[verdict]));
}

const STATES = { absent: "not installed", forbidden: "no right to list" } as const;

function printCoverage(
  { reports, benchmarks, policies, uncovered }: Coverage,
  { reader, now, print }: PrintOptions,
): void {
  const titles = CHECKS.map((verdict) => verdict.toUpperCase());
  const table = createTable(["SOURCE", "READS", "REPORTS", "NEWEST", "OLDEST", ...titles], reader.table);
  for (const { source, resource, state, reports: count, newest, oldest, checks } of reports) {
    const reported = state === "read" ? String(count) : STATES[state];
    table.add([source, resource, reported, ageOf(newest, now), ageOf(oldest, now), ...cellsOf(checks)]);
  }
  table.flush();
  for (const [title, tallies] of [["BENCHMARK", benchmarks], ["POLICY OR CHECK", policies]] as const) {
    if (tallies.size === 0) continue;
    print("\n");
    const byName = createTable([title, ...titles], reader.table);
    const sorted = [...tallies].sort(([one, left], [other, right]) =>
      right.fail - left.fail || (one < other ? -1 : 1)
    );
    for (const [name, checks] of sorted) byName.add([name, ...cellsOf(checks)]);
    byName.flush();
  }
  if (uncovered === undefined) return;
  print(`\nNo report is about ${plural(uncovered.length, "workload")}${uncovered.length === 0 ? "" : ":"}\n`);
  for (const workload of uncovered.slice(0, NAMED)) print(`  ${workload}\n`);
  if (uncovered.length > NAMED) print(`  and ${uncovered.length - NAMED} more: -o json names them all\n`);
}
