/** Configuration files: which document is what, the good ones, and what is wrong with the others. */
import {
  type FilterResult,
  parseFilterDocuments,
  readFilterDocuments,
  readFilterSpec,
} from "../../filters/document.ts";
import { MAX_TEXT_LENGTH, type TextDocument } from "../../filters/config_text.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import { type ExceptionDocument, readException } from "../../exceptions/document.ts";
import { formatReceived, type Issue, type Problem } from "../../text/problem.ts";
import type { KubeObject } from "../../kube/api.ts";
import { compileMapped } from "../../mapped/compile.ts";
import { refusalsOf } from "../../mapped/plan.ts";
import { trustOf } from "../../mapped/trust.ts";
import { isObject, type JsonObject } from "../../model/json.ts";
import { GROUP } from "../../model/observation.ts";
import type { Settings } from "../../settings.ts";
import { BUILT_IN } from "../../sources/registry.ts";
import { CommandError, type Io } from "../io.ts";
import { type FileProblem, renderProblem } from "../output/problems.ts";
import { itemsOf, readConfig } from "./documents.ts";
import { isCase, readCase, type RuleCase } from "./rule_case.ts";

const VERSION = "v1alpha1";

/** One document of a file. */
export interface ConfigDocument {
  /** `filter document`, `test case`, or the kind of the object. */
  readonly kind: string;
  readonly name: string | null;
  /** `skipped` where it is of a kind that is not configuration. */
  readonly status: "checked" | "skipped";
}

/** What a file holds, and what is wrong with it. */
export interface ConfigFile {
  readonly documents: ConfigDocument[];
  readonly filters: FilterDocument[];
  /** ObservationExceptions without a mistake. */
  readonly exceptions: ExceptionDocument[];
  /** Ingesters and ObservationMappings without a mistake. */
  readonly mapped: KubeObject[];
  /** Cases without a mistake in their form. */
  readonly cases: PlacedCase[];
  readonly problems: FileProblem[];
  /** Why a good document acts nowhere. */
  readonly warnings: string[];
}

/** A case, and the place of what is wrong with it. */
export interface PlacedCase {
  readonly rule: RuleCase;
  place(issue: Issue): FileProblem;
}

/** Reads the text of a file. */
export function readConfigFile(
  text: string,
  { file, settings, now }: { readonly file: string; readonly settings: Settings; readonly now: number },
): ConfigFile {
  const { documents, problems } = readConfig(text);
  const result: ConfigFile = {
    documents: [],
    filters: [],
    exceptions: [],
    mapped: [],
    cases: [],
    problems: problems.map((problem) => ({ ...problem, file })),
    warnings: [],
  };
  if (problems.length === 0 && documents.length === 0) {
    result.problems.push({ file, path: "", message: "expected a document, received nothing" });
  }
  for (const document of documents) {
    for (const { item, path } of itemsOf(document.value)) {
      readItem(item, { document, text, base: path, file, settings, now, result });
    }
  }
  return result;
}

/** The filters, exceptions, Ingesters and ObservationMappings of a file without mistakes; throws a `CommandError` where there is one. */
export async function readGoodConfig(
  file: string,
  { io, settings }: { readonly io: Io; readonly settings: Settings },
): Promise<Pick<ConfigFile, "filters" | "exceptions" | "mapped">> {
  const text = await io.readText(file);
  const config = readConfigFile(text, { file, settings, now: io.now() });
  if (config.problems.length > 0) {
    const shown = config.problems.map((problem) => renderProblem(problem, text)).join("");
    throw new CommandError(`Cannot load "${file}":\n${shown.trimEnd()}`);
  }
  if (!config.documents.some(({ kind, status }) => status === "checked" && kind !== TEST_CASE)) {
    throw new CommandError(
      `Cannot load "${file}": it holds no filters, exception, Ingester or ObservationMapping`,
    );
  }
  for (const why of config.warnings) io.stderr(`${why}\n`);
  return config;
}

interface At {
  readonly document: TextDocument;
  readonly text: string;
  /** Path of the value in its document. */
  readonly base: Issue["path"];
  readonly file: string;
  readonly settings: Settings;
  /** Milliseconds since the epoch: when an exception of the file would be created. */
  readonly now: number;
  readonly result: ConfigFile;
}

const FILTER_DOCUMENT = "filter document";
const TEST_CASE = "test case";

/** Our kinds, and how a document of each is read: what is good goes into the result, what is wrong comes back. */
const KINDS: Readonly<Record<string, (value: JsonObject, at: At) => readonly Issue[]>> = {
  ObservationFilter: readFilter,
  ObservationException: readExceptionObject,
  Ingester: readMapped,
  ObservationMapping: readMapped,
};

function readItem(value: unknown, at: At): void {
  const { result, settings } = at;
  const kind = kindOf(value, settings);
  const status = kind.ours ? "checked" : "skipped";
  result.documents.push({ kind: kind.name, name: objectName(value), status });
  if (kind.ours) {
    result.problems.push(...problemsOf(value, at).map((problem) => ({ ...problem, file: at.file })));
  }
}

/** What a document is, and whether it is ours to check. */
function kindOf(value: unknown, settings: Settings): { readonly name: string; readonly ours: boolean } {
  if (isCase(value)) return { name: TEST_CASE, ours: true };
  if (!isObject(value) || typeof value.kind !== "string") return { name: FILTER_DOCUMENT, ours: true };
  if (value.kind === "ConfigMap") {
    const isFilter = objectName(value) === settings.filterConfigMapName ||
      filterText(value, settings) !== undefined;
    return isFilter ? { name: "filter ConfigMap", ours: true } : { name: "ConfigMap", ours: false };
  }
  const group = typeof value.apiVersion === "string" ? value.apiVersion.split("/")[0] : undefined;
  return { name: value.kind, ours: group === GROUP && value.kind !== "Observation" };
}

function problemsOf(value: unknown, at: At): readonly Problem[] {
  const { document, base } = at;
  if (isObject(value) && value.kind === "ConfigMap") return readConfigMap(value, at);
  const place = (issue: Issue) => document.place({ ...issue, path: [...base, ...issue.path] });
  if (isCase(value)) return readTestCase(value, place, at);
  return (isObject(value) && value.kind !== undefined ? readObject(value, at) : readBare(value, at)).map(
    place,
  );
}

/** A document without a kind. */
function readBare(value: unknown, { file, text, result }: At): readonly Issue[] {
  if (isObject(value) && value.sources === undefined) {
    const keys = Object.keys(value).slice(0, 5).join(", ") || "no keys";
    const message =
      "expected a filter document with the key sources, a test case with the key expected, a ConfigMap, " +
      `or one of ${Object.keys(KINDS).join("|")}, received an object with ${keys}`;
    return [{ path: [], message }];
  }
  if (text.length > MAX_TEXT_LENGTH) {
    const message = `expected at most ${MAX_TEXT_LENGTH} characters, received ${text.length}`;
    return [{ path: [], message }];
  }
  return keep(readFilterDocuments(value, file), result);
}

function readObject(value: JsonObject, at: At): readonly Issue[] {
  const kind = String(value.kind);
  const issues: Issue[] = [];
  if (value.apiVersion !== `${GROUP}/${VERSION}`) {
    const message = `expected ${GROUP}/${VERSION}, received ${formatReceived(value.apiVersion)}`;
    issues.push({ path: ["apiVersion"], message });
  }
  const read = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (read) return [...issues, ...read(value, at)];
  const message = `expected one of ${Object.keys(KINDS).join("|")}, received ${formatReceived(kind)}`;
  return [...issues, { path: ["kind"], message }];
}

function readTestCase(
  value: unknown,
  place: (issue: Issue) => Problem,
  { file, result }: At,
): readonly Problem[] {
  const read = readCase(value);
  if (!read.ok) return read.problems.map(place);
  result.cases.push({ rule: read.value, place: (issue) => ({ ...place(issue), file }) });
  return [];
}

/** As the server takes it: outside the controller's namespace it is off, or a tenant's. */
function readFilter(value: JsonObject, { file, settings, result }: At): readonly Issue[] {
  const { podNamespace: ownNamespace, tenantFilters } = settings;
  const namespace = namespaceOf(value, settings);
  const name = nameIn(file, value);
  const isTenant = namespace !== ownNamespace;
  const read = readFilterSpec(value.spec, { name, ...(isTenant && { tenantNamespace: namespace }) });
  if (!isTenant || tenantFilters || !read.ok) {
    return keep(read.ok ? { ok: true, value: [read.value] } : read, result);
  }
  result.warnings.push(
    `${name} is off: its namespace ${namespace} is not the controller's, ${ownNamespace} (-n), ` +
      "and TENANT_FILTERS is not true",
  );
  return [];
}

function readExceptionObject(value: JsonObject, { file, settings, now, result }: At): readonly Issue[] {
  const metadata = isObject(value.metadata) ? value.metadata : {};
  const object = { ...value, metadata: { ...metadata, namespace: namespaceOf(value, settings) } };
  const read = readException(object as KubeObject, { maxDays: settings.exceptionMaxDays, now });
  if (!read.ok) return read.problems;
  result.exceptions.push(read.value);
  if (read.value.expiresAt <= now) {
    result.warnings.push(`${nameIn(file, value)} accepts nothing: it has expired`);
  }
  return [];
}

function readMapped(value: JsonObject, { settings, result }: At): readonly Issue[] {
  const metadata = isObject(value.metadata) ? value.metadata : {};
  const namespace = namespaceOf(value, settings);
  const object: KubeObject = {
    ...value,
    kind: String(value.kind),
    apiVersion: String(value.apiVersion),
    metadata: { ...metadata, namespace },
  };
  const compiled = compileMapped(object);
  if (!compiled.ok) return compiled.problems;
  const refusals = refusalsOf(object, {
    ingester: compiled.value,
    context: {
      builtins: BUILT_IN,
      // Where it will be applied is not known here: its own namespace counts as the controller's.
      trust: { ...trustOf(settings), ownNamespace: namespace },
    },
  });
  if (refusals.length === 0) result.mapped.push(object);
  return refusals;
}

function namespaceOf({ metadata }: JsonObject, { podNamespace }: Settings): string {
  return isObject(metadata) && typeof metadata.namespace === "string" ? metadata.namespace : podNamespace;
}

function keep<P>(read: FilterResult<readonly FilterDocument[], P>, result: ConfigFile): readonly P[] {
  if (!read.ok) return read.problems;
  result.filters.push(...read.value);
  return [];
}

function objectName(value: unknown): string | null {
  if (!isObject(value)) return null;
  const name = isObject(value.metadata) ? value.metadata.name : value.name;
  return typeof name === "string" ? name : null;
}

function nameIn(file: string, value: JsonObject): string {
  return `${file} ${String(value.kind)} ${objectName(value) ?? ""}`;
}

function readConfigMap(
  value: JsonObject,
  { document, text, base, file, settings, result }: At,
): readonly Problem[] {
  const inner = filterText(value, settings);
  const path = [...base, "data", settings.filterConfigMapKey];
  if (inner === undefined) {
    const message = `expected the key "${settings.filterConfigMapKey}", received nothing`;
    return [document.place({ path: [...base, "data"], message })];
  }
  const problems = keep(parseFilterDocuments(inner, nameIn(file, value)), result);
  const off = whyOff(value, settings);
  if (off !== undefined) result.warnings.push(`${nameIn(file, value)} is off: ${off}`);
  const outer = document.place({ path, message: "" });
  const block = blockOf(text, outer.position?.line ?? 1);
  return problems.map((problem) => ({
    path: problem.path === "" ? outer.path : `${outer.path}: ${problem.path}`,
    message: problem.message,
    ...(problem.position && outer.position && {
      position: block
        ? { line: block.line + problem.position.line - 1, column: block.indent + problem.position.column }
        : outer.position,
    }),
  }));
}

/** Why the controller does not read a ConfigMap where it lies. What a file leaves open is decided when it is applied. */
function whyOff({ metadata }: JsonObject, settings: Settings): string | undefined {
  const { filterConfigMapName: name, filterConfigMapNamespace, podNamespace } = settings;
  const namespace = filterConfigMapNamespace || podNamespace;
  const own = isObject(metadata) ? metadata : {};
  if ((own.name ?? name) === name && (own.namespace ?? namespace) === namespace) return undefined;
  return `zen-watcher reads the ConfigMap ${namespace}/${name} (FILTER_CONFIGMAP_NAMESPACE, FILTER_CONFIGMAP_NAME)`;
}

function filterText(value: JsonObject, { filterConfigMapKey }: Settings): string | undefined {
  const text = isObject(value.data) ? value.data[filterConfigMapKey] : undefined;
  return typeof text === "string" ? text : undefined;
}

/** Where the text of a literal block (`key: |`) begins: lines inside it are lines of the file. */
function blockOf(
  text: string,
  keyLine: number,
): { readonly line: number; readonly indent: number } | undefined {
  const lines = text.split("\n");
  if (!/:\s*\|[-+0-9]*\s*$/.test(lines[keyLine - 1] ?? "")) return undefined;
  const first = lines.slice(keyLine).find((line) => line.trim() !== "") ?? "";
  return { line: keyLine + 1, indent: first.length - first.trimStart().length };
}
