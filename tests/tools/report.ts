/** What a tool found and what is stored of it, one by one. */
import { assertEquals } from "@std/assert";
import { print } from "../../scripts/support/script.ts";

/** Prints the four counts, and fails where something is missing, doubled, or was never found. */
export function checkReport(tool: string, found: readonly string[], stored: readonly string[]): void {
  const wanted = new Set(found);
  const there = new Set(stored);
  const missing = [...wanted].filter((key) => !there.has(key));
  const doubled = stored.filter((key, index) => stored.indexOf(key) !== index);
  const unknown = [...there].filter((key) => !wanted.has(key));
  print(
    `    ${tool}: found ${wanted.size}, stored ${there.size}, missing ${missing.length}, doubled ${doubled.length}\n`,
  );
  assertEquals({ missing, doubled, unknown }, { missing: [], doubled: [], unknown: [] }, tool);
}
