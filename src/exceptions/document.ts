/** Reads ObservationExceptions as users write them. Pure. */
import type { KubeObject } from "../kube/api.ts";
import { type Acceptance, acceptanceText, resourceKey } from "../model/acceptance.ts";
import { isObject } from "../model/json.ts";
import { DAY_MS, formatTime, parseTime } from "../model/time.ts";
import { formatReceived, type Issue } from "../text/problem.ts";
import { toIssues, unknownKey } from "../text/schema_issues.ts";
import { type ExceptionReason, exceptionSpecSchema, matchShape, specShape } from "./kind.ts";

/** An exception without a mistake. Absent lists match everything. */
export interface ExceptionDocument extends Acceptance {
  /** See `acceptanceText`. */
  readonly text: string;
  readonly sources?: readonly string[];
  readonly rules?: readonly string[];
  readonly workloads?: readonly string[];
  /** `Kind/name` of each. */
  readonly resources?: readonly string[];
  readonly severities?: readonly string[];
  readonly onlyWhileNoFix: boolean;
  readonly reason: ExceptionReason;
  readonly justification: string;
  readonly ticket: string;
}

/** An exception, or why it accepts nothing. */
export type ReadException =
  | { readonly ok: true; readonly value: ExceptionDocument }
  | { readonly ok: false; readonly reason: "Invalid" | "TooLong"; readonly problems: readonly Issue[] };

const SPEC_KEYS = Object.keys(specShape);
const MATCH_KEYS = Object.keys(matchShape);
const RESOURCE_KEYS = ["kind", "name"];
/** Longest spec, as JSON. */
const MAX_SPEC_LENGTH = 65_536;

/** Reads one. `maxDays` is EXCEPTION_MAX_DAYS; an object that is not created yet counts as created at `now`. */
export function readException(
  { metadata, spec }: KubeObject,
  { maxDays, now }: { readonly maxDays: number; readonly now: number },
): ReadException {
  const invalid = (problems: readonly Issue[]): ReadException => ({ ok: false, reason: "Invalid", problems });
  if (!isObject(spec)) {
    return invalid([{ path: ["spec"], message: `expected an object, received ${formatReceived(spec)}` }]);
  }
  if (JSON.stringify(spec).length > MAX_SPEC_LENGTH) {
    return invalid([{ path: ["spec"], message: `expected at most ${MAX_SPEC_LENGTH} characters` }]);
  }
  const parsed = exceptionSpecSchema.safeParse(spec);
  const issues = parsed.success ? [] : toIssues(parsed.error, spec, []).map(withHint);
  const { match } = spec;
  if (isObject(match) && match.rules === undefined && match.resources === undefined) {
    issues.push({
      path: ["match"],
      message: "expected rules, resources, or both: it would match all findings",
    });
  }
  if (!parsed.success || issues.length > 0) {
    return invalid(issues.map((issue) => ({ ...issue, path: ["spec", ...issue.path] })));
  }
  const { namespace = "", name = "", creationTimestamp = "" } = metadata;
  const { match: { resources, ...lists }, reason, justification, ticket = "", onlyWhileNoFix = false } =
    parsed.data;
  const expiresAt = parseTime(parsed.data.expiresAt)?.ms ?? 0;
  const latest = latestExpiry(creationTimestamp, { maxDays, now });
  if (expiresAt > latest) {
    const message = `expected a time at most ${maxDays} days (EXCEPTION_MAX_DAYS) after its creation, by ${
      formatTime(latest)
    }, received ${formatReceived(parsed.data.expiresAt)}. Write a new exception when this one has expired`;
    return { ok: false, reason: "TooLong", problems: [{ path: ["spec", "expiresAt"], message }] };
  }
  const acceptance = { namespace, name, expiresAt };
  return {
    ok: true,
    value: {
      ...acceptance,
      text: acceptanceText(acceptance),
      ...Object.fromEntries(Object.entries(lists).filter(([, values]) => values !== undefined)),
      ...(resources && { resources: resources.map(resourceKey) }),
      onlyWhileNoFix,
      reason,
      justification,
      ticket,
    },
  };
}

/** The latest `expiresAt` of an exception, in milliseconds since the epoch. One that is not created yet counts as created at `now`. */
export function latestExpiry(
  creationTimestamp: string,
  { maxDays, now }: { readonly maxDays: number; readonly now: number },
): number {
  return (parseTime(creationTimestamp)?.ms ?? now) + maxDays * DAY_MS;
}

/** An unknown key with the known one of its own level that is meant. */
function withHint(issue: Issue): Issue {
  if (issue.at !== "key") return issue;
  const [first, , third] = issue.path;
  const known = issue.path.length === 1
    ? SPEC_KEYS
    : first === "match" && third === undefined
    ? MATCH_KEYS
    : RESOURCE_KEYS;
  return unknownKey(issue.path, known);
}
