/** The dimensions of a filter document, each compiled to one check. */
import type { NormalEvent } from "../model/event.ts";
import type { Category, Severity } from "../model/observation.ts";
import { FILTER_REASONS, type FilterReason } from "../model/outcome.ts";
import type { Expression } from "./expression.ts";
import type { StepBudget } from "./steps.ts";

/** The conditions of one document for one source. Lists hold canonical values; an absent key is no condition. */
export interface FilterBlock {
  readonly enabled?: boolean;
  readonly minSeverity?: Severity;
  readonly includeSeverity?: readonly Severity[];
  readonly excludeSeverity?: readonly Severity[];
  readonly includeEventTypes?: readonly string[];
  readonly excludeEventTypes?: readonly string[];
  readonly includeNamespaces?: readonly string[];
  readonly excludeNamespaces?: readonly string[];
  readonly includeKinds?: readonly string[];
  readonly excludeKinds?: readonly string[];
  readonly includeCategories?: readonly Category[];
  readonly excludeCategories?: readonly Category[];
  readonly includeRules?: readonly string[];
  readonly excludeRules?: readonly string[];
  readonly expression?: Expression;
  readonly mode?: "Enforce" | "Shadow";
}

/** The reasons for which a filter document can drop an event. */
export type DocumentReason = Exclude<
  FilterReason,
  "not_relevant" | "own_request" | "api_server_starting" | "out_of_scope" | "budget" | "rate_limit"
>;

/** The reasons for which a document with this block can drop an event: `minSeverity` is `min_severity`. */
export function reasonsOf(block: FilterBlock): readonly DocumentReason[] {
  const conditions = Object.entries(block).filter(([key, value]) =>
    key !== "mode" && value !== undefined && value !== true
  )
    .map(([key]) =>
      key === "enabled" ? "disabled" : key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    );
  return FILTER_REASONS.filter((reason): reason is DocumentReason => conditions.includes(reason));
}

/** Dimensions with an include and an exclude list. */
const LIST_DIMENSIONS = ["eventTypes", "namespaces", "kinds", "categories", "rules"] as const;
type ListDimension = typeof LIST_DIMENSIONS[number];

/** The dimensions in the order of their evaluation; the first that drops the event gives the reason. */
export const DIMENSIONS = ["enabled", "severity", ...LIST_DIMENSIONS, "expression"] as const;
export type Dimension = typeof DIMENSIONS[number];

/**
 * Ranks for `minSeverity`. UNKNOWN ranks below LOW, so that a minimum passes only events known to reach it.
 * `includeSeverity` can name UNKNOWN beside others.
 */
export const SEVERITY_RANK: Readonly<Record<Severity, number>> = {
  UNKNOWN: 0,
  LOW: 1,
  MEDIUM: 2,
  HIGH: 3,
  CRITICAL: 4,
};

/** One dimension of one document, compiled. */
export interface Check {
  readonly dimension: Dimension;
  /** The reason to drop, `undefined` to pass. Throws `ExpressionError`. */
  decide(subject: Subject, budget?: StepBudget): DocumentReason | undefined;
  describe(subject: Subject): string;
}

/** The dimensions in the reasons `include_…` and `exclude_…`. */
const WORDS = {
  eventTypes: "event_types",
  namespaces: "namespaces",
  kinds: "kinds",
  categories: "categories",
  rules: "rules",
} as const;

/** The event in the form that checks read, prepared once for all documents. A value that the event lacks is an empty list. */
export interface Subject extends Readonly<Record<ListDimension, readonly string[]>> {
  readonly event: NormalEvent;
  /** The variables of expressions; built for the first expression. */
  readonly variables: () => Readonly<Record<string, unknown>>;
}

/** Prepares an event for checks. */
export function toSubject(event: NormalEvent): Subject {
  const { namespace, kind } = event.resource ?? {};
  let variables: Readonly<Record<string, unknown>> | undefined;
  return {
    event,
    eventTypes: [event.eventType],
    namespaces: namespace ? [namespace.toLowerCase()] : [],
    kinds: kind ? [kind.toLowerCase()] : [],
    categories: [event.category],
    rules: event.rules.map((rule) => rule.toLowerCase()),
    variables: () => variables ??= filterVariables(event),
  };
}

/** The variables of a filter's expression. */
export function filterVariables(event: NormalEvent): Readonly<Record<string, unknown>> {
  return {
    source: event.source,
    category: event.category,
    severity: event.severity,
    eventType: event.eventType,
    rule: event.rule,
    resource: { ...event.resource },
    details: event.details,
  };
}

/** The checks of a block, in the order of `DIMENSIONS`; none for an absent dimension. */
export function compileChecks(block: FilterBlock): readonly Check[] {
  return [
    enabledCheck(block),
    severityCheck(block),
    ...LIST_DIMENSIONS.map((dimension) => listCheck(block, dimension)),
    expressionCheck(block),
  ].filter((check) => check !== undefined);
}

function enabledCheck(block: FilterBlock): Check | undefined {
  if (block.enabled !== false) return undefined;
  return { dimension: "enabled", decide: () => "disabled", describe: () => "enabled is false" };
}

function severityCheck(block: FilterBlock): Check | undefined {
  const include = block.includeSeverity && new Set(block.includeSeverity);
  const exclude = block.excludeSeverity && new Set(block.excludeSeverity);
  const minimum = block.minSeverity === undefined ? undefined : SEVERITY_RANK[block.minSeverity];
  if (!include && !exclude && minimum === undefined) return undefined;
  return {
    dimension: "severity",
    decide({ event: { severity } }) {
      if (include) return include.has(severity) ? undefined : "include_severity";
      if (exclude?.has(severity)) return "exclude_severity";
      return minimum !== undefined && SEVERITY_RANK[severity] < minimum ? "min_severity" : undefined;
    },
    describe({ event: { severity } }) {
      if (include) return `${severity} ${isIn(include.has(severity))} includeSeverity`;
      if (exclude?.has(severity)) return `${severity} is in excludeSeverity`;
      if (minimum === undefined) return `${severity} is not in excludeSeverity`;
      const below = SEVERITY_RANK[severity] < minimum;
      return `${severity} is ${below ? "below" : "at or above"} minSeverity ${block.minSeverity}`;
    },
  };
}

function listCheck(block: FilterBlock, dimension: ListDimension): Check | undefined {
  const name = dimension.charAt(0).toUpperCase() + dimension.slice(1) as Capitalize<ListDimension>;
  const include = block[`include${name}`];
  const exclude = block[`exclude${name}`];
  const word = WORDS[dimension];
  const list = include ?? exclude;
  if (!list) return undefined;
  const matches = compileList(list, dimension === "namespaces");
  const field = (include ? "include" : "exclude") + name;
  return {
    dimension,
    decide(subject) {
      for (const value of subject[dimension]) {
        if (matches(value)) return include ? undefined : `exclude_${word}`;
      }
      return include ? `include_${word}` : undefined;
    },
    describe(subject) {
      const values = subject[dimension];
      if (values.length === 0) return `the event has none; ${field} is set`;
      const listed = values.filter(matches);
      return `${(listed.length > 0 ? listed : values).join(", ")} ${isIn(listed.length > 0)} ${field}`;
    },
  };
}

function compileList(list: readonly string[], takesGlobs: boolean): (value: string) => boolean {
  const values = list.map((value) => value.toLowerCase());
  const isGlob = (value: string) => takesGlobs && value.includes("*");
  const known = new Set(values.filter((value) => !isGlob(value)));
  const globs = values.filter(isGlob).map(compileGlob);
  if (globs.length === 0) return (value) => known.has(value);
  return (value) => known.has(value) || globs.some((glob) => glob(value));
}

function isIn(listed: boolean): string {
  return listed ? "is in" : "is not in";
}

function expressionCheck(block: FilterBlock): Check | undefined {
  if (block.expression === undefined) return undefined;
  const { expression } = block;
  return {
    dimension: "expression",
    decide: ({ variables }, budget) => expression.evaluate(variables(), budget) ? undefined : "expression",
    describe: ({ variables }) => `is ${expression.evaluate(variables())}`,
  };
}

/** A matcher for `*` globs. It searches each piece after the one before and never backtracks. */
export function compileGlob(pattern: string): (text: string) => boolean {
  const pieces = pattern.split("*");
  const first = pieces[0] ?? "";
  const last = pieces.at(-1) ?? "";
  const middle = pieces.slice(1, -1).filter((piece) => piece !== "");
  if (pieces.length === 1) return (text) => text === pattern;
  return (text) => {
    if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) {
      return false;
    }
    const end = text.length - last.length;
    let at = first.length;
    for (const piece of middle) {
      const found = text.indexOf(piece, at);
      if (found < 0 || found + piece.length > end) return false;
      at = found + piece.length;
    }
    return at <= end;
  };
}
