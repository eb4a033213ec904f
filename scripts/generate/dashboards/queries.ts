/** Queries and panels that several dashboards have. */
import type { Panel } from "../panels.ts";

/** The scrape jobs chosen above the dashboard. */
export const JOB = 'job=~"$job"';
/** The same, and the sources chosen there. */
export const OURS = `${JOB}, source=~"$source"`;
/** As long as a rate needs. */
export const RATE = "[$__rate_interval]";

/** Per second, summed by some labels. */
export function rateBy(labels: string, series: string, selector = OURS): string {
  return `sum by (${labels}) (rate(${series}{${selector}}${RATE}))`;
}

/** The same of what there is at all: every reason and status has a series, most of them at 0 for ever. */
export function seenBy(labels: string, series: string, selector = OURS): string {
  return `${rateBy(labels, series, selector)} > 0`;
}

/** A quantile of a histogram, perhaps by a label. */
export function quantile(q: number, histogram: string, by = "", selector = JOB): string {
  const labels = ["le", ...(by === "" ? [] : [by])].join(", ");
  return `histogram_quantile(${q}, sum by (${labels}) (rate(${histogram}_bucket{${selector}}${RATE})))`;
}

/** Replicas ready. */
export const READY: Panel = {
  title: "Replicas ready",
  says: "Replicas that answer /ready with 200",
  type: "stat",
  width: 4,
  height: 4,
  queries: [{ expr: `sum(zen_watcher_readiness_status{${JOB}})` }],
};
/** Leaders. */
export const LEADERS: Panel = {
  title: "Leaders",
  says: "Exactly one, but for seconds",
  type: "stat",
  width: 4,
  height: 4,
  queries: [{ expr: `sum(zen_watcher_is_leader{${JOB}})` }],
  thresholds: [[2, "red"]],
};
/** The storage budget. */
export const BUDGET: Panel = {
  title: "Storage budget used",
  says: "The larger of number and bytes",
  type: "stat",
  unit: "percentunit",
  width: 4,
  height: 4,
  queries: [{ expr: `max(zen_watcher_storage_budget_usage{${JOB}})` }],
  thresholds: [[0.85, "orange"], [1, "red"]],
};
/** What is stored and Active. */
export const ACTIVE: Panel = {
  title: "Active by severity",
  says: "Stored Observations in phase Active",
  type: "bargauge",
  width: 12,
  queries: [{ expr: `max by (severity) (sum by (severity, instance) (zen_watcher_active_events{${JOB}}))` }],
};
/** What comes in. */
export const RECEIVED: Panel = {
  title: "Events",
  says: "Events drawn from payloads, by source",
  type: "timeseries",
  unit: "eps",
  width: 12,
  queries: [{ expr: rateBy("source", "zen_watcher_events_total"), legend: "{{source}}" }],
};
