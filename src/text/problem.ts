/** What is wrong with a document a user wrote, and where. */

import { cleanText } from "./clean.ts";
import { mask } from "./mask.ts";

/** Keys and indexes from the root of a document. */
export type Path = readonly (string | number)[];

/** A place in a text; both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** One mistake. */
export interface Problem {
  /** Like `sources.trivy.includeSeverity[0]`; empty for the document itself. */
  readonly path: string;
  readonly message: string;
  /** Absent where the document did not come as text. */
  readonly position?: Position;
}

/** A mistake before it is given a place. `at` says whether the key or its value is meant. */
export interface Issue {
  readonly path: Path;
  readonly message: string;
  readonly at?: "key" | "value";
  /** Where in a string value the mistake is. */
  readonly offset?: number;
}

/** One document of a text. */
export interface TextDocument {
  readonly value: unknown;
  /** Where a path stands; the nearest ancestor's place if it is not there. */
  locate(path: Path, at?: "key" | "value"): Position;
  /** An issue with its place. */
  place(issue: Issue): Problem;
}

/** Writes a path as people read it. */
export function formatPath(path: Path): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (isPlain(step)) text += text === "" ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

/** The message of a rejected document: `Cannot load filters "x": at a.b: expected … (line 1, column 2)`. */
export function formatProblem(doing: string, problem: Problem): string {
  const at = problem.path === "" ? "" : `at ${problem.path}: `;
  const where = problem.position ? ` (line ${problem.position.line}, column ${problem.position.column})` : "";
  return `Cannot ${doing}: ${at}${problem.message}${where}`;
}

/** Characters of a received string that a message shows. */
const MAX_RECEIVED = 80;

/** Writes a received value: a string masked, cut and in quotes, objects and lists by their kind. */
export function formatReceived(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "an object";
  if (typeof value === "string") {
    return JSON.stringify(value.length > MAX_RECEIVED ? `${cleanText(value, MAX_RECEIVED)}…` : mask(value));
  }
  return `the ${typeof value} ${String(value)}`;
}

/** The candidate a misspelt word was probably meant to be. */
export function didYouMean(word: string, candidates: readonly string[]): string | undefined {
  // Longer words are no misspelling of any key, and the distance costs their length.
  if (word.length > 40) return undefined;
  const lower = word.toLowerCase();
  let best: { candidate: string; distance: number } | undefined;
  for (const candidate of candidates) {
    const allowed = Math.min(
      Math.max(1, Math.floor(candidate.length / 4)),
      (best?.distance ?? Infinity) - 1,
    );
    // Their lengths alone rule most out: a document may hold unknown keys by the ten thousand.
    if (Math.abs(candidate.length - lower.length) > allowed) continue;
    const distance = editDistance(lower, candidate.toLowerCase());
    if (distance <= allowed) best = { candidate, distance };
  }
  return best?.candidate;
}

function isPlain(key: string): boolean {
  return key !== "" && !/[^A-Za-z0-9_*-]/.test(key);
}

/** Levenshtein's distance, a swap of neighbours counting as one. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, (last[j - 1] ?? 0) + cost);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1);
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
