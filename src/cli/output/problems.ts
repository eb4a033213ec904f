/** Mistakes as a compiler shows them: file, line, column, the line itself, a caret. */
import type { Problem } from "../../text/problem.ts";

/** A mistake in a file. */
export interface FileProblem extends Problem {
  readonly file: string;
}

/** Longest stretch of a line that is shown. */
const MAX_LINE = 160;

/** `file:3:18: at a.b: expected …`, the line of the file, and a caret below the mistake. */
export function renderProblem({ file, path, message, position }: FileProblem, text: string): string {
  const place = position ? `${file}:${position.line}:${position.column}` : file;
  const head = `${place}: ${path === "" ? "" : `at ${path}: `}${message}\n`;
  const line = position && text.split("\n", position.line)[position.line - 1]?.trimEnd();
  if (!position || !line) return head;
  const start = Math.max(0, position.column - 1 - MAX_LINE / 2);
  const shown = line.slice(start, start + MAX_LINE);
  // Tabs stay tabs, so that the caret is below what it means.
  const before = shown.slice(0, position.column - 1 - start).replace(/[^\t]/g, " ");
  return `${head}    ${shown}\n    ${before}^\n`;
}

/** `1 event`, `2 events`. */
export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
