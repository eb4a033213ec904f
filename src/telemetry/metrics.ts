/**
 * Every metric of the program, and the books, in which every outcome becomes metrics and a log line: no event ends unseen,
 * none is counted twice. Names and labels are part of the interface; none holds an object name, namespace or CVE.
 */
import { Counter, Gauge, Histogram, Registry } from "./prometheus.ts";
import type { Clock } from "../model/time.ts";
import type { NormalEvent } from "../model/event.ts";
import type { Category } from "../model/observation.ts";
import { isFinal, type Outcome, type PayloadError, type PayloadErrorReason } from "../model/outcome.ts";
import type { Recorder, Ticket } from "../pipeline/ports.ts";
import { logger } from "./logging.ts";

const PREFIX = "zen_watcher_";
const HOUR = 3_600;
const DAY = 24 * HOUR;
const RESOLUTION_BUCKETS = [HOUR, 6 * HOUR, ...[1, 3, 7, 14, 30, 60, 90, 180].map((days) => days * DAY)];
const LATENCY_BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Declares every metric in a registry of its own. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: PREFIX + name, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name: PREFIX + name, help, labelNames, registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
    buckets = LATENCY_BUCKETS,
  ) => new Histogram<L>({ name: PREFIX + name, help, labelNames, registers, buckets });

  return {
    registry,
    /** A source as the value of `source` and `watcher`. */
    sourceLabel: labelCap(),
    /** A webhook's path as the value of `endpoint`. */
    endpointLabel: labelCap(),
    events: counter("events_total", "Events drawn from payloads", ["source", "category", "severity"]),
    eventsWritten: counter(
      "events_written_total",
      "Events stored as Observations; grows with observations_created_total, and tells the category",
      ["source", "category"],
    ),
    eventsFailures: counter("events_failures_total", "Events that could not be stored", ["source", "reason"]),
    eventsInFlight: gauge("events_in_flight", "Events without an outcome yet", ["source"]),
    eventProcessingDuration: histogram(
      "event_processing_duration_seconds",
      "From receipt of a payload to the outcome of each of its events",
      ["source"],
    ),
    activeEvents: gauge("active_events", "Stored Observations in phase Active", ["category", "severity"]),
    activeEventsByNamespace: gauge(
      "active_events_by_namespace",
      "The same by the namespace they belong to, with METRICS_BY_NAMESPACE=true; beyond 500 namespaces `other`",
      ["namespace", "severity"],
    ),
    findingsResolved: counter("findings_resolved_total", "Findings that became Resolved", [
      "source",
      "severity",
      "reason",
    ]),
    findingsReopened: counter(
      "findings_reopened_total",
      "Findings that were reported again after they were Resolved",
      ["source", "severity"],
    ),
    findingResolution: histogram(
      "finding_resolution_seconds",
      "From when a finding was first seen, or last reopened, until it was Resolved",
      ["source", "severity"],
      RESOLUTION_BUCKETS,
    ),
    findingsAccepted: gauge("findings_accepted", "Findings that an exception covers", ["source", "severity"]),
    exceptions: gauge(
      "exceptions",
      "ObservationExceptions: `in_force`; `expiring`, those of them that end within 7 days; `rejected`",
      ["state"],
    ),
    activeFindings: gauge(
      "active_findings",
      "Active findings that were first seen more than so many days ago; `0`: all of them",
      ["source", "severity", "older_than_days"],
    ),
    oldestActiveFinding: gauge(
      "oldest_active_finding_timestamp_seconds",
      "When the oldest Active finding was first seen; 0 where there is none",
      ["source", "severity"],
    ),
    sourceLastSeen: gauge(
      "source_last_seen_timestamp_seconds",
      "Newest lastSeenAt of what is stored of a source; 0 where nothing is",
      ["source"],
    ),
    observationsCreated: counter(
      "observations_created_total",
      "Observations created; events_written_total counts the same by category",
      ["source"],
    ),
    observationsFiltered: counter("observations_filtered_total", "Events filtered", ["source", "reason"]),
    observationsDeduped: counter("observations_deduped_total", "Events that repeat a stored Observation", [
      "source",
    ]),
    observationsCreateErrors: counter(
      "observations_create_errors_total",
      "Failed attempts to create an Observation at the API server",
      ["source", "reason"],
    ),
    repeatsUncounted: counter(
      "repeats_uncounted_total",
      "Repeats, answered as `deduped`, that are not in the `occurrences` of an Observation",
      ["reason"],
    ),
    observationsDeleted: counter("observations_deleted_total", "Observations deleted", ["source", "reason"]),
    payloadErrors: counter("payload_errors_total", "Payloads or items that could not be read", [
      "source",
      "reason",
    ]),
    watcherStatus: gauge("watcher_status", "1 while a source is read or served", ["watcher"]),
    sourceState: gauge("source_state", "1 for the state in which a source is, 0 for the others", [
      "source",
      "state",
    ]),
    watcherErrors: counter("watcher_errors_total", "Errors of a source", ["watcher", "error_type"]),
    scrapeDuration: histogram("scrape_duration_seconds", "One evaluation of a source", ["watcher"]),
    watchReconnects: counter("watch_reconnects_total", "Watches started again", ["resource", "reason"]),
    watchLastActivity: gauge("watch_last_activity_timestamp_seconds", "Last frame of a watch", ["resource"]),
    informerSynced: gauge("informer_synced", "1 once a watch holds its full list", ["resource"]),
    crdOperations: counter("crd_operations_total", "Requests on our custom resources", [
      "operation",
      "status",
    ]),
    crdOperationDuration: histogram("crd_operation_duration_seconds", "Duration of such requests", [
      "operation",
    ]),
    httpRequests: counter("http_requests_total", "HTTP requests answered", ["endpoint", "method", "status"]),
    httpRequestDuration: histogram("http_request_duration_seconds", "Duration of HTTP requests", [
      "endpoint",
      "method",
    ]),
    connections: gauge("connections", "Open connections of a port", ["port"]),
    connectionsRefused: counter(
      "connections_refused_total",
      "Connections closed, or not accepted, because a port had as many as it may have",
      ["port"],
    ),
    webhookRequests: counter("webhook_requests_total", "Webhook requests answered", ["endpoint", "status"]),
    webhookDropped: counter("webhook_dropped_total", "Webhook requests refused before parsing", ["endpoint"]),
    webhookQueueUsage: gauge("webhook_queue_usage", "Webhook requests waiting for their answer", [
      "endpoint",
    ]),
    healthStatus: gauge("health_status", "1 while live"),
    readinessStatus: gauge("readiness_status", "1 while ready"),
    tasks: gauge("goroutines", "Asynchronous tasks in flight"),
    buildInfo: gauge("build_info", "Always 1; the build in labels", ["version", "deno_version"]),
    dedupCacheUsage: gauge("dedup_cache_usage", "Fill of the window cache, 0 to 1"),
    dedupEffectiveness: gauge("dedup_effectiveness", "Share of events that were repeats, 0 to 1", ["source"]),
    dedupEvictions: counter("dedup_evictions_total", "Windows evicted from the cache"),
    filterDecisions: counter("filter_decisions_total", "Decisions of filters", [
      "source",
      "action",
      "reason",
    ]),
    filterPassRate: gauge(
      "filter_pass_rate",
      "Share of events that passed the filters in the last 5 minutes",
      ["source"],
    ),
    filterReload: counter("filter_reload_total", "Filter documents read", ["result"]),
    filterLastReload: gauge("filter_last_reload", "When filters last changed, in seconds since the epoch"),
    filterErrors: counter("filter_errors_total", "Filter expressions that failed on an event"),
    gcRuns: counter("gc_runs_total", "Garbage collections"),
    gcDuration: histogram("gc_duration_seconds", "Duration of a garbage collection"),
    gcErrors: counter("gc_errors_total", "Errors of garbage collection", ["operation", "error_type"]),
    storageBudgetUsage: gauge(
      "storage_budget_usage",
      "Share of the storage budget in use: the larger of count and bytes",
    ),
    clockSkew: gauge(
      "clock_skew_seconds",
      "How far the own clock is ahead of the API server's; nothing is deleted beyond an hour",
    ),
    isLeader: gauge("is_leader", "1 on the leader"),
    leaderTransitions: counter("leader_transitions_total", "Changes of leader seen"),
    ingestersActive: gauge("ingesters_active", "Ingesters and ObservationMappings in force"),
  };
}

/** Every metric, by name. */
export type Metrics = ReturnType<typeof createMetrics>;

/** The label value for all values beyond the bound. */
export const OTHER = "other";

const MAX_VALUES = 100;

/** Keeps the first 100 different values as they are; the rest become `other`. */
export function labelCap(max: number = MAX_VALUES): (value: string) => string {
  const kept = new Set<string>();
  return (value) => {
    if (kept.has(value)) return value;
    if (kept.size >= max) return OTHER;
    kept.add(value);
    return value;
  };
}

/** One source's books: `events = created + deduped + filtered + failed + inFlight`, at every moment. */
export interface Account {
  readonly events: number;
  readonly created: number;
  readonly deduped: number;
  readonly filtered: number;
  readonly failed: number;
  readonly inFlight: number;
}

type Tally = { -readonly [K in keyof Account]: Account[K] };

/** The books of a process: they record each event and its outcome. */
export interface Books extends Recorder {
  /** Every source's account, read in one synchronous step. */
  accounts(): Readonly<Record<string, Account>>;
  /** The last event of a source that got its outcome; undefined where none did. */
  lastEvent(source: string): LastEvent | undefined;
  /** A source as a label value: beyond 100 of them `other`. */
  readonly sourceLabel: (source: string) => string;
}

/** When an event got its outcome, and how long after its receipt. */
export interface LastEvent {
  readonly atMs: number;
  readonly lagMs: number;
}

const log = logger("pipeline");

export interface BooksOptions {
  /** Sources that keep their names, however many others there are. */
  readonly known?: readonly string[];
  /** Called for each part of a payload that could not be read. */
  readonly onPayloadError?: (source: string, reason: PayloadErrorReason) => void;
}

/** Opens the books of this process. */
export function createBooks(
  metrics: Metrics,
  clock: Pick<Clock, "now">,
  { known = [], onPayloadError }: BooksOptions = {},
): Books {
  const tallies = new Map<string, Tally>();
  const lastEvents = new Map<string, LastEvent>();
  const labelOf = metrics.sourceLabel;
  for (const source of known) labelOf(source);
  const tallyOf = (label: string): Tally => {
    let tally = tallies.get(label);
    if (!tally) {
      tally = { events: 0, created: 0, deduped: 0, filtered: 0, failed: 0, inFlight: 0 };
      tallies.set(label, tally);
    }
    return tally;
  };

  function open(event: NormalEvent, correlationId: string): Ticket {
    const { source, category, severity, fingerprint, receivedAt } = event;
    const label = labelOf(source);
    const tally = tallyOf(label);
    tally.events++;
    tally.inFlight++;
    metrics.events.inc({ source: label, category, severity });
    metrics.eventsInFlight.set({ source: label }, tally.inFlight);
    let settled = false;
    return {
      settle(outcome, document) {
        if (settled) throw new Error(`Cannot settle event "${fingerprint}": it has its outcome already`);
        settled = true;
        tally.inFlight--;
        tally[outcome.kind]++;
        metrics.eventsInFlight.set({ source: label }, tally.inFlight);
        const atMs = clock.now();
        const lagMs = Math.max(0, atMs - receivedAt);
        metrics.eventProcessingDuration.observe({ source: label }, lagMs / 1_000);
        lastEvents.set(label, { atMs, lagMs });
        count(metrics, { label, category, outcome });
        if (tally.created + tally.deduped > 0) {
          metrics.dedupEffectiveness.set({ source: label }, tally.deduped / (tally.created + tally.deduped));
        }
        say(event, { outcome, correlationId, document });
      },
    };
  }

  return {
    open,
    sourceLabel: labelOf,
    payloadError(source, error, correlationId) {
      metrics.payloadErrors.inc({ source: labelOf(source), reason: error.reason });
      onPayloadError?.(source, error.reason);
      log.warn("Part of a payload could not be read", { source, ...payloadFields(error), correlationId });
    },
    lastEvent(source) {
      const label = labelOf(source);
      return label === OTHER ? undefined : lastEvents.get(label);
    },
    accounts: () => Object.fromEntries([...tallies].map(([source, tally]) => [source, { ...tally }])),
  };
}

function count(metrics: Metrics, event: { label: string; category: Category; outcome: Outcome }): void {
  const { label: source, category, outcome } = event;
  switch (outcome.kind) {
    case "created":
      metrics.observationsCreated.inc({ source });
      metrics.eventsWritten.inc({ source, category });
      return;
    case "deduped":
      metrics.observationsDeduped.inc({ source });
      return;
    case "filtered":
      metrics.observationsFiltered.inc({ source, reason: outcome.reason });
      return;
    case "failed":
      metrics.eventsFailures.inc({ source, reason: outcome.reason });
      return;
    default:
      return unreachable(outcome);
  }
}

function say(
  { source, eventType, fingerprint, identity }: NormalEvent,
  { outcome, correlationId, document }: {
    outcome: Outcome;
    correlationId: string;
    document: string | undefined;
  },
): void {
  const fields = { source, eventType, fingerprint, correlationId };
  switch (outcome.kind) {
    case "created":
      return log.debug("Event created an Observation", fields);
    case "deduped":
      return log.debug("Event repeats an Observation", fields);
    case "filtered":
      return log.debug("Event filtered", { ...fields, reason: outcome.reason, document });
    case "failed": {
      const failure = { ...fields, reason: outcome.reason, identity, error: outcome.message };
      // An event that can never be stored is lost unless somebody reads this line; the others come again.
      if (isFinal(outcome.reason)) return log.error("Event can never be stored", failure);
      return outcome.reason === "internal"
        ? log.error("Event could not be stored because of a defect", failure)
        : log.warn("Event could not be stored now", failure);
    }
    default:
      return unreachable(outcome);
  }
}

function payloadFields({ reason, path, message }: PayloadError) {
  return { reason, path, error: message };
}

function unreachable(outcome: never): never {
  throw new Error(`Cannot record outcome ${JSON.stringify(outcome)}`);
}
