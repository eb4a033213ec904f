/** `zen-watcher test`: runs the cases of a folder through the server's own pipeline. */
import { dirname, join } from "node:path";
import type { Problem } from "../config/problem.ts";
import { isObject } from "../core/json.ts";
import type { PayloadError } from "../core/outcome.ts";
import { compileFilters } from "../pipeline/filter.ts";
import type { Settings } from "../settings.ts";
import type { Arguments } from "./args.ts";
import { usage } from "./args.ts";
import { readGoodConfig } from "./explain.ts";
import { type Payloads, readConfig, readPayloads, valuePayloads } from "./input.ts";
import { CommandError, type Io } from "./io.ts";
import { differences } from "./partial_match.ts";
import { plural, renderProblem } from "./report.ts";
import { createSimulation, type ExplainedEvent } from "./simulation.ts";
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
  { io, settings }: { io: Io; settings: Settings },
): Promise<number> {
  const folders = [...args.positionals, ...args.filename];
  if (folders.length === 0) throw usage("test", "expected DIR");
  let passed = 0;
  let failed = 0;
  for (const folder of folders) {
    const inside = await io.listFolder(folder);
    for (const file of (inside ?? [folder]).filter((path) => /\.ya?ml$/.test(path))) {
      const result = await runFile({ file, io, settings });
      passed += result.passed;
      failed += result.failed;
    }
  }
  if (passed + failed === 0) {
    throw new CommandError(`Cannot test "${folders.join('", "')}": there is no case in a .yaml file`);
  }
  io.stdout(`${plural(passed + failed, "case")}: ${passed} passed, ${failed} failed\n`);
  return failed > 0 ? 1 : 0;
}

async function runFile(context: Context): Promise<{ readonly passed: number; readonly failed: number }> {
  const { file, io } = context;
  const text = await io.readText(file);
  const { documents, problems } = readConfig(text);
  const broken = (all: readonly Problem[]) =>
    io.stdout(`FAIL ${file}\n${all.map((problem) => renderProblem({ ...problem, file }, text)).join("")}`);
  if (problems.length > 0) broken(problems);
  let passed = 0;
  let failed = problems.length > 0 ? 1 : 0;
  for (const [index, document] of documents.entries()) {
    if (isConfiguration(document.value)) continue;
    const read = readCase(document);
    if (!read.ok) {
      broken(read.problems);
      failed++;
      continue;
    }
    const name = read.value.name ?? `case ${index + 1}`;
    const failures = await runCase(read.value, context);
    io.stdout(`${failures.length === 0 ? "ok  " : "FAIL"} ${file}: ${name}\n`);
    for (const failure of failures) io.stdout(`       ${failure}\n`);
    if (failures.length === 0) passed++;
    else failed++;
  }
  return { passed, failed };
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
  const simulation = createSimulation({ runtime, filters, instance: settings.instance });
  const events: ExplainedEvent[] = [];
  const errors: PayloadError[] = [];
  for (const step of rule.inputs) {
    const read = await payloadsOf(step, { definition, beside, context });
    errors.push(...read.errors);
    for (const payload of read.payloads) {
      const simulated = simulation.take(payload);
      events.push(...simulated.events);
      errors.push(...simulated.errors);
    }
  }
  return { events, errors };
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
