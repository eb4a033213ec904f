/** `check`: the documents of files, one file after the other, with what is wrong with them. */
import { dirname, join } from "node:path";
import { didYouMean, type Issue } from "../../text/problem.ts";
import type { ExceptionDocument } from "../../exceptions/document.ts";
import { warningsOf } from "../../filters/warnings.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import type { KubeObject } from "../../kube/api.ts";
import { isObject } from "../../model/json.ts";
import type { Settings } from "../../settings.ts";
import { knownSources, SOURCES } from "../../sources/registry.ts";
import { CommandError, type Io } from "../io.ts";
import { type FileProblem, plural, renderProblem } from "../output/problems.ts";
import { type ConfigDocument, type PlacedCase, readConfigFile } from "./config_file.ts";
import type { RuleCase } from "./rule_case.ts";

/** What `check -o json` prints. */
export interface CheckReport {
  readonly checked: number;
  readonly skipped: number;
  readonly documents: readonly (ConfigDocument & { readonly file: string })[];
  readonly problems: readonly (Omit<FileProblem, "position"> & Partial<FileProblem["position"]>)[];
  readonly warnings: readonly string[];
}

export interface CheckFilesOptions {
  readonly io: Io;
  readonly settings: Settings;
  /** Prints nothing: the report is printed instead. */
  readonly quiet: boolean;
}

/** Checks the files, and says for each as it goes what it holds. Also hands back the Ingesters and ObservationMappings. */
export async function checkFiles(
  files: readonly string[],
  { io, settings, quiet }: CheckFilesOptions,
): Promise<CheckReport & { readonly mapped: readonly KubeObject[] }> {
  const documents: (ConfigDocument & { file: string })[] = [];
  const problems: FileProblem[] = [];
  const warnings: string[] = [];
  const filters: FilterDocument[] = [];
  const mapped: KubeObject[] = [];
  for (const file of files) {
    const text = await io.readText(file);
    const read = readConfigFile(text, { file, settings, now: io.now() });
    const inCases = await Promise.all(read.cases.map((each) => caseProblems(each, { file, io })));
    const inFile = [...read.problems, ...inCases.flat()];
    documents.push(...read.documents.map((document) => ({ file, ...document })));
    problems.push(...inFile);
    warnings.push(...read.warnings);
    filters.push(...read.filters, ...read.exceptions.flatMap(sourcesOf));
    mapped.push(...read.mapped);
    if (quiet) continue;
    if (read.documents.length > 0) io.stdout(`${file}: ${contents(read.documents)}\n`);
    for (const problem of inFile) io.stderr(renderProblem(problem, text));
  }
  warnings.push(...hardlyMeant(filters, { mapped, settings }));
  const checked = documents.filter(({ status }) => status === "checked").length;
  const skipped = documents.length - checked;
  if (!quiet && files.length > 0) {
    for (const warning of warnings) io.stderr(`Warning: ${warning}\n`);
    const others = skipped > 0 ? `, ${skipped} of other kinds skipped` : "";
    io.stdout(`${plural(checked, "document")} checked${others}: ${plural(problems.length, "mistake")}\n`);
  }
  const rows = problems.map(({ position, ...problem }) => ({ ...problem, ...position }));
  return { checked, skipped, documents, problems: rows, warnings, mapped };
}

/** The sources that an exception names, in the form of filters that say nothing but their source. */
function sourcesOf({ namespace, name, sources = [] }: ExceptionDocument): FilterDocument[] {
  return sources.map((source) => ({
    name: `ObservationException ${namespace}/${name}`,
    source,
    block: {},
  }));
}

/** `Ingester alertmanager, 2 test cases, Deployment web (skipped: not configuration)`. */
function contents(documents: readonly ConfigDocument[]): string {
  const byKind = Map.groupBy(documents, ({ kind, status }) => JSON.stringify([kind, status]));
  return [...byKind.values()].flatMap(([first, ...others]) => {
    if (!first) return [];
    const { kind, name, status } = first;
    const what = others.length > 0
      ? plural(others.length + 1, kind)
      : name === null
      ? kind
      : `${kind} "${name}"`;
    return status === "skipped" ? `${what} (skipped: not configuration)` : what;
  }).join(", ");
}

/** What a case refers to: its source, and the files beside it. */
async function caseProblems(
  { rule, place }: PlacedCase,
  { file, io }: { readonly file: string; readonly io: Io },
): Promise<FileProblem[]> {
  const issues: Issue[] = [];
  if (rule.ingesterFile === undefined && !SOURCE_NAMES.includes(rule.source)) {
    issues.push({
      path: ["source"],
      message: `expected a built-in source, or an ingesterFile that defines it${hintOf(rule.source)}`,
    });
  }
  for (const { path, file: named } of filesOf(rule)) {
    try {
      await io.readText(join(dirname(file), named));
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      issues.push({ path, message: error.message });
    }
  }
  return issues.map(place);
}

function* filesOf(
  { filtersFile, ingesterFile, inputs }: RuleCase,
): Generator<{ path: Issue["path"]; file: string }> {
  if (filtersFile !== undefined) yield { path: ["filtersFile"], file: filtersFile };
  if (ingesterFile !== undefined) yield { path: ["ingesterFile"], file: ingesterFile };
  for (const { inputFile, path } of inputs) {
    if (inputFile !== undefined) yield { path: [...path, "inputFile"], file: inputFile };
  }
}

const SOURCE_NAMES = SOURCES.map(({ name }) => name);

/** Warnings on filters that are valid but probably mistaken. A source that no file defines may be defined by an Ingester later. */
function hardlyMeant(
  filters: readonly FilterDocument[],
  { mapped, settings }: { readonly mapped: readonly KubeObject[]; readonly settings: Settings },
): string[] {
  const inFiles = mapped.flatMap(({ spec }) => sourceOf(spec));
  const known = [...knownSources(settings), ...inFiles.map((name) => ({ name }))];
  return filters.flatMap((document) =>
    warningsOf(document, { known, definedBy: "these files" }).map((warning) => `${document.name}: ${warning}`)
  );
}

function hintOf(source: string): string {
  const guess = didYouMean(source, SOURCE_NAMES);
  return guess === undefined ? "" : `; did you mean "${guess}"?`;
}

function sourceOf(spec: unknown): string[] {
  const source = isObject(spec) ? spec.source ?? spec.sourceName : undefined;
  return typeof source === "string" ? [source] : [];
}
