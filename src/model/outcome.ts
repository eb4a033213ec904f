/**
 * The closed lists of outcomes and reasons. Every event ends as exactly one `Outcome`;
 * the words are label values, so they are few, fixed and generated into the metrics reference.
 */
import { errorMessage } from "./error_message.ts";

/** Why an event was filtered, and what each word means. */
export const FILTER_REASON_MEANINGS = {
  disabled: "a filter document has `enabled: false`",
  min_severity: "below a document's `minSeverity`",
  include_severity: "not in `includeSeverity`",
  exclude_severity: "in `excludeSeverity`",
  include_event_types: "not in `includeEventTypes`",
  exclude_event_types: "in `excludeEventTypes`",
  include_namespaces: "not in `includeNamespaces`",
  exclude_namespaces: "in `excludeNamespaces`",
  include_kinds: "not in `includeKinds`",
  exclude_kinds: "in `excludeKinds` or `ignoreKinds`",
  include_categories: "not in `includeCategories`",
  exclude_categories: "in `excludeCategories`",
  include_rules: "not in `includeRules`",
  exclude_rules: "in `excludeRules`",
  expression: "the document's `expression` is false",
  not_relevant: "no audit rule matches, or it resolves a finding that is not stored",
  own_request: "an audit event about a request that zen-watcher itself sends",
  api_server_starting: "an audit event about a part of the control plane that a starting API server refused",
  out_of_scope: "outside this shard's namespaces",
  budget: "the storage budget is used up, and this event would be the next to be deleted",
  rate_limit:
    "the source's rate limit did not allow the write before the request's deadline; the sender gets 503",
} as const;
export type FilterReason = keyof typeof FILTER_REASON_MEANINGS;
/** Values of the label `reason` of filtered events. */
export const FILTER_REASONS: readonly FilterReason[] = wordsOf(FILTER_REASON_MEANINGS);

/** Why an event failed, and what each word means. */
export const FAIL_REASON_MEANINGS = {
  unavailable: "not possible now: a missing right, a refusal or an outage; the sender gets 503",
  invalid: "the API server's schema refuses it",
  too_large: "the object is larger than the API server accepts",
  name_conflict: "another object has the name of this Observation",
  internal: "a defect of zen-watcher; the sender gets 503",
} as const;
export type FailReason = keyof typeof FAIL_REASON_MEANINGS;
/** Values of the label `reason` of failed events. */
export const FAIL_REASONS: readonly FailReason[] = wordsOf(FAIL_REASON_MEANINGS);

/** True if the event can never be stored, so that sending it again is of no use. */
export function isFinal(reason: FailReason): boolean {
  return reason !== "unavailable" && reason !== "internal";
}

/** How one event ended. Final: an event has exactly one. */
export type Outcome =
  | { readonly kind: "created" }
  | { readonly kind: "deduped" }
  | { readonly kind: "filtered"; readonly reason: FilterReason }
  | { readonly kind: "failed"; readonly reason: FailReason; readonly message?: string };

/** Why (a part of) a payload could not be read. Not an event: an error of its source. */
export const PAYLOAD_ERROR_MEANINGS = {
  unreadable: "not JSON, or garbled",
  wrong_shape: "JSON, but not what this source sends",
  missing_field: "an item lacks a field that every finding needs",
  invalid_value: "a field has a value that cannot be used",
  too_deep: "nested deeper than 64 levels",
  too_large:
    "more than 500,000 values in one document or item, 10,000 keys in one object, too many different keys for its length, or a text longer than 16 MiB",
  too_many_events:
    "more than 10,000 events, documents, or parts that cannot be read, in one request, or events that repeat its long texts too often",
  mapping: "a mapping's path or expression failed on this item",
} as const;
export type PayloadErrorReason = keyof typeof PAYLOAD_ERROR_MEANINGS;
/** Values of the label `reason` of payload errors. */
export const PAYLOAD_ERROR_REASONS: readonly PayloadErrorReason[] = wordsOf(PAYLOAD_ERROR_MEANINGS);

/** What could not be read in a payload, and where. `path` is like `report.vulnerabilities[3].severity`. */
export interface PayloadError {
  readonly reason: PayloadErrorReason;
  readonly path: string;
  readonly message: string;
}

function wordsOf<Word extends string>(meanings: Readonly<Record<Word, string>>): Word[] {
  return Object.keys(meanings) as Word[];
}

/** The outcome of an event whose signal aborted before it was written: why it did, and the last error of the write. */
export function notWritten({ reason }: AbortSignal, lastError?: unknown): Outcome {
  const why = reason instanceof Error && reason.name === "AbortError"
    ? "its reader stopped"
    : errorMessage(reason);
  const last = lastError === undefined || lastError === reason
    ? ""
    : `; last error: ${errorMessage(lastError)}`;
  return { kind: "failed", reason: "unavailable", message: `not written: ${why}${last}` };
}
