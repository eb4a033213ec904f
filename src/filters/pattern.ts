/** Regular expressions of users, in RE2 syntax. Their size is limited when they are compiled, and the cost of each test. */
import { RE2JS, RE2Set } from "re2js";
import { spend } from "./steps.ts";

/** Longest pattern, in UTF-16 units. */
export const MAX_PATTERN_LENGTH = 256;
/** Most instructions that a pattern may compile to. */
export const MAX_PATTERN_INSTRUCTIONS = 200;
/** Most that one test may cost: the pattern's instructions times the text's characters. */
export const MAX_MATCH_COST = 30_000;
/** Most memory of one pattern's automaton. RE2JS.test() keeps up to 8 MiB for each; RE2Set, here with one pattern, takes a limit. */
const MAX_AUTOMATON_BYTES = 32_768;
/** Steps that each test costs, and how much of its cost (instructions times characters) is one further step. */
const MATCH_STEPS = 20;
const MATCH_COST_PER_STEP = 6;

/** The pattern is too large or not valid RE2 syntax, or the text is too long for it. */
class PatternError extends Error {
  override readonly name = "PatternError";
}

/** A compiled pattern, from a literal in an expression. */
export class Pattern {
  readonly #compiled: RE2Set;
  readonly #instructions: number;

  constructor(text: string) {
    if (text.length > MAX_PATTERN_LENGTH) {
      throw new PatternError(
        `expected a pattern of at most ${MAX_PATTERN_LENGTH} characters, received ${text.length}`,
      );
    }
    const repetitions = repetitionsOf(text);
    if (repetitions > MAX_PATTERN_INSTRUCTIONS) throw tooLarge(`${repetitions} in its repetitions alone`);
    this.#instructions = RE2JS.compile(text).programSize();
    if (this.#instructions > MAX_PATTERN_INSTRUCTIONS) {
      throw tooLarge(`${this.#instructions}`);
    }
    this.#compiled = new RE2Set(RE2Set.UNANCHORED, 0, MAX_AUTOMATON_BYTES);
    this.#compiled.add(text);
    this.#compiled.compile();
  }

  /** True if the pattern matches anywhere in the text. */
  test(text: string): boolean {
    const cost = this.#instructions * text.length;
    if (cost > MAX_MATCH_COST) {
      const most = Math.floor(MAX_MATCH_COST / this.#instructions);
      throw new PatternError(
        `"matches" of this pattern takes at most ${most} characters, received ${text.length}`,
      );
    }
    spend(MATCH_STEPS + Math.ceil(cost / MATCH_COST_PER_STEP));
    return this.#compiled.match(text).length > 0;
  }
}

/** The instructions that the `{n}` of a pattern need at least. Counted before compiling, because compiling takes time for each. */
function repetitionsOf(text: string): number {
  let sum = 0;
  for (const [, least = "", most] of text.matchAll(/(?<!\\x)\{(\d+)(?:,(\d*))?\}/g)) {
    sum += Number(most || least);
  }
  return sum;
}

function tooLarge(received: string): PatternError {
  return new PatternError(
    `expected a pattern of at most ${MAX_PATTERN_INSTRUCTIONS} instructions, received ${received}: ` +
      "a repetition such as {0,100} counts a hundred times",
  );
}
