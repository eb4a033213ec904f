/** For those who read what was found. */
import type { Dashboard } from "../panels.ts";
import { ACTIVE, JOB, OURS, rateBy, seenBy } from "./queries.ts";

/** What the tools found. */
export const SECURITY: Dashboard = {
  uid: "zen-watcher-security",
  title: "zen-watcher / security",
  says: "What the tools found",
  rows: [
    {
      title: "Now",
      panels: [
        ACTIVE,
        {
          title: "Active by category and severity",
          says: "Stored Observations in phase Active",
          type: "table",
          width: 12,
          queries: [{
            expr: `max by (category, severity) (zen_watcher_active_events{${JOB}}) > 0`,
          }],
        },
      ],
    },
    {
      title: "Over time",
      panels: [
        {
          title: "New findings and acts, by severity",
          says: "Events drawn, before filters and deduplication",
          type: "timeseries",
          unit: "eps",
          width: 12,
          queries: [{ expr: rateBy("severity", "zen_watcher_events_total"), legend: "{{severity}}" }],
        },
        {
          title: "Stored, by source and category",
          says: "Events stored as Observations",
          type: "timeseries",
          unit: "eps",
          width: 12,
          queries: [{
            expr: rateBy("source, category", "zen_watcher_events_written_total"),
            legend: "{{source}} {{category}}",
          }],
        },
        {
          title: "Left out, by source and reason",
          says: "Not stored by decision: filters, relevance, budget",
          type: "timeseries",
          unit: "eps",
          width: 12,
          queries: [{
            expr: seenBy("source, reason", "zen_watcher_observations_filtered_total"),
            legend: "{{source}} {{reason}}",
          }],
        },
        {
          title: "Active over time, by severity",
          says: "Stored Observations in phase Active",
          type: "timeseries",
          width: 12,
          queries: [{
            expr: `max by (severity) (sum by (severity, instance) (zen_watcher_active_events{${JOB}}))`,
            legend: "{{severity}}",
          }],
        },
      ],
    },
  ],
};

/** The critical feed. */
export const CRITICAL: Dashboard = {
  uid: "zen-watcher-critical",
  title: "zen-watcher / critical feed",
  says:
    "CRITICAL and HIGH, as they come; the Observations themselves: kubectl get obs -A -l zen.kube-zen.io/severity=CRITICAL",
  rows: [
    {
      title: "Critical",
      panels: [
        {
          title: "Active, CRITICAL and HIGH",
          says: "Stored Observations in phase Active",
          type: "timeseries",
          width: 12,
          queries: [{
            expr:
              `max by (category, severity) (zen_watcher_active_events{${JOB}, severity=~"CRITICAL|HIGH"})`,
            legend: "{{severity}} {{category}}",
          }],
        },
        {
          title: "CRITICAL events in the last hour, by source",
          says: "Drawn from payloads, repeats included",
          type: "bargauge",
          width: 12,
          queries: [{
            expr: `sum by (source) (increase(zen_watcher_events_total{${OURS}, severity="CRITICAL"}[1h]))`,
          }],
        },
        {
          title: "CRITICAL and HIGH events",
          says: "Drawn from payloads, by source",
          type: "timeseries",
          unit: "eps",
          width: 24,
          queries: [{
            expr: rateBy(
              "source, severity",
              "zen_watcher_events_total",
              `${OURS}, severity=~"CRITICAL|HIGH"`,
            ),
            legend: "{{severity}} {{source}}",
          }],
        },
        {
          title: "Last day, by source, category and severity",
          says: "Events drawn from payloads",
          type: "table",
          width: 24,
          queries: [{
            expr:
              `sort_desc(sum by (source, category, severity) (increase(zen_watcher_events_total{${OURS}, severity=~"CRITICAL|HIGH"}[1d])) > 0)`,
          }],
        },
      ],
    },
  ],
};
