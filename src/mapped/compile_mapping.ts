/** Compiles a mapping's values and expressions, each mistake with the path to it. */
import type { Issue, Path } from "../text/problem.ts";
import { CATEGORIES, type Category, EVENT_TYPE_PATTERN, LIMITS } from "../model/observation.ts";
import { type Expression, expressionCompiler, ExpressionError } from "../filters/expression.ts";
import { categoryOf, type CompiledMapping } from "./draw.ts";
import { compileForEach, compileValue, isPath, PathError, type Value } from "./path.ts";
import { type MappingSpec, severityKey } from "./schema.ts";

/** A compiled mapping, or every mistake in it. */
export type MappingResult =
  | { readonly ok: true; readonly value: CompiledMapping }
  | { readonly ok: false; readonly problems: readonly Issue[] };

/** Compiles each value, so that one check reports every mistake. */
export function compileMapping(
  spec: MappingSpec,
  { source, path }: { source: string; path: Path },
): MappingResult {
  const issues: Issue[] = [];
  const attempt = <T>(at: Path, compile: () => T): T | undefined => {
    try {
      return compile();
    } catch (error) {
      if (!(error instanceof PathError) && !(error instanceof ExpressionError)) throw error;
      issues.push({ path: [...path, ...at], message: error.message });
      return undefined;
    }
  };
  const value = (text: string | undefined, at: Path): Value =>
    (text === undefined ? undefined : attempt(at, () => compileValue(text))) ?? NOTHING;
  const condition = (
    text: string | undefined,
    { at, compile = compileCondition }: { at: Path; compile?: (text: string) => Expression },
  ): Expression | undefined => text === undefined ? undefined : attempt(at, () => withPlace(text, compile));
  const { forEach, resource = {}, details = {}, identity, category = "security" } = spec;
  const compiled: CompiledMapping = {
    forEach: forEach === undefined ? undefined : attempt(["forEach"], () => compileForEach(forEach)),
    when: condition(spec.when, { at: ["when"] }),
    completeWhen: condition(spec.completeWhen, { at: ["completeWhen"], compile: compileOverPayload }),
    resolvedWhen: condition(spec.resolvedWhen, { at: ["resolvedWhen"] }),
    severity: value(spec.severity, ["severity"]),
    category: value(category, ["category"]),
    categories: categoriesOf(category),
    eventType: value(spec.eventType ?? source, ["eventType"]),
    message: value(spec.message, ["message"]),
    rule: value(spec.rule, ["rule"]),
    detectedAt: value(spec.detectedAt, ["detectedAt"]),
    count: value(spec.count, ["count"]),
    resolvedAt: value(spec.resolvedAt, ["resolvedAt"]),
    resource: {
      apiVersion: value(resource.apiVersion, ["resource", "apiVersion"]),
      kind: value(resource.kind, ["resource", "kind"]),
      name: value(resource.name, ["resource", "name"]),
      namespace: value(resource.namespace, ["resource", "namespace"]),
    },
    details: Object.entries(details).map(([name, text]) => [name, value(text, ["details", name])]),
    prose: proseOf(spec),
    identity: identity?.map((text, index) => [text, value(text, ["identity", index])]),
  };
  issues.push(...literalIssues(spec, path), ...severityIssues(spec, path), ...proseIssues(spec, path));
  return issues.length > 0 ? { ok: false, problems: issues } : { ok: true, value: compiled };
}

/**
 * What the mapping says is prose, and what is a literal, thus a sentence of the mapping's author. A detail called `message`
 * shares its name with the message.
 */
function proseOf({ message, details = {}, prose = [] }: MappingSpec): string[] {
  const values = [
    ...Object.entries(details),
    ...(message === undefined ? [] : [["message", message] as const]),
  ];
  const fromItem = new Set(values.filter(([, text]) => isPath(text)).map(([name]) => name));
  return [...new Set(values.map(([name]) => name))].filter((name) =>
    prose.includes(name) || !fromItem.has(name)
  );
}

function categoriesOf(category: string): readonly Category[] {
  if (isPath(category)) return CATEGORIES;
  const literal = categoryOf(category);
  return literal === undefined ? [] : [literal];
}

const NOTHING: Value = () => undefined;

/** A mistake's message says where in the expression it is. */
function withPlace(text: string, compile: (text: string) => Expression): Expression {
  try {
    return compile(text);
  } catch (error) {
    if (!(error instanceof ExpressionError) || error.offset === undefined) throw error;
    const place = `at character ${error.offset + 1} of ${JSON.stringify(text)}`;
    throw new ExpressionError(`${error.message} ${place}`, error.offset);
  }
}

const compileCondition = expressionCompiler({ item: "dyn", root: "dyn", key: "string" });
const compileOverPayload = expressionCompiler({ root: "dyn" });

function proseIssues({ details = {}, prose = [] }: MappingSpec, path: Path): Issue[] {
  return prose.flatMap((name, index) =>
    name === "message" || Object.hasOwn(details, name) ? [] : [{
      path: [...path, "prose", index],
      message: `expected message or the name of a detail, received ${JSON.stringify(name)}`,
    }]
  );
}

/** Words match in any case, so two keys that differ only by case are a mistake. */
function severityIssues({ severityMap = {} }: MappingSpec, path: Path): Issue[] {
  const issues: Issue[] = [];
  const first = new Map<string, string>();
  for (const word of Object.keys(severityMap)) {
    const twin = first.get(severityKey(word));
    if (twin === undefined) first.set(severityKey(word), word);
    else {
      const message = `is the same word as ${JSON.stringify(twin)}`;
      issues.push({ path: [...path, "severityMap", word], at: "key", message });
    }
  }
  return issues;
}

/** Checks literals at load, so that a mistake is not reported with every event. */
function literalIssues({ category, eventType, identity }: MappingSpec, path: Path): Issue[] {
  const issues: Issue[] = [];
  if (
    category !== undefined && categoriesOf(category).length === 0
  ) {
    const message = `expected one of ${CATEGORIES.join("|")} or a path, received ${JSON.stringify(category)}`;
    issues.push({ path: [...path, "category"], message });
  }
  const legal = (word: string) => word.length <= LIMITS.eventType && EVENT_TYPE_PATTERN.test(word);
  if (eventType !== undefined && !isPath(eventType) && !legal(eventType)) {
    const message = `expected lower-case words joined by - or _, or a path, received ${
      JSON.stringify(eventType)
    }`;
    issues.push({ path: [...path, "eventType"], message });
  }
  if (identity !== undefined && !identity.some(isPath)) {
    const message = "expected at least one path: literals alone make every finding the same";
    issues.push({ path: [...path, "identity"], message });
  }
  return issues;
}
