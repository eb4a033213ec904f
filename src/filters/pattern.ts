/** Regular expressions of users: RE2 syntax, bounded when they are loaded and by the text that they are asked about. */
import { RE2JS, RE2Set } from "re2js";
import { spend } from "./steps.ts";

/** Longest pattern, in UTF-16 units, and most instructions that it may come to. */
export const MAX_PATTERN_LENGTH = 256;
export const MAX_PATTERN_INSTRUCTIONS = 200;
/** Instructions of a pattern times characters of the text: what one test may cost. */
export const MAX_MATCH_COST = 30_000;
/** Memory of one pattern's automaton. RE2JS.test() keeps up to 8 MiB for each: a set of one pattern can be told less. */
const MAX_AUTOMATON_BYTES = 32_768;
/** Fixed steps of a test, and instructions times characters in one step. */
const MATCH_STEPS = 20;
const MATCH_COST_PER_STEP = 6;

/** A pattern is too large, or not RE2's, or the text too long for it. */
export class PatternError extends Error {
  override readonly name = "PatternError";
}

/** A pattern that is written out in an expression, compiled. */
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

  /** True where it matches anywhere in the text. */
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

/** Each `{n}` takes at least so many instructions; found before compiling, which costs time for each of them. */
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
