/** `zen-watcher test`: runs the cases of a folder through the server's own pipeline. */
import { dirname, join } from "node:path";
import type { Problem } from "../filters/problem.ts";
import { isObject } from "../model/json.ts";
import type { PayloadError } from "../model/outcome.ts";
import { compileFilters } from "../filters/filter.ts";
import type { Settings } from "../settings.ts";
import type { Arguments } from "./args.ts";
import { outputOf, usage } from "./args.ts";
import { readGoodConfig } from "./explain.ts";
import { type Payloads, readConfig, readPayloads, valuePayloads } from "./input.ts";
import { CommandError, type Io } from "./io.ts";
import { differences } from "./partial_match.ts";
import { plural, render, renderProblem } from "./report.ts";
import { createDryRun, type ExplainedEvent } from "./operate/dry_run.ts";
import { chooseSource } from "./source.ts";
import { readCase, type RuleCase, type Step } from "./rule_case.ts";

interface Context {
  readonly file: string;
  readonly io: Io;
  readonly settings: Settings;
}

/** Runs every case below the folders; 1 where one fails. */
export async function test(
  args: Arguments,
  { io, settings: configured }: { io: Io; settings: Settings },
): Promise<number> {
  const settings = { ...configured, podNamespace: args.namespace ?? configured.podNamespace };
  const format = outputOf(args, "test");
  const folders = [...args.positionals, ...args.filename];
  if (folders.length === 0) throw usage("test", "expected DIR");
  const results: CaseResult[] = [];
  for (const folder of folders) {
    const inside = await io.listFolder(folder);
    for (const file of inside?.filter((path) => /\.ya?ml$/.test(path)) ?? [folder]) {
      for await (const { told, ...result } of runFile({ file, io, settings })) {
        results.push(result);
        if (!format) io.stdout(told);
      }
    }
  }
  if (results.length === 0) {
    throw new CommandError(`Cannot test "${folders.join('", "')}": there is no case in a .yaml file`);
  }
  const passed = results.filter((result) => result.passed).length;
  const failed = results.length - passed;
  const summary = `${plural(results.length, "case")}: ${passed} passed, ${failed} failed\n`;
  io.stdout(format ? render({ passed, failed, cases: results }, format) : summary);
  return failed > 0 ? 1 : 0;
}

/** A case, or a file or document that is none. */
interface CaseResult {
  readonly file: string;
  readonly name: string | null;
  readonly passed: boolean;
  readonly failures: readonly string[];
}

async function* runFile(context: Context): AsyncGenerator<CaseResult & { readonly told: string }> {
  const { file, io } = context;
  const text = await io.readText(file);
  const { documents, problems } = readConfig(text);
  const broken = (all: readonly Problem[]) => {
    const failures = all.map((problem) => renderProblem({ ...problem, file }, text));
    const told = `FAIL ${file}\n${failures.join("")}`;
    return { file, name: null, passed: false, failures: failures.map((failure) => failure.trimEnd()), told };
  };
  if (problems.length > 0) yield broken(problems);
  for (const [index, document] of documents.entries()) {
    if (isConfiguration(document.value)) continue;
    const read = readCase(document);
    if (!read.ok) {
      yield broken(read.problems);
      continue;
    }
    const name = read.value.name ?? `case ${index + 1}`;
    const failures = await runCase(read.value, context);
    const passed = failures.length === 0;
    const lines = [
      `${passed ? "ok  " : "FAIL"} ${file}: ${name}`,
      ...failures.map((line) => `       ${line}`),
    ];
    yield { file, name, passed, failures, told: lines.map((line) => `${line}\n`).join("") };
  }
}

/** Filters and Ingesters may lie beside the cases that use them. */
function isConfiguration(value: unknown): boolean {
  return isObject(value) &&
    (value.kind !== undefined || (value.sources !== undefined && value.source === undefined));
}

async function runCase(rule: RuleCase, context: Context): Promise<string[]> {
  try {
    const { events, errors } = await simulate(rule, context);
    return [...compareEvents(rule, events), ...compareErrors(rule, errors)];
  } catch (error) {
    if (error instanceof CommandError) return error.message.split("\n");
    throw error;
  }
}

async function simulate(
  rule: RuleCase,
  context: Context,
): Promise<{ readonly events: readonly ExplainedEvent[]; readonly errors: readonly PayloadError[] }> {
  const { settings } = context;
  const beside = (path: string) => join(dirname(context.file), path);
  const filterFile = rule.filtersFile === undefined
    ? []
    : (await readGoodConfig(beside(rule.filtersFile), context)).filters;
  const named = rule.ingesterFile === undefined
    ? []
    : (await readGoodConfig(beside(rule.ingesterFile), context)).mapped;
  const { definition, runtime, filter } = chooseSource(rule.source, { named, settings });
  const filters = compileFilters([...rule.filters, ...filterFile, ...(filter ? [filter] : [])]);
  const dryRun = createDryRun({ runtime, filters, settings });
  const errors: PayloadError[] = [];
  for (const step of rule.inputs) {
    const read = await payloadsOf(step, { definition, beside, context });
    errors.push(...read.errors);
    for (const payload of read.payloads) await dryRun.take(payload);
  }
  return { events: dryRun.events, errors: [...errors, ...dryRun.errors] };
}

async function payloadsOf(
  { input, inputFile, receivedAt }: Step,
  { definition, beside, context: { io } }: {
    readonly definition: ReturnType<typeof chooseSource>["definition"];
    readonly beside: (path: string) => string;
    readonly context: Context;
  },
): Promise<Payloads> {
  if (inputFile === undefined) return valuePayloads(input ?? null, { definition, receivedAt });
  const path = beside(inputFile);
  return readPayloads({ path, text: await io.readText(path) }, { definition, receivedAt });
}

function compareEvents({ expected }: RuleCase, events: readonly ExplainedEvent[]): string[] {
  const failures: string[] = [];
  for (const [index, want] of expected.entries()) {
    const event = events[index];
    if (!event) continue;
    const found = differences(want, event, `event ${index + 1}`);
    failures.push(...found);
    // The step that decided says more than the difference does.
    if (found.length > 0) {
      failures.push(...event.steps.map(({ step, verdict, detail }) => `  ${step} ${verdict}: ${detail}`));
    }
  }
  if (events.length !== expected.length) {
    const outcomes = events.map(({ outcome, reason }) => reason === null ? outcome : `${outcome}{${reason}}`);
    failures.push(
      `expected ${plural(expected.length, "event")}, received ${events.length}: ${outcomes.join(", ")}`,
    );
  }
  return failures;
}

function compareErrors({ errors: expected }: RuleCase, errors: readonly PayloadError[]): string[] {
  if (errors.length !== expected.length) {
    const told = errors.map(({ reason, path, message }) => `${reason} at ${path}: ${message}`);
    return [`expected ${plural(expected.length, "error")}, received ${errors.length}`, ...told];
  }
  return expected.flatMap((want, index) => differences(want, errors[index], `error ${index + 1}`));
}
