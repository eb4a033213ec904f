/** CEL over the fields of an event: checked before it runs, and bounded in what it can cost. */
import { type ASTNode, Environment, type ParseResult } from "@marcbachmann/cel-js";
import { LRUCache } from "lru-cache";
import { RE2JS } from "re2js";

/** Longest expression, in UTF-16 units. */
export const MAX_EXPRESSION_LENGTH = 2048;
/** Longest regular expression given to `matches`. */
export const MAX_PATTERN_LENGTH = 512;
const MAX_DURATION_LENGTH = 32;
const LIMITS = {
  maxAstNodes: 500,
  maxDepth: 32,
  maxListElements: 200,
  maxMapEntries: 50,
  maxCallArguments: 8,
};

/** Type of a variable: a CEL type name, or an object whose fields are known, so that a misspelt one is caught at load. */
export type VariableType = "string" | "map" | "dyn" | { readonly fields: Readonly<Record<string, string>> };

/** A compiled expression. `evaluate` throws `ExpressionError` where the event lacks a key or a type does not fit. */
export interface Expression {
  readonly text: string;
  evaluate(variables: Readonly<Record<string, unknown>>): boolean;
}

/** Why an expression cannot be compiled, or could not be evaluated. */
export class ExpressionError extends Error {
  override readonly name = "ExpressionError";
  /** Offset of the mistake in the expression's text. */
  readonly offset: number | undefined;

  constructor(message: string, offset?: number) {
    super(message);
    this.offset = offset;
  }
}

/** A compiler of boolean expressions over these variables; it throws `ExpressionError`. */
export function expressionCompiler(
  variables: Readonly<Record<string, VariableType>>,
): (text: string) => Expression {
  const environment = new Environment({ enableOptionalTypes: true, limits: LIMITS });
  environment.registerFunction("string.matchesInLinearTime(string): bool", matchesInLinearTime);
  for (const [name, type] of Object.entries(variables)) {
    if (typeof type === "string") environment.registerVariable(name, type);
    else environment.registerVariable({ name, schema: { ...type.fields } });
  }
  return (text) => compile(environment, text);
}

const compileFilter = expressionCompiler({
  source: "string",
  category: "string",
  severity: "string",
  eventType: "string",
  resource: { fields: { apiVersion: "string", kind: "string", name: "string", namespace: "string" } },
  details: "map",
});

/** Compiles a filter's expression: source, category, severity, eventType, resource, details. */
export function compileFilterExpression(text: string): Expression {
  return compileFilter(text);
}

function compile(environment: Environment, text: string): Expression {
  if (text.length > MAX_EXPRESSION_LENGTH) {
    throw new ExpressionError(
      `expected at most ${MAX_EXPRESSION_LENGTH} characters, received ${text.length}`,
    );
  }
  const program = parse(environment, text);
  vet(program.ast);
  const check = program.check();
  if (!check.valid) throw toExpressionError(check.error);
  if (check.type !== "bool") {
    const hint = check.type === "dyn" ? "; compare it, as in details.flag == true" : "";
    throw new ExpressionError(`expected an expression of type bool, received ${check.type}${hint}`);
  }
  return {
    text,
    evaluate(values) {
      try {
        return program(values) === true;
      } catch (error) {
        throw toExpressionError(error);
      }
    },
  };
}

function parse(environment: Environment, text: string): ParseResult {
  try {
    return environment.parse(text);
  } catch (error) {
    throw toExpressionError(error);
  }
}

function toExpressionError(error: unknown): ExpressionError {
  if (error instanceof ExpressionError) return error;
  if (!(error instanceof Error)) return new ExpressionError(String(error));
  const { summary, range } = error as Error & { summary?: string; range?: { start: number } };
  const message = summary ?? error.message;
  return new ExpressionError(message.charAt(0).toLowerCase() + message.slice(1), range?.start);
}

const COMPREHENSIONS: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "filter"]);

/**
 * Walks the tree before the type check: gives `matches` to re2js, compiles its literal patterns, and refuses what
 * could cost more than linear time or grow values without bound on hostile text.
 */
function vet(node: ASTNode, insideComprehension = false): void {
  if (node.op === "rcall") {
    vetMethod(node, insideComprehension);
    const [name, receiver, callArguments] = node.args;
    vet(receiver, insideComprehension);
    for (const argument of callArguments) vet(argument, insideComprehension || COMPREHENSIONS.has(name));
    return;
  }
  // The library parses durations with a backtracking RegExp.
  if (node.op === "call" && node.args[0] === "duration") vetDuration(node.args[1][0], node.pos);
  for (const child of children(node.args)) vet(child, insideComprehension);
}

function vetMethod(node: Extract<ASTNode, { op: "rcall" }>, insideComprehension: boolean): void {
  const [name, , callArguments] = node.args;
  if (name === "map" || name === "bind") {
    throw new ExpressionError(`"${name}" is not available here`, node.pos);
  }
  if (insideComprehension && COMPREHENSIONS.has(name)) {
    throw new ExpressionError(`"${name}" cannot stand inside "all", "exists" or "filter"`, node.pos);
  }
  if (name !== "matches") return;
  // The library's own overload is a backtracking RegExp and cannot be replaced, only called by another name.
  node.args[0] = "matchesInLinearTime";
  vetPattern(callArguments[0]);
}

function vetPattern(pattern: ASTNode | undefined): void {
  if (pattern?.op === "value" && typeof pattern.args === "string") {
    try {
      compilePattern(pattern.args);
    } catch (error) {
      throw new ExpressionError(error instanceof Error ? error.message : String(error), pattern.pos);
    }
  }
}

function vetDuration(text: ASTNode | undefined, offset: number): void {
  if (text?.op === "value" && typeof text.args === "string" && text.args.length <= MAX_DURATION_LENGTH) {
    return;
  }
  throw new ExpressionError(
    `"duration" takes a literal of at most ${MAX_DURATION_LENGTH} characters`,
    offset,
  );
}

function* children(args: unknown): Generator<ASTNode> {
  if (Array.isArray(args)) { for (const element of args) yield* children(element); }
  else if (isNode(args)) yield args;
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === "object" && value !== null && "op" in value && "args" in value;
}

const patterns = new LRUCache<string, RE2JS>({ max: 256 });

/** `text.matches(pattern)` as CEL has it: unanchored, RE2 syntax. */
function matchesInLinearTime(text: string, pattern: string): boolean {
  return compilePattern(pattern).matcher(text).find();
}

function compilePattern(pattern: string): RE2JS {
  const known = patterns.get(pattern);
  if (known) return known;
  if (pattern.length > MAX_PATTERN_LENGTH) {
    throw new ExpressionError(
      `expected a regular expression of at most ${MAX_PATTERN_LENGTH} characters, received ${pattern.length}`,
    );
  }
  const compiled = RE2JS.compile(pattern);
  patterns.set(pattern, compiled);
  return compiled;
}
