/** `test`: runs the cases of files through the server's own intake. */
import type { Command } from "commander";
import { dirname, join } from "node:path";
import { isObject } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import type { Settings } from "../../settings.ts";
import {
  addCommand,
  type CommandContext,
  controllerNamespaceFlag,
  filenameFlag,
  FORMATS,
  outputFlag,
  type RuleFlags,
  settingsOf,
  usage,
} from "../command.ts";
import { CommandError, type Io } from "../io.ts";
import { plural, renderProblem } from "../output/problems.ts";
import type { ExplainedEvent } from "./dry_run.ts";
import type { Explanation } from "./explanation.ts";
import { differences } from "./partial_match.ts";
import type { RuleCase } from "./rule_case.ts";

const OUTPUTS = [...FORMATS, "junit"] as const;

type TestFlags = RuleFlags<typeof OUTPUTS[number]>;

const CASE = `A case:
  name: what it shows
  source: trivy
  input: {…}              # or inputFile: payload.json, or inputs: [{input, receivedAt}, …]
  receivedAt: 2026-01-01T00:00:00Z
  filters: {sources: {trivy: {minSeverity: HIGH}}}     # or filtersFile: filters.yaml
  ingesterFile: ingester.yaml                          # where the source is not built in
  expected:               # one entry per event, in order; only what is written here is compared
    - outcome: filtered
      reason: min_severity
    - outcome: created
      observation: {spec: {severity: CRITICAL}}
  errors: []              # the same for parts that cannot be read
`;

/** Adds the command `test`. */
export function test(program: Command, { io, settings, finish }: CommandContext): void {
  const command = addCommand(program, {
    name: "test",
    summary: "run the test cases of filters and mappings",
    description:
      "Runs the cases in the .yaml files of a folder through the server's own steps, without writing anything, " +
      "and compares what becomes of each event with what is expected.",
    more: CASE,
    examples: [
      ["test examples/rules", "every case below a folder"],
      ["test rules -o junit >junit.xml", "for CI; the exit code is 1 where a case fails"],
    ],
  });
  filenameFlag(command, "a file, a folder, or - for standard input");
  outputFlag(controllerNamespaceFlag(command), OUTPUTS)
    .argument("[dir...]", "folders and files")
    .action((dirs: readonly string[], flags: TestFlags) => {
      const folders = [...dirs, ...flags.filename ?? []];
      if (folders.length === 0) throw usage("test", "expected DIR");
      return finish(testFolders(folders, { flags, io, settings: settingsOf(settings, flags) }));
    });
}

interface TestContext {
  readonly flags: TestFlags;
  readonly io: Io;
  readonly settings: Settings;
}

/** A case, or a file or document that is not one. */
interface CaseResult {
  readonly file: string;
  readonly name: string | null;
  readonly passed: boolean;
  readonly failures: readonly string[];
}

/** 1 where a case fails. */
async function testFolders(folders: readonly string[], context: TestContext): Promise<number> {
  const { flags: { output }, io } = context;
  const results: CaseResult[] = [];
  for (const folder of folders) {
    const inside = await io.listFolder(folder);
    for (const file of inside?.filter((path) => /\.ya?ml$/.test(path)) ?? [folder]) {
      for await (const result of runFile(file, context)) {
        results.push(result);
        if (output === undefined) io.stdout(renderResult(result));
      }
    }
  }
  if (results.length === 0) {
    throw new CommandError(`Cannot test "${folders.join('", "')}": there is no case in a .yaml file`);
  }
  const passed = results.filter((result) => result.passed).length;
  const failed = results.length - passed;
  if (output === undefined) {
    io.stdout(`${plural(results.length, "case")}: ${passed} passed, ${failed} failed\n`);
  } else if (output === "junit") {
    const { renderJunit } = await import("../output/junit.ts");
    io.stdout(renderJunit(results.map(({ name, ...result }) => ({ ...result, name: name ?? result.file }))));
  } else {
    const { render } = await import("../output/structured.ts");
    io.stdout(render({ passed, failed, cases: results }, output));
  }
  return failed > 0 ? 1 : 0;
}

function renderResult({ file, name, passed, failures }: CaseResult): string {
  if (name === null) return `FAIL ${file}\n${failures.map((failure) => `${failure}\n`).join("")}`;
  const lines = [`${passed ? "ok  " : "FAIL"} ${file}: ${name}`, ...failures.map((line) => `       ${line}`)];
  return lines.map((line) => `${line}\n`).join("");
}

async function* runFile(file: string, context: TestContext): AsyncGenerator<CaseResult> {
  const { readConfig } = await import("./documents.ts");
  const { isCase, readCase } = await import("./rule_case.ts");
  const text = await context.io.readText(file);
  const broken = (problems: Parameters<typeof renderProblem>[0][]): CaseResult => ({
    file,
    name: null,
    passed: false,
    failures: problems.map((problem) => renderProblem(problem, text).trimEnd()),
  });
  const { documents, problems } = readConfig(text);
  if (problems.length > 0) yield broken(problems.map((problem) => ({ ...problem, file })));
  for (const [index, { value, place }] of documents.entries()) {
    // Filters and Ingesters may be in the file of the cases that use them.
    const isConfiguration = isObject(value) && (value.kind !== undefined || value.sources !== undefined);
    if (isConfiguration && !isCase(value)) continue;
    const read = readCase(value);
    if (!read.ok) {
      yield broken(read.problems.map((issue) => ({ ...place(issue), file })));
      continue;
    }
    const failures = await runCase(read.value, { ...context, file });
    yield { file, name: read.value.name ?? `case ${index + 1}`, passed: failures.length === 0, failures };
  }
}

async function runCase(rule: RuleCase, context: TestContext & { readonly file: string }): Promise<string[]> {
  try {
    const { events, errors } = await explainCase(rule, context);
    return [...compareEvents(rule, events), ...compareErrors(rule, errors)];
  } catch (error) {
    if (error instanceof CommandError) return error.message.split("\n");
    throw error;
  }
}

async function explainCase(
  rule: RuleCase,
  { file, io, settings }: TestContext & { readonly file: string },
): Promise<Explanation> {
  const { explainInputs } = await import("./explanation.ts");
  const { readGoodConfig } = await import("./config_file.ts");
  const beside = (path: string) => join(dirname(file), path);
  const configOf = async (path: string | undefined) =>
    path === undefined ? undefined : await readGoodConfig(beside(path), { io, settings });
  const filtersFile = await configOf(rule.filtersFile);
  const ingesterFile = await configOf(rule.ingesterFile);
  const inputs = rule.inputs.map(({ input, inputFile, receivedAt }) =>
    inputFile === undefined ? { value: input ?? null, receivedAt } : { path: beside(inputFile), receivedAt }
  );
  return await explainInputs(inputs, {
    source: rule.source,
    filters: [...rule.filters, ...filtersFile?.filters ?? []],
    named: ingesterFile?.mapped ?? [],
    settings,
    io,
  });
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

function compareErrors(
  { errors: expected }: RuleCase,
  errors: readonly PayloadError[],
): string[] {
  if (errors.length !== expected.length) {
    const received = errors.map(({ reason, path, message }) => `${reason} at ${path}: ${message}`);
    return [`expected ${plural(expected.length, "error")}, received ${errors.length}`, ...received];
  }
  return expected.flatMap((want, index) => differences(want, errors[index], `error ${index + 1}`));
}
