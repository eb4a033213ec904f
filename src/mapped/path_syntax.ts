/** The syntax of paths in the mapping language. */

const MAX_KEYS = 16;

/** A value or forEach cannot be compiled. */
export class PathError extends Error {
  override readonly name = "PathError";
}

/** One step of a path. */
export type PathStep = { readonly kind: "keys"; readonly joins: readonly Joins[] } | {
  readonly kind: "index";
  readonly index: number;
} | {
  readonly kind: "each";
};
/** For each position of a run of keys: the dotted joins that start there, longest first. */
export type Joins = readonly { readonly key: string; readonly next: number }[];

/** Parses a path such as `.a["b.c"][0].d[*]` into steps; neighbouring keys make one run, so that a literal dotted key can be tried first. */
export function parseSteps(text: string, whole: string): readonly PathStep[] {
  if (text === "" || text === ".") return [];
  const steps: PathStep[] = [];
  let run: string[] = [];
  let keys = 0;
  const flush = () => {
    if (run.length > 0) steps.push({ kind: "keys", joins: joinsOf(run) });
    run = [];
  };
  let rest = text;
  while (rest !== "") {
    const token = takeToken(rest, whole);
    rest = rest.slice(token.length);
    if (++keys > MAX_KEYS) {
      throw new PathError(`expected at most ${MAX_KEYS} steps in ${JSON.stringify(whole)}`);
    }
    if (token.kind === "bare") {
      run.push(token.key);
      continue;
    }
    flush();
    if (token.kind === "index") steps.push({ kind: "index", index: token.index });
    else if (token.kind === "quoted") steps.push({ kind: "keys", joins: joinsOf([token.key]) });
    else steps.push({ kind: "each" });
  }
  flush();
  return steps;
}

type Token =
  | { readonly kind: "bare"; readonly key: string; readonly length: number }
  | { readonly kind: "quoted"; readonly key: string; readonly length: number }
  | { readonly kind: "index"; readonly index: number; readonly length: number }
  | { readonly kind: "each"; readonly length: number };

function takeToken(rest: string, whole: string): Token {
  if (rest.startsWith("[*]")) return { kind: "each", length: 3 };
  if (rest.startsWith(".[")) return withLength(takeToken(rest.slice(1), whole), 1);
  if (rest.startsWith("[")) {
    const close = closingBracket(rest);
    const inside = rest.slice(1, close);
    const key = unquoted(inside);
    if (close > 0 && key !== undefined) return { kind: "quoted", key, length: close + 1 };
    if (close > 0 && inside !== "" && inside.length < 6 && isDigits(inside)) {
      return { kind: "index", index: Number(inside), length: close + 1 };
    }
    throw new PathError(
      `expected [0], ["key"] or [*] at ${JSON.stringify(rest)} in ${JSON.stringify(whole)}`,
    );
  }
  let end = 1;
  while (end < rest.length && !".[]\"' |?".includes(rest.charAt(end))) end++;
  if (!rest.startsWith(".") || end === 1) {
    throw new PathError(`expected .key or [0] at ${JSON.stringify(rest)} in ${JSON.stringify(whole)}`);
  }
  return { kind: "bare", key: rest.slice(1, end), length: end };
}

function withLength(token: Token, more: number): Token {
  return { ...token, length: token.length + more };
}

/** The bracket that closes the first one; brackets inside quotes are text. */
function closingBracket(rest: string): number {
  const quote = rest.charAt(1);
  if (quote !== '"' && quote !== "'") return rest.indexOf("]");
  const end = rest.indexOf(quote, 2);
  return end > 0 && rest.charAt(end + 1) === "]" ? end + 1 : -1;
}

function joinsOf(run: readonly string[]): readonly Joins[] {
  return run.map((_, start) => {
    const joins: { key: string; next: number }[] = [];
    for (let end = run.length; end > start; end--) {
      joins.push({ key: run.slice(start, end).join("."), next: end });
    }
    return joins;
  });
}

/** Splits at a separator outside of quotes and brackets, and trims the parts. */
export function split(text: string, separator: string): string[] {
  const parts: string[] = [];
  let quote = "";
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    const char = text.charAt(index);
    if (quote !== "") {
      if (char === quote) quote = "";
    } else if (char === '"' || char === "'") quote = char;
    else if (char === separator) {
      parts.push(text.slice(start, index).trim());
      start = index + 1;
    }
  }
  if (quote !== "") throw new PathError(`expected a closing ${quote} in ${JSON.stringify(text)}`);
  return [...parts, text.slice(start).trim()];
}

/** The text inside of quotes, or undefined where there are none. */
export function unquoted(text: string): string | undefined {
  const quote = text.charAt(0);
  if (text.length < 2 || (quote !== '"' && quote !== "'") || !text.endsWith(quote)) return undefined;
  return text.slice(1, -1);
}

function isDigits(text: string): boolean {
  for (const char of text) if (char < "0" || char > "9") return false;
  return true;
}
