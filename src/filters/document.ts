/** Reads filters in every form: the ConfigMap's document, an ObservationFilter's spec, an Ingester's `filters`. */
import { isObject, type JsonObject } from "../model/json.ts";
import { compileFilterExpression, type Expression, ExpressionError } from "./expression.ts";
import type { FilterBlock, FilterDocument } from "./filter.ts";
import { toIssues, unknownKey } from "../text/schema_issues.ts";
import { filterBlockSchema, filterBlockShape, targetSourceSchema } from "./schema.ts";
import { formatReceived, type Issue, type Path, type Problem } from "../text/problem.ts";
import { readDocument } from "./config_text.ts";

/** Most mistakes of one text that are reported. */
const MAX_PROBLEMS = 1_000;
/** Most sources in one ConfigMap document. */
export const MAX_SOURCES = 200;

/** A filter that was read, or every mistake in it. */
export type FilterResult<T, P = Issue> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly P[] };

const BLOCK_KEYS = Object.keys(filterBlockShape);
const DOCUMENT_KEYS = ["sources"];

/** Reads one filter block; `path` is its path, for problems. */
export function readFilterBlock(value: unknown, path: Path = []): FilterResult<FilterBlock> {
  const parsed = filterBlockSchema.safeParse(value);
  const issues = parsed.success ? [] : toIssues(parsed.error, value, BLOCK_KEYS);
  const text = isObject(value) && !issues.some(({ path: [key] }) => key === "expression")
    ? value.expression
    : undefined;
  const compiled = typeof text === "string" ? compileExpression(text) : undefined;
  if (compiled && !compiled.ok) issues.push(...compiled.problems);
  if (!parsed.success || issues.length > 0) return failed(issues, path);
  const { ignoreKinds, ...block } = parsed.data;
  const excludeKinds = ignoreKinds ? [...(block.excludeKinds ?? []), ...ignoreKinds] : block.excludeKinds;
  const expression = compiled?.ok ? compiled.value : undefined;
  return { ok: true, value: withoutUndefined({ ...block, excludeKinds, expression }) };
}

/** Reads a value of the form `{"sources": {"<source or *>": {…}}}` into one document a source. */
export function readFilterDocuments(value: unknown, name: string): FilterResult<readonly FilterDocument[]> {
  if (!isObject(value)) {
    const message = `expected an object with the key "sources", received ${formatReceived(value)}`;
    return { ok: false, problems: [{ path: [], message }] };
  }
  const unknown = Object.keys(value).filter((key) => key !== "sources");
  const issues = unknown.map((key) => unknownKey([key], DOCUMENT_KEYS));
  const sources = Object.hasOwn(value, "sources") ? value.sources : undefined;
  if (!isObject(sources)) {
    const message = `expected an object, received ${formatReceived(sources)}`;
    return { ok: false, problems: [...issues, { path: ["sources"], message }] };
  }
  const read = readSources(sources, name);
  if (issues.length === 0) return read;
  return { ok: false, problems: read.ok ? issues : [...issues, ...read.problems] };
}

/** Reads the text of the ConfigMap's key, JSON or YAML; problems have line and column. */
export function parseFilterDocuments(
  text: string,
  name: string,
): FilterResult<readonly FilterDocument[], Problem> {
  const read = readDocument(text);
  if (!read.ok) return read;
  const result = readFilterDocuments(read.document.value, name);
  if (result.ok) return result;
  const problems = result.problems.slice(0, MAX_PROBLEMS).map(read.document.place);
  const more = result.problems.length - problems.length;
  if (more > 0) problems.push({ path: "", message: `and ${more} more mistakes` });
  return { ok: false, problems };
}

/** Reads an ObservationFilter's spec. */
export function readFilterSpec(
  spec: unknown,
  options: { readonly name: string; readonly tenantNamespace?: string },
): FilterResult<FilterDocument> {
  if (!isObject(spec)) {
    return {
      ok: false,
      problems: [{ path: ["spec"], message: `expected an object, received ${formatReceived(spec)}` }],
    };
  }
  const { targetSource, ...rest } = spec;
  const target = targetSourceSchema.safeParse(targetSource);
  const block = readFilterBlock(rest, ["spec"]);
  const issues = target.success
    ? []
    : toIssues(target.error, targetSource, []).map((issue) => ({ ...issue, path: ["spec", "targetSource"] }));
  if (!block.ok) return { ok: false, problems: [...issues, ...block.problems.map(suggestTarget)] };
  if (!target.success) return { ok: false, problems: issues };
  return { ok: true, value: { ...options, source: target.data, block: block.value } };
}

function readSources(sources: JsonObject, name: string): FilterResult<readonly FilterDocument[]> {
  const keys = Object.keys(sources);
  if (keys.length > MAX_SOURCES) {
    const message = `expected at most ${MAX_SOURCES} sources, received ${keys.length}`;
    return { ok: false, problems: [{ path: ["sources"], message }] };
  }
  const documents: FilterDocument[] = [];
  const issues: Issue[] = [];
  const written = new Map<string, string>();
  for (const key of keys) {
    const path = ["sources", key];
    const source = targetSourceSchema.safeParse(key);
    if (!source.success) {
      issues.push(...toIssues(source.error, key, []).map((issue): Issue => ({ ...issue, path, at: "key" })));
      continue;
    }
    const twin = written.get(source.data);
    if (twin !== undefined) issues.push({ path, at: "key", message: `names the same source as "${twin}"` });
    written.set(source.data, key);
    const block = readFilterBlock(sources[key], path);
    if (!block.ok) issues.push(...block.problems);
    else documents.push({ name: `${name} sources.${source.data}`, source: source.data, block: block.value });
  }
  return issues.length > 0 ? { ok: false, problems: issues } : { ok: true, value: documents };
}

function compileExpression(text: string): FilterResult<Expression> {
  try {
    return { ok: true, value: compileFilterExpression(text) };
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const where = error.offset === undefined
      ? ""
      : ` at character ${error.offset + 1} of ${JSON.stringify(text)}`;
    const message = `${error.message}${where}`;
    const offset = error.offset === undefined ? {} : { offset: error.offset };
    return { ok: false, problems: [{ path: ["expression"], message, ...offset }] };
  }
}

/** Suggests `targetSource` for a misspelt key: it is a key of a spec, but not of a block. */
function suggestTarget(issue: Issue): Issue {
  if (issue.path.length !== 2 || issue.at !== "key") return issue;
  return unknownKey(issue.path, ["targetSource", ...BLOCK_KEYS]);
}

function failed(issues: readonly Issue[], base: Path): FilterResult<never> {
  return { ok: false, problems: issues.map((issue) => ({ ...issue, path: [...base, ...issue.path] })) };
}

/** Absent keys and keys of `undefined` are one to users, but not to `exactOptionalPropertyTypes`. */
function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}
