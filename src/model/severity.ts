/** Every tool's words for how bad something is, and ours. */
import type { Severity } from "./observation.ts";

const WORDS: ReadonlyMap<string, Severity> = new Map([
  ...words("CRITICAL", "critical", "fatal", "emergency", "alert"),
  ...words("HIGH", "high", "error", "danger", "important"),
  ...words("MEDIUM", "medium", "moderate", "warning", "warn"),
  ...words("LOW", "low", "info", "informational", "notice", "negligible", "debug", "none"),
  ...words("UNKNOWN", "unknown"),
]);

/** The severity a tool's word means, in any case; `overrides` (lower-case words) take precedence over the general table. */
export function severityOf(
  word: string | null | undefined,
  overrides: Readonly<Record<string, Severity>> = {},
): Severity {
  if (typeof word !== "string") return "UNKNOWN";
  const key = word.trim().toLowerCase();
  if (Object.hasOwn(overrides, key)) return overrides[key] ?? "UNKNOWN";
  return WORDS.get(key) ?? "UNKNOWN";
}

function words(severity: Severity, ...names: string[]): [string, Severity][] {
  return names.map((name) => [name, severity]);
}
