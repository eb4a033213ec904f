/** Gauges computed from the index: open findings and their age, when each source last reported, and Observations by namespace. */
import { DAY_MS } from "../model/time.ts";
import { SEVERITIES, type Severity } from "../model/observation.ts";
import { type Metrics, OTHER } from "../telemetry/metrics.ts";
import type { ObservationIndex } from "./index/mod.ts";

export interface FindingGaugesOptions {
  readonly index: Pick<ObservationIndex, "entries" | "tallies">;
  readonly now: () => number;
  readonly metrics: Pick<
    Metrics,
    | "activeFindings"
    | "findingsAccepted"
    | "oldestActiveFinding"
    | "sourceLastSeen"
    | "activeEventsByNamespace"
  >;
  /** A source as a label value: beyond a bounded number of them `other`. */
  readonly sourceLabel: (source: string) => string;
  /** The active sources, and which of them report findings. Each has series, at 0 if it has no Observations. */
  readonly sources: () => Iterable<{ readonly name: string; readonly kind: "finding" | "occurrence" }>;
  /** METRICS_BY_NAMESPACE. */
  readonly byNamespace: boolean;
}

/** Label value of Observations without a namespace: to Prometheus an empty value is no label. No namespace can have this name. */
const NO_NAMESPACE = "(none)";
/** Most namespaces with their own series. */
const MAX_NAMESPACES = 500;

/** The ages by which findings are counted. An SLA has to be one of them. */
export const AGES_DAYS = [0, 1, 3, 7, 14, 30, 60, 90, 180] as const;

/** The gauges of one source. `severities` is undefined for a source that reports no findings. */
interface SourceFindings {
  readonly severities: readonly SeverityFindings[] | undefined;
  lastSeenAt: number;
}

interface SeverityFindings {
  /** Milliseconds since the epoch; 0: none. */
  oldestAt: number;
  accepted: number;
  /** In the order of AGES_DAYS. Each finding counts at the greatest age that it has reached. */
  readonly ages: number[];
}

/** Returns the function that brings the gauges up to date. */
export function createFindingGauges(options: FindingGaugesOptions): () => void {
  const { index, metrics, sourceLabel, byNamespace } = options;
  const ownSeries = new Set<string>();

  function publishFindings(): void {
    const sources = new Map<string, SourceFindings>();
    const findingsOf = (label: string, isFinding: boolean): SourceFindings => {
      const known = sources.get(label);
      if (known && (known.severities || !isFinding)) return known;
      const severities = isFinding
        ? SEVERITIES.map(() => ({ oldestAt: 0, accepted: 0, ages: AGES_DAYS.map(() => 0) }))
        : undefined;
      const findings = { severities, lastSeenAt: known?.lastSeenAt ?? 0 };
      sources.set(label, findings);
      return findings;
    };
    for (const { name, kind } of options.sources()) findingsOf(sourceLabel(name), kind === "finding");
    const now = options.now();
    for (const entry of index.entries()) {
      const findings = findingsOf(sourceLabel(entry.source), entry.isFinding);
      findings.lastSeenAt = Math.max(findings.lastSeenAt, entry.lastSeenAt);
      if (!entry.isFinding || entry.isResolved) continue;
      const of = findings.severities?.[entry.severity];
      if (of && entry.isAccepted) of.accepted++;
      else if (of) count(of, entry.firstSeenAt, now);
    }
    metrics.findingsAccepted.reset();
    metrics.activeFindings.reset();
    metrics.oldestActiveFinding.reset();
    metrics.sourceLastSeen.reset();
    for (const [source, { severities = [], lastSeenAt }] of sources) {
      metrics.sourceLastSeen.set({ source }, lastSeenAt / 1_000);
      for (const [at, { oldestAt, accepted, ages }] of severities.entries()) {
        const severity = SEVERITIES[at] ?? "UNKNOWN";
        metrics.findingsAccepted.set({ source, severity }, accepted);
        metrics.oldestActiveFinding.set({ source, severity }, oldestAt / 1_000);
        for (const [age, days] of AGES_DAYS.entries()) {
          const older = ages.slice(age).reduce((sum, count) => sum + count, 0);
          metrics.activeFindings.set({ source, severity, older_than_days: days }, older);
        }
      }
    }
  }

  function publishNamespaces(): void {
    const active = activeByNamespace(index);
    for (const namespace of ownSeries) if (!active.has(namespace)) ownSeries.delete(namespace);
    metrics.activeEventsByNamespace.reset();
    for (const [namespace, counts] of active) {
      if (ownSeries.size < MAX_NAMESPACES) ownSeries.add(namespace);
      const label = ownSeries.has(namespace) ? namespace || NO_NAMESPACE : OTHER;
      for (const [severity, count] of counts) {
        metrics.activeEventsByNamespace.inc({ namespace: label, severity }, count);
      }
    }
  }

  return () => {
    publishFindings();
    if (byNamespace) publishNamespaces();
  };
}

function count(findings: SeverityFindings, firstSeenAt: number, now: number): void {
  findings.oldestAt = Math.min(findings.oldestAt || Infinity, firstSeenAt);
  const age = AGES_DAYS.findLastIndex((days) => now - firstSeenAt >= days * DAY_MS);
  findings.ages[Math.max(age, 0)] = (findings.ages[Math.max(age, 0)] ?? 0) + 1;
}

/** Active Observations that no exception covers, by the namespace of their resource; "" if it has none. */
function activeByNamespace(
  { tallies }: Pick<ObservationIndex, "tallies">,
): Map<string, [Severity, number][]> {
  const namespaces = new Map<string, [Severity, number][]>();
  for (const { namespaces: shares } of tallies.sources.values()) {
    for (const [namespace, { active, accepted }] of shares) {
      const counts = namespaces.get(namespace) ??
        SEVERITIES.map((severity): [Severity, number] => [severity, 0]);
      namespaces.set(
        namespace,
        counts.map(([severity, count], at) => [severity, count + (active[at] ?? 0) - (accepted[at] ?? 0)]),
      );
    }
  }
  return namespaces;
}
