/**
 * Series that stand at 0 before the first event: Prometheus counts what a series grows by, not that it appeared, so
 * `increase()` and `rate()` would miss the first event of each kind after every start.
 */
import { type Category, RESOLVED_REASONS, SEVERITIES } from "../model/observation.ts";
import { FAIL_REASONS, FILTER_REASONS, PAYLOAD_ERROR_REASONS } from "../model/outcome.ts";
import type { Metrics } from "./metrics.ts";

/** Statuses that a webhook answers with, but for paths that are not there. */
export const WEBHOOK_STATUSES = [200, 400, 401, 403, 405, 408, 413, 415, 422, 500, 503] as const;

/** A source, and the label values that the counters of its events can have. */
export interface SourceSeries {
  readonly source: string;
  readonly kind: "finding" | "occurrence";
  /** The categories that its events can have. */
  readonly categories: readonly Category[];
  /** Values of `reason` of failed attempts to create an Observation. */
  readonly createErrors: readonly string[];
  /** Values of `reason` of deleted Observations. */
  readonly deletes: readonly string[];
}

/** Opens the counters of a source's events; those that count already stay as they are. */
export function openSourceSeries(
  metrics: Metrics,
  { source: name, kind, categories, createErrors, deletes }: SourceSeries,
): void {
  const source = metrics.sourceLabel(name);
  for (const category of categories) {
    for (const severity of SEVERITIES) metrics.events.inc({ source, category, severity }, 0);
    metrics.eventsWritten.inc({ source, category }, 0);
  }
  if (kind === "finding") openFindingSeries(metrics, source);
  metrics.observationsCreated.inc({ source }, 0);
  metrics.observationsDeduped.inc({ source }, 0);
  for (const reason of FILTER_REASONS) metrics.observationsFiltered.inc({ source, reason }, 0);
  for (const reason of FAIL_REASONS) metrics.eventsFailures.inc({ source, reason }, 0);
  for (const reason of createErrors) metrics.observationsCreateErrors.inc({ source, reason }, 0);
  for (const reason of deletes) metrics.observationsDeleted.inc({ source, reason }, 0);
}

/** Opens the counters of reading a source. `watchErrors`: values of `error_type` of its watches; none where it has none. */
export function openReadingSeries(
  metrics: Metrics,
  { source: name, watchErrors }: { readonly source: string; readonly watchErrors: readonly string[] },
): void {
  const source = metrics.sourceLabel(name);
  for (const reason of PAYLOAD_ERROR_REASONS) metrics.payloadErrors.inc({ source, reason }, 0);
  for (const error_type of [...PAYLOAD_ERROR_REASONS, ...watchErrors]) {
    metrics.watcherErrors.inc({ watcher: source, error_type }, 0);
  }
}

/** What becomes of findings. Dashboards subtract these counters from others by source: occurrences have none. */
function openFindingSeries(metrics: Metrics, source: string): void {
  for (const severity of SEVERITIES) {
    for (const reason of RESOLVED_REASONS) metrics.findingsResolved.inc({ source, severity, reason }, 0);
    metrics.findingsReopened.inc({ source, severity }, 0);
    metrics.findingResolution.zero({ source, severity });
  }
}

/** Opens the counters of a webhook that comes into force. */
export function openEndpointSeries(metrics: Metrics, path: string): void {
  const endpoint = metrics.endpointLabel(path);
  for (const status of WEBHOOK_STATUSES) metrics.webhookRequests.inc({ endpoint, status }, 0);
  metrics.webhookDropped.inc({ endpoint }, 0);
}
