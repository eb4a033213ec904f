/** The overview. */
import type { Dashboard } from "../panels.ts";
import { ACTIVE, BUDGET, JOB, LEADERS, OURS, RATE, READY, RECEIVED } from "./queries.ts";

/** What comes in, what is kept, and whether all is well. */
export const MAIN: Dashboard = {
  uid: "zen-watcher-main",
  title: "zen-watcher",
  says: "What comes in, what is kept, and whether all is well",
  rows: [
    {
      title: "At a glance",
      panels: [
        READY,
        LEADERS,
        BUDGET,
        {
          title: "Critical, active",
          says: "Stored Observations of severity CRITICAL in phase Active",
          type: "stat",
          width: 4,
          height: 4,
          queries: [{
            expr: `max(sum by (instance) (zen_watcher_active_events{${JOB}, severity="CRITICAL"}))`,
          }],
          thresholds: [[1, "red"]],
        },
        {
          title: "Events failing",
          says: "Events a second that could not be stored",
          type: "stat",
          unit: "eps",
          width: 4,
          height: 4,
          queries: [{ expr: `sum(rate(zen_watcher_events_failures_total{${JOB}}${RATE}))` }],
          thresholds: [[0.001, "red"]],
        },
        {
          title: "Version",
          says: "The running builds",
          type: "stat",
          width: 4,
          height: 4,
          queries: [{ expr: `count by (version) (zen_watcher_build_info{${JOB}})`, legend: "{{version}}" }],
        },
      ],
    },
    {
      title: "Events and what became of them",
      panels: [
        RECEIVED,
        {
          title: "Outcomes",
          says: "Every event ends as exactly one of these",
          type: "timeseries",
          unit: "eps",
          width: 12,
          queries: [
            { expr: `sum(rate(zen_watcher_observations_created_total{${OURS}}${RATE}))`, legend: "created" },
            { expr: `sum(rate(zen_watcher_observations_deduped_total{${OURS}}${RATE}))`, legend: "deduped" },
            {
              expr: `sum(rate(zen_watcher_observations_filtered_total{${OURS}}${RATE}))`,
              legend: "filtered",
            },
            { expr: `sum(rate(zen_watcher_events_failures_total{${OURS}}${RATE}))`, legend: "failed" },
          ],
        },
        ACTIVE,
        {
          title: "Sources",
          says: "1 while a source is read or served by some replica",
          type: "table",
          width: 12,
          queries: [{ expr: `max by (watcher) (zen_watcher_watcher_status{${JOB}})` }],
        },
      ],
    },
  ],
};
