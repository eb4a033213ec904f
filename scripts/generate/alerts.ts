/** The chart's PrometheusRule: recording rules of the service level objectives, their burn-rate alerts, and symptoms. */
import { stringify } from "yaml";
import { type GeneratedFile, YAML_HEADER } from "./file.ts";

/** Replaced by the chart: the scrape job is called as the Service, the runbooks are where the values say. */
const JOB_NAME = "zen-watcher-job";
const JOB = `job="${JOB_NAME}"`;
const RUNBOOKS = "RUNBOOKS";

interface Objective {
  readonly name: string;
  /** Share of good ones. */
  readonly target: number;
  readonly runbook: string;
  readonly says: string;
  /** Share of bad ones over a window, 0 to 1. */
  errors(window: string): string;
}

const OBJECTIVES: readonly Objective[] = [
  {
    name: "availability",
    target: 0.999,
    runbook: "crash-loop",
    says: "No replica answers for too much of the time",
    errors: (window) => `1 - avg_over_time(zen_watcher:up:max{${JOB}}[${window}])`,
  },
  {
    name: "event_latency",
    target: 0.99,
    runbook: "high-event-rate",
    says: "Too many events take longer than 5 s from receipt to outcome",
    errors: (window) => slower("zen_watcher_event_processing_duration_seconds", "5", window),
  },
  {
    name: "http_latency",
    target: 0.95,
    runbook: "high-event-rate",
    says: "Too many HTTP requests take longer than 100 ms",
    errors: (window) => slower("zen_watcher_http_request_duration_seconds", "0.1", window),
  },
];

/** Several windows and burn rates: fast burns page, slow ones make a ticket, and both end soon after their cause. */
const BURNS = [
  { long: "1h", short: "5m", rate: 14.4, severity: "critical", holdFor: "2m" },
  { long: "6h", short: "30m", rate: 6, severity: "critical", holdFor: "15m" },
  { long: "1d", short: "2h", rate: 3, severity: "warning", holdFor: "1h" },
  { long: "3d", short: "6h", rate: 1, severity: "warning", holdFor: "3h" },
] as const;

const WINDOWS = [...new Set(BURNS.flatMap(({ long, short }) => [short, long]))];

interface Symptom {
  readonly alert: string;
  readonly expr: string;
  readonly holdFor: string;
  readonly severity: "critical" | "warning" | "info";
  readonly runbook: string;
  readonly summary: string;
  readonly description: string;
}

const SYMPTOMS: readonly Symptom[] = [
  {
    alert: "ZenWatcherDown",
    expr: `absent(up{${JOB}}) or max(up{${JOB}}) == 0`,
    holdFor: "3m",
    severity: "critical",
    runbook: "crash-loop",
    summary: "zen-watcher is down",
    description: "No replica can be scraped. Senders of webhooks are refused; Falco does not send again.",
  },
  {
    alert: "ZenWatcherNotReady",
    expr: `min by (pod) (zen_watcher_readiness_status{${JOB}}) == 0`,
    holdFor: "5m",
    severity: "warning",
    runbook: "crash-loop",
    summary: "A replica is not ready",
    description: "Replica {{ $labels.pod }} has not been ready for 5 minutes.",
  },
  {
    alert: "ZenWatcherRestarting",
    expr: `changes(process_start_time_seconds{${JOB}}[30m]) > 3`,
    holdFor: "0m",
    severity: "warning",
    runbook: "crash-loop",
    summary: "A replica restarts again and again",
    description: "Replica {{ $labels.pod }} restarted {{ $value }} times in half an hour.",
  },
  {
    alert: "ZenWatcherNoLeader",
    expr: `sum(zen_watcher_is_leader{${JOB}}) != 1`,
    holdFor: "2m",
    severity: "critical",
    runbook: "leader-flapping",
    summary: "There is not exactly one leader",
    description: "{{ $value }} replicas lead. Without a leader no report is read and nothing is tidied up.",
  },
  {
    alert: "ZenWatcherLeaderFlapping",
    expr: `max(increase(zen_watcher_leader_transitions_total{${JOB}}[30m])) > 4`,
    holdFor: "0m",
    severity: "warning",
    runbook: "leader-flapping",
    summary: "The leader changes often",
    description: "The leader changed {{ $value | humanize }} times in half an hour.",
  },
  {
    alert: "ZenWatcherEventsFailing",
    expr: `sum by (source, reason) (rate(zen_watcher_events_failures_total{${JOB}}[5m])) > 0`,
    holdFor: "10m",
    severity: "critical",
    runbook: "nothing-created",
    summary: "Events cannot be stored",
    description: "Events of {{ $labels.source }} fail: {{ $labels.reason }}.",
  },
  {
    alert: "ZenWatcherCreatesRefused",
    expr: `sum by (source, reason) (rate(zen_watcher_observations_create_errors_total{${JOB}}[5m])) > 0`,
    holdFor: "15m",
    severity: "warning",
    runbook: "nothing-created",
    summary: "The API server refuses Observations",
    description:
      "Creating Observations of {{ $labels.source }} is refused again and again: {{ $labels.reason }}.",
  },
  {
    alert: "ZenWatcherNothingReceived",
    // A new installation has not been silent for six hours.
    expr:
      `sum(increase(zen_watcher_events_total{${JOB}}[6h])) == 0 and sum(zen_watcher_events_total{${JOB}} offset 6h) >= 0`,
    holdFor: "30m",
    severity: "info",
    runbook: "nothing-created",
    summary: "No event for six hours",
    description: "No source has reported anything for six hours: is a sender or a tool gone?",
  },
  {
    alert: "ZenWatcherSourceForbidden",
    expr:
      `sum by (watcher) (increase(zen_watcher_watcher_errors_total{${JOB}, error_type=~"forbidden|unauthorized"}[15m])) > 0`,
    holdFor: "15m",
    severity: "warning",
    runbook: "nothing-created",
    summary: "A source may not be read",
    description: "zen-watcher lacks the rights to read {{ $labels.watcher }}.",
  },
  {
    alert: "ZenWatcherPayloadsUnreadable",
    expr: `sum by (source, reason) (rate(zen_watcher_payload_errors_total{${JOB}}[15m])) > 0`,
    holdFor: "30m",
    severity: "warning",
    runbook: "nothing-created",
    summary: "A tool sends what cannot be read",
    description: "Payloads of {{ $labels.source }} cannot be read: {{ $labels.reason }}.",
  },
  {
    alert: "ZenWatcherFiltersRejected",
    expr: `sum by (result) (increase(zen_watcher_filter_reload_total{${JOB}, result!="loaded"}[15m])) > 0`,
    holdFor: "0m",
    severity: "warning",
    runbook: "nothing-created",
    summary: "A filter document was refused",
    description:
      "The last good filters stay in force ({{ $labels.result }}); /tools/status names the mistake.",
  },
  {
    alert: "ZenWatcherHighEventRate",
    expr: `sum by (source) (rate(zen_watcher_events_total{${JOB}}[5m])) > 100`,
    holdFor: "10m",
    severity: "warning",
    runbook: "high-event-rate",
    summary: "A source reports very much",
    description: "{{ $labels.source }} reports {{ $value | humanize }} events a second.",
  },
  {
    alert: "ZenWatcherWebhooksRefused",
    expr: `sum by (endpoint) (rate(zen_watcher_webhook_dropped_total{${JOB}}[5m])) > 0`,
    holdFor: "10m",
    severity: "warning",
    runbook: "high-event-rate",
    summary: "Webhook requests are refused",
    description: "Requests to {{ $labels.endpoint }} are refused before they are read: limit, token or size.",
  },
  {
    alert: "ZenWatcherWebhooksWaiting",
    expr: `max by (endpoint) (zen_watcher_webhook_queue_usage{${JOB}}) > 80`,
    holdFor: "5m",
    severity: "warning",
    runbook: "high-event-rate",
    summary: "Webhook requests wait",
    description:
      "{{ $value }} requests to {{ $labels.endpoint }} wait; beyond 100 (audit: 200) they are refused.",
  },
  {
    alert: "ZenWatcherBudgetNear",
    expr: `max(zen_watcher_storage_budget_usage{${JOB}}) > 0.85`,
    holdFor: "15m",
    severity: "warning",
    runbook: "budget-reached",
    summary: "The storage budget is nearly used up",
    description: "{{ $value | humanizePercentage }} of the storage budget is in use.",
  },
  {
    alert: "ZenWatcherBudgetReached",
    expr: `sum(rate(zen_watcher_observations_filtered_total{${JOB}, reason="budget"}[5m])) > 0`,
    holdFor: "5m",
    severity: "critical",
    runbook: "budget-reached",
    summary: "The storage budget is used up",
    description: "Events are left out because the storage budget is used up.",
  },
  {
    alert: "ZenWatcherHighMemory",
    expr: `max by (pod) (process_resident_memory_bytes{${JOB}}) > 400 * 1024 * 1024`,
    holdFor: "10m",
    severity: "warning",
    runbook: "high-memory",
    summary: "A replica uses much memory",
    description: "Replica {{ $labels.pod }} uses {{ $value | humanize1024 }}B.",
  },
  {
    alert: "ZenWatcherCollectionFailing",
    expr: `sum by (operation, error_type) (increase(zen_watcher_gc_errors_total{${JOB}}[3h])) > 0`,
    holdFor: "1h",
    severity: "warning",
    runbook: "budget-reached",
    summary: "Garbage collection fails",
    description: "Expired Observations are not deleted: {{ $labels.operation }}, {{ $labels.error_type }}.",
  },
];

export function generateAlerts(): GeneratedFile[] {
  const groups = [
    { name: "zen-watcher.objectives", interval: "30s", rules: recordings() },
    { name: "zen-watcher.burn-rates", rules: OBJECTIVES.flatMap(burnRates) },
    { name: "zen-watcher.symptoms", rules: SYMPTOMS.map(symptom) },
  ];
  return [{
    path: "helm/zen-watcher/files/rules.yaml",
    text: YAML_HEADER + stringify({ groups }, { lineWidth: 0, aliasDuplicateObjects: false }),
  }];
}

/** Recorded under their job: each release (a shard) has rules of its own, and they must not write one series. */
function recordings(): object[] {
  const labels = { job: JOB_NAME };
  return [
    { record: "zen_watcher:up:max", expr: `max(up{${JOB}})`, labels },
    ...OBJECTIVES.flatMap((objective) =>
      WINDOWS.map((window) => {
        return { record: errorRatio(objective, window), expr: objective.errors(window), labels };
      })
    ),
  ];
}

function burnRates(objective: Objective): object[] {
  const budget = Number((1 - objective.target).toFixed(6));
  return BURNS.map(({ long, short, rate, severity, holdFor }) => {
    const over = (window: string) => `${errorRatio(objective, window)}{${JOB}} > ${rate} * ${budget}`;
    return alert({
      alert: `ZenWatcherBurn${camel(objective.name)}${long}`,
      expr: `${over(long)} and ${over(short)}`,
      holdFor,
      severity,
      runbook: objective.runbook,
      summary: objective.says,
      description: `The error budget of ${
        objective.target * 100
      } % burns ${rate} times too fast: {{ $value | humanizePercentage }} over ${long}.`,
    });
  });
}

function symptom(each: Symptom): object {
  return alert(each);
}

function alert({ alert, expr, holdFor, severity, runbook, summary, description }: Symptom): object {
  return {
    alert,
    expr,
    for: holdFor,
    labels: { severity, job: JOB_NAME },
    annotations: { summary, description, runbook_url: `${RUNBOOKS}/${runbook}.md` },
  };
}

function slower(histogram: string, seconds: string, window: string): string {
  const rate = (series: string) => `sum(rate(${series}[${window}]))`;
  return `1 - ${rate(`${histogram}_bucket{${JOB}, le="${seconds}"}`)} / ${
    rate(`${histogram}_count{${JOB}}`)
  }`;
}

function errorRatio({ name }: Objective, window: string): string {
  return `zen_watcher:${name}:error_ratio_${window}`;
}

function camel(words: string): string {
  return words.split("_").map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}
