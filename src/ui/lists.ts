/** The list of findings: filtered, sorted and cut into pages. */
import { Refusal } from "../http/request.ts";
import { SEVERITIES, type Severity } from "../model/observation.ts";
import { type Criteria, criteriaOf, matches } from "./filter.ts";
import type { FindingPage } from "./protocol.ts";
import { type KeptRow, type KeptRows, toFindingRow } from "./rows.ts";

/** Counts by severity. */
export type Counts = Record<Severity, number>;

/** Most rows of an answer. */
const MAX_PAGE = 200;
/** Sorted lists that are kept for the next pages of the same list. */
const MAX_SORTED = 4;

const RANKS: Readonly<Record<Severity, number>> = { CRITICAL: 4, HIGH: 3, MEDIUM: 2, LOW: 1, UNKNOWN: 0 };
/** More than any time in seconds. */
const SECONDS = 2 ** 32;

/** How rows are put in order: by a number of each row, or by a text. */
type Sort = { readonly number: (row: KeptRow) => number } | { readonly text: (row: KeptRow) => string };

/** What a list can be sorted by; ascending. */
const SORTS: Readonly<Record<string, Sort>> = {
  severity: { number: ({ severity }) => RANKS[severity] },
  firstSeenAt: { number: ({ firstSeenMs }) => firstSeenMs },
  lastSeenAt: { number: ({ lastSeenMs }) => lastSeenMs },
  occurrences: { number: ({ occurrences }) => occurrences },
  rule: { text: ({ rule }) => rule },
  workload: { text: ({ workload, resource, namespace }) => `${workload || resource}\n${namespace}` },
  source: { text: ({ source }) => source },
  namespace: { text: ({ namespace }) => namespace },
};

/** Worst first, then what was seen last, then by name. */
export function compareWorst(one: KeptRow, other: KeptRow): number {
  return worstKey(other) - worstKey(one) || (one.name < other.name ? -1 : 1);
}

function worstKey({ severity, lastSeenMs }: KeptRow): number {
  return RANKS[severity] * SECONDS + Math.floor(lastSeenMs / 1_000);
}

interface Sorted {
  readonly rows: readonly KeptRow[];
  readonly counts: Counts;
}

/** Answers pages of lists, and keeps the last few sorted lists until the rows change. */
export class Lists {
  readonly #rows: KeptRows;
  readonly #sorted = new Map<string, Sorted>();
  #revision = -1;

  constructor(rows: KeptRows) {
    this.#rows = rows;
  }

  page(query: URLSearchParams, nowMs: number): FindingPage {
    const { offset, limit } = pageOf(query);
    const { rows, counts } = this.#sort(query, nowMs);
    return {
      total: rows.length,
      offset,
      rows: rows.slice(offset, offset + limit).map((row) => toFindingRow(row, nowMs)),
      counts,
    };
  }

  #sort(query: URLSearchParams, nowMs: number): Sorted {
    if (this.#revision !== this.#rows.revision) this.#sorted.clear();
    this.#revision = this.#rows.revision;
    const key = listKey(query);
    const known = this.#sorted.get(key);
    if (known) return known;
    const order = orderOf(query);
    const { rows, counts } = select(this.#rows, criteriaOf(query), nowMs);
    const sorted = { rows: inOrder(rows, order), counts };
    if (this.#sorted.size >= MAX_SORTED) this.#sorted.delete(this.#sorted.keys().next().value ?? "");
    this.#sorted.set(key, sorted);
    return sorted;
  }
}

/** The rows that match, in no order, and how many of each severity. */
export function select(
  rows: KeptRows,
  criteria: Criteria,
  nowMs: number,
): { rows: KeptRow[]; counts: Counts } {
  const found: KeptRow[] = [];
  const counts = noCounts();
  for (const row of rows.all()) {
    if (!matches(row, criteria, nowMs)) continue;
    found.push(row);
    counts[row.severity]++;
  }
  return { rows: found, counts };
}

/** Zero of each severity. */
export function noCounts(): Counts {
  return { CRITICAL: 0, HIGH: 0, MEDIUM: 0, LOW: 0, UNKNOWN: 0 };
}

/** All of them together. */
export function totalOf(counts: Counts): number {
  return SEVERITIES.reduce((sum, severity) => sum + counts[severity], 0);
}

/** `offset` and `limit` of a query. */
export function pageOf(query: URLSearchParams): { readonly offset: number; readonly limit: number } {
  return {
    offset: countOf(query, "offset", 0),
    limit: Math.min(MAX_PAGE, countOf(query, "limit", MAX_PAGE)),
  };
}

function countOf(query: URLSearchParams, key: string, fallback: number): number {
  const text = query.get(key) ?? "";
  if (text === "") return fallback;
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw new Refusal(400, `Cannot read "${key}": expected a number, received "${text.slice(0, 100)}"`);
}

interface Order {
  readonly sort: Sort;
  readonly isDescending: boolean;
}

function orderOf(query: URLSearchParams): Order {
  const name = query.get("sort") || "severity";
  const order = query.get("order") || (name === "severity" ? "desc" : "asc");
  const sort = Object.hasOwn(SORTS, name) ? SORTS[name] : undefined;
  if (!sort || !["asc", "desc"].includes(order)) {
    const expected = `sort to be of ${Object.keys(SORTS).join("|")} and order of asc|desc`;
    const received = `"${name.slice(0, 50)}" and "${order.slice(0, 50)}"`;
    throw new Refusal(400, `Cannot sort: expected ${expected}, received ${received}`);
  }
  return { sort, isDescending: order === "desc" };
}

/**
 * Sorts by one number for each row, several times as fast as by comparing rows: what is wanted first, then the worst, then
 * what was seen last; what is the same in all stays in the order of the rows.
 */
function inOrder(rows: readonly KeptRow[], { sort, isDescending }: Order): KeptRow[] {
  const sign = isDescending ? -1 : 1;
  const wanted = "number" in sort ? sort.number : ranksOf(rows, sort.text);
  const first = Float64Array.from(rows, (row) => sign * wanted(row));
  const then = Float64Array.from(rows, worstKey);
  return Array.from(rows.keys()).sort((one, other) =>
    first[one]! - first[other]! || then[other]! - then[one]!
  )
    .map((index) => rows[index]!);
}

/** The place of each text among all of them. */
function ranksOf(rows: readonly KeptRow[], textOf: (row: KeptRow) => string): (row: KeptRow) => number {
  const texts = new Set(rows.map(textOf));
  const ranks = new Map([...texts].sort(compareTexts).map((text, rank) => [text, rank]));
  return (row) => ranks.get(textOf(row)) ?? 0;
}

/** All of a query but the page. */
function listKey(query: URLSearchParams): string {
  const rest = new URLSearchParams(query);
  rest.delete("offset");
  rest.delete("limit");
  rest.sort();
  return rest.toString();
}

/** Compares by UTF-16 units: faster than localeCompare(), and the same in every locale. */
function compareTexts(one: string, other: string): number {
  return one === other ? 0 : one < other ? -1 : 1;
}
