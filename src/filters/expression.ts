/** CEL expressions over the fields of an event. They are type-checked before they run, and their cost is limited. */
import { errorMessage } from "../model/error_message.ts";
import { type ASTNode, Environment, type ParseResult } from "@marcbachmann/cel-js";
import { Pattern } from "./pattern.ts";
import { MAX_STEPS, meter, type StepBudget, withinSteps } from "./steps.ts";

/** Longest expression, in UTF-16 units. */
export const MAX_EXPRESSION_LENGTH = 2048;
const MATCHES = "matchesInLinearTime";
const PATTERN_TYPE = "zen.Pattern";
/** Most patterns of one expression: compiling each takes a few ms. */
const MAX_PATTERNS = 16;
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

/** A compiled expression. */
export interface Expression {
  readonly text: string;
  /**
   * Throws `ExpressionError` if the event lacks a key, a type does not fit, or the steps of `budget` are spent. Without a
   * budget it may take MAX_STEPS.
   */
  evaluate(variables: Readonly<Record<string, unknown>>, budget?: StepBudget): boolean;
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
  environment.registerType(PATTERN_TYPE, Pattern);
  environment.registerFunction(`string.${MATCHES}(${PATTERN_TYPE}): bool`, matches);
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
  rule: "string",
  resource: { fields: { apiVersion: "string", kind: "string", name: "string", namespace: "string" } },
  details: "map",
});

/** Compiles a filter's expression: source, category, severity, eventType, rule, resource, details. */
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
  givePatterns(program.ast);
  const check = program.check();
  if (!check.valid) throw toExpressionError(check.error);
  if (check.type !== "bool") {
    const hint = check.type === "dyn" ? "; compare it, as in details.flag == true" : "";
    throw new ExpressionError(`expected an expression of type bool, received ${check.type}${hint}`);
  }
  for (const node of nodesOf(program.ast)) meter(node);
  return {
    text,
    evaluate(values, budget = { left: MAX_STEPS }) {
      try {
        return withinSteps(budget, { evaluate: () => program(values), spent: tooCostly }) === true;
      } catch (error) {
        throw toExpressionError(error);
      }
    },
  };
}

function tooCostly(steps: number): ExpressionError {
  return new ExpressionError(
    steps < MAX_STEPS
      ? "the steps that all expressions together may take here are spent"
      : `takes more than ${MAX_STEPS} steps on this value`,
  );
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
 * Walks the tree before the type check and refuses expressions that could take more than linear time or build values
 * without limit on hostile text.
 */
function vet(node: ASTNode, insideComprehension = false): void {
  if (insideComprehension) vetRepeated(node);
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

/** Refuses calls inside a comprehension that process a whole list or text for each element of another. */
function vetRepeated(node: ASTNode): void {
  const { op } = node;
  if (op === "in" && node.args[1].op !== "list" && node.args[1].op !== "map") {
    throw new ExpressionError(
      '"in" cannot stand inside "all", "exists" or "filter", but for a list written out',
      node.pos,
    );
  }
  if (op === "+" && !node.args.some(isNumber)) {
    throw new ExpressionError(
      '"+" cannot stand inside "all", "exists" or "filter", but with a number written out',
      node.pos,
    );
  }
}

function isNumber(node: ASTNode): boolean {
  return node.op === "value" && (typeof node.args === "number" || typeof node.args === "bigint");
}

function vetMethod(node: Extract<ASTNode, { op: "rcall" }>, insideComprehension: boolean): void {
  const [name] = node.args;
  if (name === "map" || name === "bind") {
    throw new ExpressionError(`"${name}" is not available here`, node.pos);
  }
  if (insideComprehension && (COMPREHENSIONS.has(name) || name === "join" || name === "split")) {
    throw new ExpressionError(`"${name}" cannot stand inside "all", "exists" or "filter"`, node.pos);
  }
}

/** Gives each `matches` its compiled pattern. */
function givePatterns(root: ASTNode): void {
  let count = 0;
  for (const node of nodesOf(root)) {
    if (node.op !== "rcall" || node.args[0] !== "matches") continue;
    if (++count > MAX_PATTERNS) {
      throw new ExpressionError(`expected at most ${MAX_PATTERNS} patterns in an expression`, node.pos);
    }
    // The library's own overload is a backtracking RegExp and cannot be replaced, only called by another name.
    node.args[0] = MATCHES;
    givePattern(node.args[2][0], node.pos);
  }
}

/** Puts the compiled pattern in the place of its text: compiled once with the document, and not looked up again. */
function givePattern(pattern: ASTNode | undefined, offset: number): void {
  if (pattern?.op !== "value" || typeof pattern.args !== "string") {
    throw new ExpressionError('"matches" takes a pattern that is written out', pattern?.pos ?? offset);
  }
  try {
    (pattern as { args: unknown }).args = new Pattern(pattern.args);
  } catch (error) {
    throw new ExpressionError(errorMessage(error), pattern.pos);
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

function* nodesOf(node: ASTNode): Generator<ASTNode> {
  yield node;
  for (const child of children(node.args)) yield* nodesOf(child);
}

function* children(args: unknown): Generator<ASTNode> {
  if (Array.isArray(args)) { for (const element of args) yield* children(element); }
  else if (isNode(args)) yield args;
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === "object" && value !== null && "op" in value && "args" in value;
}

/** `text.matches(pattern)` as CEL has it: unanchored, RE2 syntax. */
function matches(text: string, pattern: Pattern): boolean {
  return pattern.test(text);
}
