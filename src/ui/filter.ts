/** The filter of a list: from the page's query to a check of each row. */
import { Refusal } from "../http/request.ts";
import { type Phase, PHASES } from "../model/observation.ts";
import { DAY_MS, parseTime } from "../model/time.ts";
import { resourceNameOf } from "../read/row.ts";
import type { FindingFilter } from "./protocol.ts";
import { type KeptRow, phaseOf } from "./rows.ts";

/** Longest text of a key, and most words of `text`. */
const MAX_CHARS = 4_096;
const MAX_WORDS = 20;

/** Keys that compare whole values, with the value of a row. */
const VALUES = {
  severity: (row) => row.severity,
  source: (row) => row.source,
  namespace: (row) => row.namespace,
  workload: (row) => row.workload,
  rule: (row) => row.rule,
  image: (row) => row.image,
  category: (row) => row.category,
  kind: (row) => row.kind,
  resource: (row) => resourceNameOf(row),
  type: (row) => row.type,
  exception: (row) => row.exception,
} satisfies Partial<Record<keyof FindingFilter, (row: KeptRow) => string>>;
type ValueKey = keyof typeof VALUES;
const VALUE_KEYS = Object.keys(VALUES) as ValueKey[];

/** Keys whose values can be counted beside the others. */
export type FilterKey = ValueKey | "phase";

/** A filter that was read. */
export interface Criteria {
  readonly values: ReadonlyMap<ValueKey, ReadonlySet<string>>;
  /** undefined: all. */
  readonly phases: ReadonlySet<Phase> | undefined;
  /** Each must be found in a text of the row. */
  readonly words: readonly RegExp[];
  readonly firstSeen: Span;
  readonly resolved: Span;
  /** Milliseconds since the epoch; -Infinity: no matter when, or whether at all. */
  readonly reopenedFromMs: number;
  readonly acceptedFromMs: number;
}

/** Milliseconds since the epoch; `toMs` is not in it. */
interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Reads the keys of a filter; others are left alone. Throws a `Refusal` that names the key. */
export function criteriaOf(query: URLSearchParams): Criteria {
  const values = new Map<ValueKey, ReadonlySet<string>>();
  for (const key of VALUE_KEYS) {
    const wanted = valuesOfKey(query, key);
    if (wanted.length > 0) values.set(key, new Set(wanted));
  }
  const words = textOf(query, "text").split(/\s+/).filter((word) => word !== "");
  if (words.length > MAX_WORDS) throw refused("text", `at most ${MAX_WORDS} words`, `${words.length} words`);
  return {
    values,
    phases: phasesOf(query),
    // By expressions, because a copy of each text in lower case would be most of the garbage of a search.
    words: words.map((word) => new RegExp(word.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"), "i")),
    firstSeen: { fromMs: startOf(query, "since"), toMs: endOf(query, "until") },
    resolved: { fromMs: startOf(query, "resolvedSince"), toMs: endOf(query, "resolvedUntil") },
    reopenedFromMs: startOf(query, "reopenedSince"),
    acceptedFromMs: startOf(query, "acceptedSince"),
  };
}

/** Criteria for rows of any phase. */
export function inAnyPhase(criteria: Criteria): Criteria {
  return { ...criteria, phases: undefined };
}

/** Checks a row. */
export function matches(row: KeptRow, criteria: Criteria, nowMs: number): boolean {
  if (criteria.phases && !criteria.phases.has(phaseOf(row, nowMs))) return false;
  for (const [key, wanted] of criteria.values) if (!wanted.has(VALUES[key](row))) return false;
  return matchesRest(row, criteria);
}

/**
 * The one dimension that keeps a row from matching; "none" where it matches, undefined where more than that does not fit.
 */
export function failingDimension(
  row: KeptRow,
  criteria: Criteria,
  nowMs: number,
): FilterKey | "none" | undefined {
  let failing: FilterKey | "none" = "none";
  if (criteria.phases && !criteria.phases.has(phaseOf(row, nowMs))) failing = "phase";
  for (const [key, wanted] of criteria.values) {
    if (wanted.has(VALUES[key](row))) continue;
    if (failing !== "none") return undefined;
    failing = key;
  }
  return matchesRest(row, criteria) ? failing : undefined;
}

/** Writes values of a key: a comma in a value is written `\,`. */
export function joinValues(values: readonly string[]): string {
  return values.map((value) => value.replace(/[\\,]/g, "\\$&")).join(",");
}

/** The values of a key, which commas separate. */
export function valuesOfKey(query: URLSearchParams, key: keyof FindingFilter): string[] {
  const values: string[] = [];
  for (const [part] of textOf(query, key).matchAll(/(?:\\.|[^\\,])+/gs)) {
    const value = part.replace(/\\(.)/gs, "$1");
    if (value !== "") values.push(value);
  }
  return values;
}

function matchesRest(row: KeptRow, criteria: Criteria): boolean {
  const { firstSeen, resolved, reopenedFromMs, acceptedFromMs, words } = criteria;
  if (row.reopenedMs < reopenedFromMs || row.acceptedMs < acceptedFromMs) return false;
  if (row.firstSeenMs < firstSeen.fromMs || row.firstSeenMs >= firstSeen.toMs) return false;
  if (resolved.fromMs !== -Infinity || resolved.toMs !== Infinity) {
    if (row.phase !== "Resolved" || row.resolvedMs < resolved.fromMs || row.resolvedMs >= resolved.toMs) {
      return false;
    }
  }
  return words.length === 0 || hasWords(row, words);
}

function hasWords({ message, rule, resource, name }: KeptRow, words: readonly RegExp[]): boolean {
  return words.every((word) =>
    word.test(message) || word.test(rule) || word.test(resource) || word.test(name)
  );
}

/** The phases of a query; undefined for all. */
export function phasesOf(query: URLSearchParams): ReadonlySet<Phase> | undefined {
  const wanted = valuesOfKey(query, "phase");
  if (wanted.length === 0) return new Set<Phase>(["Active"]);
  if (wanted.includes("all")) return undefined;
  return new Set(wanted.map((word) => {
    const phase = PHASES.find((known) => known === word);
    if (!phase) throw refused("phase", `${PHASES.join("|")} or all`, word);
    return phase;
  }));
}

function startOf(query: URLSearchParams, key: keyof FindingFilter): number {
  return timeOf(query, key)?.ms ?? -Infinity;
}

/** A day ends with itself; a time is itself the end. */
function endOf(query: URLSearchParams, key: keyof FindingFilter): number {
  const time = timeOf(query, key);
  if (!time) return Infinity;
  return time.isDay ? time.ms + DAY_MS : time.ms;
}

function timeOf(
  query: URLSearchParams,
  key: keyof FindingFilter,
): { ms: number; isDay: boolean } | undefined {
  const text = textOf(query, key);
  // A length of time, as groups take it, is no day.
  if (text === "" || /^\d{1,6}[smhdw]$/.test(text)) return undefined;
  const isDay = /^\d{4}-\d\d-\d\d$/.test(text);
  const time = parseTime(isDay ? `${text}T00:00:00Z` : text);
  if (!time) throw refused(key, "a day (2026-01-31) or a time (RFC 3339)", text);
  return { ms: time.ms, isDay };
}

function textOf(query: URLSearchParams, key: string): string {
  const text = query.get(key) ?? "";
  if (text.length > MAX_CHARS) throw refused(key, `at most ${MAX_CHARS} characters`, `${text.length}`);
  return text;
}

function refused(key: string, expected: string, received: string): Refusal {
  return new Refusal(
    400,
    `Cannot filter by "${key}": expected ${expected}, received "${received.slice(0, 100)}"`,
  );
}
