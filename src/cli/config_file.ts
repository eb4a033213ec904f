/** Configuration files: filters, ObservationFilters, Ingesters, ObservationMappings, alone or among other manifests. */
import {
  type FilterResult,
  parseFilterDocuments,
  readFilterDocuments,
  readFilterSpec,
} from "../filters/document.ts";
import { formatReceived, type Issue, type Problem } from "../filters/problem.ts";
import type { TextDocument } from "../filters/config_text.ts";
import { isObject, type JsonObject } from "../model/json.ts";
import { GROUP } from "../model/observation.ts";
import type { KubeObject } from "../kube/api.ts";
import type { FilterDocument } from "../filters/filter.ts";
import type { Settings } from "../settings.ts";
import { compileMapped } from "../mapped/compile.ts";
import { refusalsOf } from "../mapped/plan.ts";
import { SOURCES } from "../sources/registry.ts";
import { itemType, readConfig } from "./input.ts";
import type { FileProblem } from "./report.ts";

const VERSION = "v1alpha1";

/** What a file holds, and what is wrong with it. */
export interface ConfigFile {
  readonly filters: FilterDocument[];
  /** ObservationFilters that are good but act nowhere, each with the reason. */
  readonly off: string[];
  /** Ingesters and ObservationMappings without a mistake. */
  readonly mapped: KubeObject[];
  readonly problems: FileProblem[];
  checked: number;
  /** Documents of other kinds. */
  skipped: number;
}

/** Reads the text of a file. */
export function readConfigFile(
  text: string,
  { file, settings }: { readonly file: string; readonly settings: Settings },
): ConfigFile {
  const result: ConfigFile = { filters: [], off: [], mapped: [], problems: [], checked: 0, skipped: 0 };
  const { documents, problems } = readConfig(text);
  result.problems.push(...problems.map((problem) => ({ ...problem, file })));
  if (problems.length === 0 && documents.length === 0) {
    result.problems.push({ file, path: "", message: "expected a document, received nothing" });
  }
  for (const document of documents) {
    const { value } = document;
    const items = itemsOf(value);
    for (const [index, item] of (items ?? [value]).entries()) {
      const base = items ? ["items", index] : [];
      readItem(item, { document, text, base, file, settings, result });
    }
  }
  return result;
}

/** The members of a List, or of a typed one, whose own lack what its name says. */
function itemsOf(value: unknown): readonly unknown[] | undefined {
  if (!isObject(value) || typeof value.kind !== "string" || !Array.isArray(value.items)) return undefined;
  const type = itemType(value);
  return value.items.map((item) => isObject(item) ? { ...type, ...item } : item);
}

interface At {
  readonly document: TextDocument;
  readonly text: string;
  /** Path of the value in its document. */
  readonly base: Issue["path"];
  readonly file: string;
  readonly settings: Settings;
  readonly result: ConfigFile;
}

function readItem(value: unknown, at: At): void {
  const { document, base, file, settings, result } = at;
  if (isObject(value) && isForeign(value, settings)) {
    result.skipped++;
    return;
  }
  result.checked++;
  const problems = isObject(value) && value.kind === "ConfigMap"
    ? readConfigMap(value, at)
    : readOther(value, at).map((issue) => document.place({ ...issue, path: [...base, ...issue.path] }));
  result.problems.push(...problems.map((problem) => ({ ...problem, file })));
}

/** Manifests hold other kinds beside ours: they are not ours to judge. */
function isForeign(value: JsonObject, settings: Settings): boolean {
  if (typeof value.kind !== "string") return false;
  if (value.kind === "ConfigMap") {
    const name = isObject(value.metadata) ? value.metadata.name : undefined;
    return name !== settings.filterConfigMapName && filterText(value, settings) === undefined;
  }
  const group = typeof value.apiVersion === "string" ? value.apiVersion.split("/")[0] : undefined;
  return group !== GROUP || value.kind === "Observation";
}

/** Puts what is good into the result; what is not comes back. */
function readOther(value: unknown, at: At): readonly Issue[] {
  const { file, result } = at;
  if (!isObject(value) || value.kind === undefined) {
    const unlike = unlikeAny(value);
    return unlike ? [unlike] : keep(readFilterDocuments(value, nameIn(file, value)), result);
  }
  if (value.apiVersion !== `${GROUP}/${VERSION}`) {
    const message = `expected ${GROUP}/${VERSION}, received ${formatReceived(value.apiVersion)}`;
    return [{ path: ["apiVersion"], message }];
  }
  if (value.kind === "ObservationFilter") return readFilter(value, at);
  if (value.kind === "Ingester" || value.kind === "ObservationMapping") return readMapped(value, at);
  const known = "ObservationFilter|Ingester|ObservationMapping";
  return [{ path: ["kind"], message: `expected one of ${known}, received ${formatReceived(value.kind)}` }];
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
  result.off.push(
    `${name} is off: its namespace ${namespace} is not the controller's, ${ownNamespace} (-n), ` +
      "and TENANT_FILTERS is not true",
  );
  return [];
}

function unlikeAny(value: unknown): Issue | undefined {
  if (!isObject(value) || value.sources !== undefined) return undefined;
  const keys = Object.keys(value).slice(0, 5).join(", ") || "no keys";
  const message =
    "expected a filter document with the key sources, a ConfigMap, an ObservationFilter, an Ingester " +
    `or an ObservationMapping, received an object with ${keys}`;
  return { path: [], message };
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
      builtins: new Map(SOURCES.map((source) => [source.name, source])),
      trust: {
        // Off line nobody knows where it will be applied: its own namespace counts as ours.
        ownNamespace: namespace,
        trustedNamespaces: settings.trustedConfigNamespaces,
        configMapNamespaces: [settings.kubeBenchNamespace, settings.checkovNamespace],
      },
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

function nameIn(file: string, value: unknown): string {
  if (!isObject(value) || !isObject(value.metadata)) return file;
  return `${file} ${String(value.kind)} ${String(value.metadata.name ?? "")}`;
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
