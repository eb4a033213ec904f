/** For those who run it. */
import type { Dashboard } from "../panels.ts";
import { BUDGET, JOB, LEADERS, OURS, quantile, RATE, rateBy, READY, seenBy } from "./queries.ts";

/** Latency, filters, webhooks, watches, resources. */
export const OPERATIONS: Dashboard = {
  uid: "zen-watcher-operations",
  title: "zen-watcher / operations",
  says: "Latency, deduplication, filters, watches, webhooks and resources",
  rows: [
    {
      title: "Event processing",
      panels: [
        {
          title: "Latency of events",
          says: "From receipt of a payload to the outcome; the objective is 99 % within 5 s",
          type: "timeseries",
          unit: "s",
          width: 8,
          queries: [0.5, 0.95, 0.99].map((q) => ({
            expr: quantile(q, "zen_watcher_event_processing_duration_seconds", "", OURS),
            legend: `p${q * 100}`,
          })),
        },
        {
          title: "Deduplication effectiveness",
          says: "Share of events that were repeats",
          type: "timeseries",
          unit: "percentunit",
          width: 8,
          queries: [{
            expr: `avg by (source) (zen_watcher_dedup_effectiveness{${OURS}})`,
            legend: "{{source}}",
          }],
        },
        {
          title: "Filter pass rate",
          says: "Share of events that passed the filters in the last 5 minutes",
          type: "timeseries",
          unit: "percentunit",
          width: 8,
          queries: [{
            expr: `avg by (source) (zen_watcher_filter_pass_rate{${OURS}})`,
            legend: "{{source}}",
          }],
        },
        {
          title: "Filtered, by reason",
          says: "Events left out by a decision",
          type: "timeseries",
          unit: "eps",
          width: 8,
          queries: [{
            expr: seenBy("reason", "zen_watcher_observations_filtered_total"),
            legend: "{{reason}}",
          }],
        },
        {
          title: "Failures, by reason",
          says: "Events that could not be stored, and attempts the API server refused",
          type: "timeseries",
          unit: "eps",
          width: 8,
          queries: [
            {
              expr: seenBy("source, reason", "zen_watcher_events_failures_total"),
              legend: "{{source}} {{reason}}",
            },
            {
              expr: seenBy("source, reason", "zen_watcher_observations_create_errors_total"),
              legend: "attempt: {{source}} {{reason}}",
            },
          ],
        },
        {
          title: "Filter decisions in shadow",
          says: "What filters in mode Shadow would drop",
          type: "timeseries",
          unit: "eps",
          width: 8,
          queries: [{
            expr: rateBy("source, reason", "zen_watcher_filter_decisions_total", `${OURS}, action="shadow"`),
            legend: "{{source}} {{reason}}",
          }],
        },
      ],
    },
    {
      title: "Webhooks and HTTP",
      panels: [
        {
          title: "Webhook answers",
          says: "Requests answered, by status",
          type: "timeseries",
          unit: "reqps",
          width: 8,
          queries: [{
            expr: seenBy("endpoint, status", "zen_watcher_webhook_requests_total", JOB),
            legend: "{{endpoint}} {{status}}",
          }],
        },
        {
          title: "Waiting and refused",
          says: "Requests waiting for their answer, and those refused before they were read",
          type: "timeseries",
          width: 8,
          queries: [
            {
              expr: `max by (endpoint) (zen_watcher_webhook_queue_usage{${JOB}})`,
              legend: "waiting: {{endpoint}}",
            },
            {
              expr: rateBy("endpoint", "zen_watcher_webhook_dropped_total", JOB),
              legend: "refused/s: {{endpoint}}",
            },
          ],
        },
        {
          title: "Latency of HTTP requests, p95",
          says: "The objective is 95 % within 100 ms",
          type: "timeseries",
          unit: "s",
          width: 8,
          queries: [{
            expr: quantile(0.95, "zen_watcher_http_request_duration_seconds", "endpoint"),
            legend: "{{endpoint}}",
          }],
        },
      ],
    },
    {
      title: "API server and watches",
      panels: [
        {
          title: "Requests on our resources",
          says: "By operation and status",
          type: "timeseries",
          unit: "reqps",
          width: 8,
          queries: [{
            expr: rateBy("operation, status", "zen_watcher_crd_operations_total", JOB),
            legend: "{{operation}} {{status}}",
          }],
        },
        {
          title: "Their latency, p95",
          says: "By operation",
          type: "timeseries",
          unit: "s",
          width: 8,
          queries: [{
            expr: quantile(0.95, "zen_watcher_crd_operation_duration_seconds", "operation"),
            legend: "{{operation}}",
          }],
        },
        {
          title: "Watches started again",
          says: "By resource and reason; `ended` is the server closing a watch in time",
          type: "timeseries",
          unit: "ops",
          width: 8,
          queries: [{
            expr: rateBy("resource, reason", "zen_watcher_watch_reconnects_total", JOB),
            legend: "{{resource}} {{reason}}",
          }],
        },
        {
          title: "Silence of watches",
          says: "Since the last frame; a bookmark comes about every minute",
          type: "timeseries",
          unit: "s",
          width: 8,
          queries: [{
            expr: `time() - max by (resource) (zen_watcher_watch_last_activity_timestamp_seconds{${JOB}})`,
            legend: "{{resource}}",
          }],
        },
        {
          title: "Watches in sync",
          says: "1 once a watch holds its full list",
          type: "table",
          width: 8,
          queries: [{ expr: `max by (resource) (zen_watcher_informer_synced{${JOB}})` }],
        },
        {
          title: "Evaluation of sources, p95",
          says: "One full reading of a source",
          type: "timeseries",
          unit: "s",
          width: 8,
          queries: [{
            expr: quantile(0.95, "zen_watcher_scrape_duration_seconds", "watcher"),
            legend: "{{watcher}}",
          }],
        },
      ],
    },
    {
      title: "Leadership, storage, resources",
      panels: [
        READY,
        LEADERS,
        BUDGET,
        {
          title: "Changes of leader",
          says: "In an hour",
          type: "stat",
          width: 4,
          height: 4,
          queries: [{ expr: `max(increase(zen_watcher_leader_transitions_total{${JOB}}[1h]))` }],
        },
        {
          title: "Sources by configuration",
          says: "Ingesters and ObservationMappings in force",
          type: "stat",
          width: 4,
          height: 4,
          queries: [{ expr: `max(zen_watcher_ingesters_active{${JOB}})` }],
        },
        {
          title: "Filters last changed",
          says: "When",
          type: "stat",
          unit: "dateTimeFromNow",
          width: 4,
          height: 4,
          queries: [{ expr: `max(zen_watcher_filter_last_reload{${JOB}}) * 1000` }],
        },
        {
          title: "Memory",
          says: "Resident, and JavaScript heap",
          type: "timeseries",
          unit: "bytes",
          width: 6,
          queries: [
            { expr: `process_resident_memory_bytes{${JOB}}`, legend: "{{instance}}" },
            { expr: `process_heap_bytes{${JOB}}`, legend: "{{instance}} heap" },
          ],
        },
        {
          title: "CPU",
          says: "Cores",
          type: "timeseries",
          width: 6,
          queries: [{ expr: `rate(process_cpu_seconds_total{${JOB}}${RATE})`, legend: "{{instance}}" }],
        },
        {
          title: "Caches and tasks",
          says: "Fill of the window cache, evictions a second, tasks in flight, events in flight",
          type: "timeseries",
          width: 6,
          queries: [
            { expr: `max(zen_watcher_dedup_cache_usage{${JOB}})`, legend: "window cache" },
            { expr: `sum(rate(zen_watcher_dedup_evictions_total{${JOB}}${RATE}))`, legend: "evictions/s" },
            { expr: `sum(zen_watcher_goroutines{${JOB}})`, legend: "tasks" },
            { expr: `sum(zen_watcher_events_in_flight{${JOB}})`, legend: "events in flight" },
          ],
        },
        {
          title: "Deletions",
          says: "Observations deleted, and how long a garbage collection takes",
          type: "timeseries",
          width: 6,
          queries: [
            {
              expr: rateBy("reason", "zen_watcher_observations_deleted_total", JOB),
              legend: "deleted/s: {{reason}}",
            },
            { expr: quantile(0.95, "zen_watcher_gc_duration_seconds"), legend: "p95 of a collection, s" },
            {
              expr: rateBy("operation, error_type", "zen_watcher_gc_errors_total", JOB),
              legend: "error: {{operation}} {{error_type}}",
            },
          ],
        },
      ],
    },
  ],
};
