/**
 * Counts the cost of evaluating an expression, in steps of about 100 ns of one core. Every node of an expression takes one
 * step. Operations that take longer on large values (searching a text, comparing a list, an error) take more steps.
 */
import type { ASTNode } from "@marcbachmann/cel-js";

/** Steps of one evaluation: less than 5 ms, and about 1 MiB, since a step leaves up to 40 bytes of garbage. */
export const MAX_STEPS = 26_000;
/** Steps that the mapping of one payload may take in all: about a second, during which the loop is yielded. */
export const MAX_PAYLOAD_STEPS = 10_000_000;
/** Deepest nesting of values that are compared or passed to functions. This also limits the types that the CEL library caches. */
const MAX_NESTING = 8;

/** Steps that several evaluations share. */
export interface StepBudget {
  left: number;
}

/** Thrown in an evaluation whose steps are spent. Created once, because a hostile list throws it for each element. */
const SPENT = new Error("the steps are spent");

/** The current evaluation: evaluating is synchronous, so there is one at a time. */
let running: { left: number; lastError: unknown } = { left: 0, lastError: undefined };

/** Evaluates with the steps of `budget`, at most MAX_STEPS. Throws the errors of `evaluate`, or `spent` if the steps run out. */
export function withinSteps<T>(
  budget: StepBudget,
  { evaluate, spent }: { readonly evaluate: () => T; readonly spent: (steps: number) => Error },
): T {
  const given = Math.min(MAX_STEPS, budget.left);
  const outer = running;
  const own = running = { left: given, lastError: undefined };
  try {
    const result = evaluate();
    // A quantifier over a list ignores the error of one element if another element decides.
    if (own.left < 0) throw SPENT;
    return result;
  } catch (error) {
    throw own.left < 0 ? spent(given) : error;
  } finally {
    running = outer;
    budget.left -= given - Math.max(own.left, 0);
  }
}

/** Takes steps from the evaluation under way. */
export function spend(steps: number): void {
  running.left -= steps;
  if (running.left < 0) throw SPENT;
}

type Evaluate = (...callArguments: unknown[]) => unknown;
/** The fields that the library adds to a checked node. */
interface Checked {
  evaluate: Evaluate;
  handle?: Evaluate;
}

/** Steps of an error: the library writes the expression into its message. */
const ERROR_STEPS = 150;
/** Functions for which the library makes a large integer or a buffer each time, and the steps of one. */
const MAKERS: ReadonlySet<string> = new Set(["size", "indexOf", "lastIndexOf", "bytes"]);
const MAKER_STEPS = 16;
/** Steps of a function of time with a time zone, which builds a date formatter. */
const TIME_ZONE_STEPS = 6_000;
/** Characters that a function reads or copies in one step. */
const CHARACTERS_PER_STEP = 16;
/** Functions that search a text, and the comparisons of characters in one step: searching from the end is slower. */
const SEARCHES: ReadonlyMap<string, number> = new Map([
  ["contains", 1_024],
  ["indexOf", 1_024],
  ["split", 1_024],
  ["lastIndexOf", 256],
]);
/** Functions that process each character or byte separately, or make a value of each. */
const SPREADS: ReadonlySet<string> = new Set(["size", "split", "json", "join", "bytes", "hex", "base64"]);

/** Makes a node count its steps, after the type check. */
export function meter(node: ASTNode): void {
  // The library replaces the method at the first call, hence the accessor.
  const checked = node as unknown as Checked;
  let evaluate = checked.evaluate;
  Object.defineProperty(node, "evaluate", {
    get: () => metered,
    set: (replacement: Evaluate) => evaluate = replacement,
  });
  // Named parameters: a list of them would be garbage of each node.
  function metered(evaluator: unknown, ast: unknown, context: unknown): unknown {
    if (--running.left < 0) throw SPENT;
    try {
      return evaluate.call(node, evaluator, ast, context);
    } catch (error) {
      if (error !== SPENT && error !== running.lastError) {
        running.lastError = error;
        running.left -= ERROR_STEPS;
      }
      throw error;
    }
  }
  endLoopWhenSpent(node);
  const cost = costOf(node);
  const handle = checked.handle;
  if (!cost || !handle) return;
  checked.handle = (first, second, third, fourth) => {
    cost(first, second);
    return handle(first, second, third, fourth);
  };
}

/** What the library puts in the place of `all`, `exists` and `filter`. */
interface Loop {
  readonly args: { condition?: (result: unknown) => boolean };
  handle?: Evaluate;
}

/**
 * Ends the loop of `all` and `exists` once the steps are spent: the library keeps the error of an element and goes on to the next one,
 * through a list of any length. The keys of a map are listed before the first is looked at, and cost their number.
 */
function endLoopWhenSpent(node: ASTNode): void {
  const { alternate } = (node as unknown as { readonly meta: { readonly alternate?: Loop } }).meta;
  const handle = alternate?.handle;
  if (!alternate || !handle) return;
  alternate.handle = (range, args, evaluator, context) => {
    if (isStructure(range) && !Array.isArray(range)) spend(keysOf(range).count);
    return handle(range, args, evaluator, context);
  };
  const { condition } = alternate.args;
  if (!condition) return;
  alternate.args.condition = (result) => {
    if (running.left < 0) throw SPENT;
    return condition(result);
  };
}

/** The cost of a node in addition to its one step, computed from the arguments of its handler. */
function costOf(node: ASTNode): ((first: unknown, second: unknown) => void) | undefined {
  switch (node.op) {
    case "rcall":
    case "call": {
      const name = node.args[0];
      const takesZone = name.startsWith("get");
      return (callArguments) => {
        if (MAKERS.has(name)) spend(MAKER_STEPS);
        if (Array.isArray(callArguments)) callCost(name, callArguments);
        if (takesZone && Array.isArray(callArguments) && callArguments.length > 1) spend(TIME_ZONE_STEPS);
      };
    }
    case "==":
    case "!=":
      return (left, right) => {
        typeCost(left);
        typeCost(right);
        if (typeof left === "string" && typeof right === "string") {
          if (left.length === right.length) spend(Math.ceil(left.length / CHARACTERS_PER_STEP));
        } else if (isStructure(left) && isStructure(right)) spendDeep(left, 0);
      };
    case "in":
      return (value, holder) => {
        typeCost(value);
        typeCost(holder);
        if (!Array.isArray(holder)) return;
        if (isStructure(value)) spendDeep(holder, 0);
        else spend(holder.length + (typeof value === "string" ? equalLengths(value, holder) : 0));
      };
    case "+":
      return (left, right) => {
        for (const part of [left, right]) {
          typeCost(part);
          if (typeof part === "string") spend(Math.ceil(part.length / CHARACTERS_PER_STEP));
          else if (Array.isArray(part)) spend(part.length);
        }
      };
    case "-":
    case "*":
    case "/":
    case "%":
    case "<":
    case "<=":
    case ">":
    case ">=":
      return (left, right) => {
        typeCost(left);
        typeCost(right);
      };
    case "!_":
    case "-_":
      return (value) => typeCost(value);
    default:
      return undefined;
  }
}

function callCost(name: string, values: readonly unknown[]): void {
  let characters = 0;
  for (const value of values) {
    typeCost(value);
    if (typeof value === "string") characters += value.length;
    else if (value instanceof Uint8Array) characters += value.length;
    else if (Array.isArray(value) && name === "join") {
      spend(value.length);
      for (const part of value) if (typeof part === "string") characters += part.length;
      // The separator is copied between every two parts.
      const [, separator] = values;
      if (typeof separator === "string") characters += separator.length * value.length;
    }
  }
  spend(Math.ceil(characters / (SPREADS.has(name) ? 4 : CHARACTERS_PER_STEP)));
  const [text, sought] = values;
  const perStep = SEARCHES.get(name);
  if (perStep !== undefined && typeof text === "string" && typeof sought === "string") {
    spend(Math.ceil(text.length * sought.length / perStep));
  }
}

/** Compared texts of one length cost their length. */
function equalLengths(value: string, holder: readonly unknown[]): number {
  if (value.length < CHARACTERS_PER_STEP) return 0;
  let steps = 0;
  for (const each of holder) {
    if (typeof each === "string" && each.length === value.length) steps += value.length / CHARACTERS_PER_STEP;
  }
  return Math.ceil(steps);
}

function isStructure(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Cached numbers of keys of large maps, because counting them before each use is costly. */
const keyCounts = new WeakMap<object, { readonly count: number; readonly first: string | undefined }>();

function keysOf(value: object): { readonly count: number; readonly first: string | undefined } {
  let known = keyCounts.get(value);
  if (!known) {
    const keys = Object.keys(value);
    known = { count: keys.length, first: keys[0] };
    if (known.count > 64) keyCounts.set(value, known);
  }
  return known;
}

/** Takes the steps of the library's type detection, which reads a value's first members at every level, and all keys to find the first. */
function typeCost(value: unknown): void {
  let current = value;
  for (let depth = 0; isStructure(current); depth++) {
    if (depth === MAX_NESTING) {
      throw new Error(
        `a value nested more than ${MAX_NESTING} levels deep cannot be compared or given to a function`,
      );
    }
    if (Array.isArray(current)) current = current[0];
    else if (isPlain(current)) {
      const { count, first } = keysOf(current);
      spend(count);
      current = first === undefined ? undefined : (current as Readonly<Record<string, unknown>>)[first];
    } else return;
  }
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** Takes a step for each value inside of a structure. */
function spendDeep(value: object, depth: number): void {
  if (depth > MAX_NESTING * 8) return;
  const members = Array.isArray(value)
    ? value
    : isPlain(value)
    ? (spend(keysOf(value).count), Object.values(value))
    : [];
  spend(members.length);
  for (const member of members) {
    if (isStructure(member)) spendDeep(member, depth + 1);
    else if (typeof member === "string") spend(member.length >> 4);
  }
}
