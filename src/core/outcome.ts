/**
 * The closed lists of outcomes and reasons. Every event ends as exactly one `Outcome`;
 * the words are label values, so they are few, fixed and generated into the metrics reference.
 */

/** Why an event was filtered. */
export const FILTER_REASONS = [
  "disabled", // a document's `enabled: false`
  "min_severity",
  "include_severity",
  "exclude_severity",
  "include_event_types",
  "exclude_event_types",
  "include_namespaces",
  "exclude_namespaces",
  "include_kinds",
  "exclude_kinds",
  "include_categories",
  "exclude_categories",
  "include_rules",
  "exclude_rules",
  "expression",
  "not_relevant", // the audit rules name no act of interest
  "own_write", // an audit event of zen-watcher's own requests
  "out_of_scope", // outside this shard's namespaces
  "budget", // would be the next to be evicted
  "rate_limit", // not written before the request's deadline
] as const;
export type FilterReason = typeof FILTER_REASONS[number];

/** Why an event failed. */
export const FAIL_REASONS = [
  "unavailable", // time or an admin can mend it: the sender is told to come again
  "invalid", // the API server's schema refuses it, for ever
  "too_large", // the object is larger than the API server takes
  "name_conflict", // the name is taken by an object that is not this finding
  "internal", // a defect of zen-watcher
] as const;
export type FailReason = typeof FAIL_REASONS[number];

/** How one event ended. Final: an event has exactly one. */
export type Outcome =
  | { readonly kind: "created" }
  | { readonly kind: "deduped" }
  | { readonly kind: "filtered"; readonly reason: FilterReason }
  | { readonly kind: "failed"; readonly reason: FailReason; readonly message?: string };

/** Why (a part of) a payload could not be read. Not an event: an error of its source. */
export const PAYLOAD_ERROR_REASONS = [
  "unreadable", // not JSON, or garbled
  "wrong_shape", // JSON, but not what this source sends
  "missing_field", // an item lacks what makes it a finding
  "invalid_value", // a field has a value that cannot be used
  "too_deep", // nested deeper than 64
  "too_many_events", // more than 10,000 events in one request
  "mapping", // a mapping's path or expression failed on this item
] as const;
export type PayloadErrorReason = typeof PAYLOAD_ERROR_REASONS[number];

/** What could not be read in a payload, and where. `path` is like `report.vulnerabilities[3].severity`. */
export interface PayloadError {
  readonly reason: PayloadErrorReason;
  readonly path: string;
  readonly message: string;
}
