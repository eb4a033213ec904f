/**
 * Which documents (reports, ConfigMaps) report which findings now, during one leader's term. Keeps only fingerprints, no
 * documents: a finding costs 8 bytes in each document that reports it and about 55 in its source.
 */
import type { ResolvedReason } from "../model/observation.ts";
import { type ReportedFindings, type ReportScope, viewId, type ViewKey } from "../model/view.ts";
import { fingerprintKey } from "./index/projection.ts";

/**
 * Whether a finding is reported: `reported`; `expired`, its tool deleted the old report at that time, to recreate it;
 * `ended`, a readable view dropped it at that time; `unseen`, complete views
 * of this term never showed it; `absent`, its resource is not served; `unknown`, its source cannot tell.
 */
export type Reporting =
  | { readonly kind: "reported" | "unseen" | "absent" | "unknown" }
  | Ended & { readonly kind: "ended" }
  | { readonly kind: "expired"; readonly atSeconds: number };

/** When and how a finding lost its last reporter. */
interface Ended {
  readonly atSeconds: number;
  readonly reason: Exclude<ResolvedReason, "SaidResolved">;
}

/** The fields of a finding that find its reporters. */
export interface Reported {
  /** The source whose views would report it. */
  readonly source: string;
  readonly eventType: string;
  /** The namespace of the affected resource; "" where there is none. */
  readonly belongsTo: string;
  /** In hex, its first 64 bits at least. */
  readonly fingerprint: string;
}

export interface ReportersOptions {
  /** Seconds on a monotonic clock. */
  readonly seconds: () => number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The event types a view may report; undefined: any. */
  readonly eventTypesOf?: (view: ViewKey) => readonly string[] | undefined;
  /** False for the key of a fingerprint of which nothing is stored: who reports it needs not be known. By default always true. */
  readonly isStored?: (key: number) => boolean;
}

/** Keys of fingerprints (see projection.ts). */
type Keys = Float64Array;

interface Document {
  readonly fingerprints: Keys;
  /** The list it was last seen in. */
  readonly round: number;
  /** True if it was not read in full in this term: it may report findings that `fingerprints` lacks. */
  readonly blind: boolean;
  readonly scope: ReportScope | undefined;
}

/** A document that was deleted. */
interface Removed {
  readonly document: Document;
  readonly atSeconds: number;
}

interface View {
  readonly key: ViewKey;
  state: "pending" | "complete" | "absent" | "unreadable";
  round: number;
  readonly documents: Map<string, Document>;
  /** Keys of documents that are blind. */
  readonly blind: Set<string>;
  /** Documents deleted recently. When a CRD is deleted, the API server deletes its objects before it stops serving the resource. */
  readonly removed: Map<string, Removed>;
  /** How many fingerprints those have. */
  removedFingerprints: number;
  /** Documents that expired and that the tool has not created again, by workload and part. */
  readonly expired: Map<string, Set<Removed>>;
  /** How many documents that were read in full report on a part of a workload. */
  readonly parts: Map<string, number>;
}

interface Source {
  /** By their ids. */
  readonly views: Map<string, View>;
  /** How many documents report each finding. */
  readonly reporters: Map<number, number>;
  /** How many documents of resources that are no longer served reported each finding. */
  readonly absent: Map<number, number>;
  /** Findings that lost their last reporter. */
  readonly ended: Map<number, Ended>;
  /** The documents, deleted since, that reported findings when they expired. */
  readonly expired: Map<number, Removed>;
  /** How many reports without a TTL a workload has. */
  readonly lasting: Map<string, number>;
  /** When the last report without a TTL of a workload was deleted. */
  readonly endedWorkloads: Map<string, number>;
}

/**
 * Most deleted documents of a view, their fingerprints, and ended workloads of a source that are kept; the oldest are
 * forgotten first. Reports that a tenant creates and deletes all day would otherwise fill the memory.
 */
const MAX_REMOVED = 20_000, MAX_REMOVED_FINGERPRINTS = 1_000_000, MAX_ENDED_WORKLOADS = 20_000;

/** How far a tool's clock may be ahead of this process's when it deletes a report. */
const CLOCK_TOLERANCE_MS = 5_000;
const CONFIGMAPS = "configmaps";

/** The reporters of findings in one leader's term. */
export class Reporters {
  readonly #options: ReportersOptions;
  readonly #sources = new Map<string, Source>();

  constructor(options: ReportersOptions) {
    this.#options = options;
  }

  /** See `Views`. */
  begin(key: ViewKey): void {
    const view = this.#view(key);
    this.#revive(view);
    view.round++;
    if (view.state !== "complete") view.state = "pending";
  }

  /** See `Views`. */
  report(
    of: ViewKey,
    { key, fingerprints, filteredFingerprints = [], readable, scope: said }: ReportedFindings,
  ): void {
    const view = this.#view(of);
    const before = view.documents.get(key);
    const scope = said ?? before?.scope;
    const named = [
      ...fingerprints.map(fingerprintKey),
      ...filteredFingerprints.map(fingerprintKey).filter((fingerprint) => this.#isStored(fingerprint)),
    ];
    const now = Float64Array.from(new Set(readable || !before ? named : [...before.fingerprints, ...named]));
    const blind = !readable && (before?.blind ?? true);
    const document = { fingerprints: now, round: view.round, blind, scope };
    view.documents.set(key, document);
    this.#countScope(view, document, 1);
    if (before) this.#countScope(view, before, -1);
    this.#forgetRemoved(view, key);
    if (blind) view.blind.add(key);
    else view.blind.delete(key);
    const absent = view.state === "absent";
    this.#count(of.source, now, { by: 1, absent });
    if (before) this.#count(of.source, before.fingerprints, { by: -1, absent, reason: "NotReported" });
    if (readable && scope) this.#rebuilt(view, scope);
  }

  /** See `Views`. */
  gone(view: ViewKey, key: string): void {
    this.#forget(this.#view(view), key);
  }

  /** See `Views`. */
  complete(key: ViewKey): void {
    const view = this.#view(key);
    this.#revive(view);
    for (const [document, { round }] of view.documents) {
      if (round !== view.round) this.#forget(view, document);
    }
    view.state = "complete";
  }

  /** See `Views`. */
  lost(key: ViewKey, why: "absent" | "unreadable"): void {
    const view = this.#view(key);
    if (why === "unreadable") this.#revive(view);
    else if (view.state !== "absent") {
      for (const { fingerprints } of view.documents.values()) {
        this.#count(key.source, fingerprints, { by: 1, absent: true });
        this.#count(key.source, fingerprints, { by: -1, absent: false });
      }
      this.#restore(view);
    }
    view.state = why;
  }

  /** True if a served resource reports the finding. Cheaper than `reporting`; true for most findings. */
  reports(source: string, key: number): boolean {
    return this.#sources.get(source)?.reporters.has(key) ?? false;
  }

  /** Whether a finding is reported. */
  reporting(finding: Reported): Reporting {
    const source = this.#sources.get(finding.source);
    if (!source) return { kind: "unknown" };
    const key = fingerprintKey(finding.fingerprint);
    if (source.reporters.has(key)) return { kind: "reported" };
    if (source.absent.has(key)) return { kind: "absent" };
    const expired = source.expired.get(key);
    if (expired) return this.#expiredReporting(source, expired);
    const ended = source.ended.get(key);
    return ended ? { kind: "ended", ...ended } : { kind: this.#silence(source.views.values(), finding) };
  }

  /**
   * True while a finding that was not reported in this term may be from a report that expired before the term: there is no
   * such report on its workload and part, and the workload's end was not observed.
   */
  mayHaveExpired(of: string, { eventType, scope }: { eventType: string; scope: ReportScope }): boolean {
    const source = this.#sources.get(of);
    if (!source || hasEnded(source, scope.workload)) return false;
    return !this.covers(of, { eventType, scope });
  }

  /** True while there is a report on the workload and part that can have findings of that type. */
  covers(of: string, { eventType, scope }: { eventType: string; scope: ReportScope }): boolean {
    for (const { key, parts } of this.#sources.get(of)?.views.values() ?? []) {
      const types = this.#options.eventTypesOf?.(key);
      if ((!types || types.includes(eventType)) && parts.has(partOf(scope))) return true;
    }
    return false;
  }

  /** Forgets ends and expired reports older than this: their stored findings have been resolved already. */
  forgetBefore({ ended: endedBefore, expired: expiredBefore }: { ended: number; expired: number }): void {
    for (const { ended, expired, endedWorkloads, views } of this.#sources.values()) {
      for (const [key, { atSeconds }] of ended) {
        if (atSeconds < endedBefore || !this.#isStored(key)) ended.delete(key);
      }
      for (const [key, { atSeconds }] of expired) {
        if (atSeconds < expiredBefore || !this.#isStored(key)) expired.delete(key);
      }
      for (const [workload, atSeconds] of endedWorkloads) {
        if (atSeconds < expiredBefore) endedWorkloads.delete(workload);
      }
      for (const view of views.values()) {
        for (const [key, { document, atSeconds }] of view.removed) {
          const before = document.scope?.expiresAt === undefined ? endedBefore : expiredBefore;
          if (atSeconds < before) this.#forgetRemoved(view, key);
        }
        for (const [part, documents] of view.expired) {
          if ([...documents].every(({ atSeconds }) => atSeconds < expiredBefore)) view.expired.delete(part);
        }
      }
    }
  }

  /**
   * What is filtered, or has no room in the storage budget, is not stored, and may be far more than what is. The evaluation
   * that stores it reports it again.
   */
  #isStored(key: number): boolean {
    return this.#options.isStored?.(key) ?? true;
  }

  /** Keeps a deleted document, and forgets the oldest ones beyond what is kept. */
  #keepRemoved(view: View, key: string, removed: Removed): void {
    view.removed.set(key, removed);
    view.removedFingerprints += removed.document.fingerprints.length;
    for (const [oldestKey, oldest] of view.removed) {
      if (view.removed.size <= MAX_REMOVED && view.removedFingerprints <= MAX_REMOVED_FINGERPRINTS) return;
      this.#forgetRemoved(view, oldestKey);
      const { scope } = oldest.document;
      const expired = scope && view.expired.get(partOf(scope));
      expired?.delete(oldest);
      if (scope && expired?.size === 0) view.expired.delete(partOf(scope));
    }
  }

  #forgetRemoved(view: View, key: string): void {
    const removed = view.removed.get(key);
    if (!removed) return;
    view.removed.delete(key);
    view.removedFingerprints -= removed.document.fingerprints.length;
  }

  /** The state of a finding of an expired report: `ended` if the end of its workload was observed. */
  #expiredReporting(source: Source, { document, atSeconds }: Removed): Reporting {
    const endedAt = document.scope && source.endedWorkloads.get(document.scope.workload);
    return endedAt === undefined
      ? { kind: "expired", atSeconds }
      : { kind: "ended", atSeconds: Math.max(atSeconds, endedAt), reason: "ReportGone" };
  }

  #countScope(view: View, { scope, blind }: Document, by: 1 | -1): void {
    if (!scope) return;
    if (!blind) addTo(view.parts, partOf(scope), by);
    if (scope.expiresAt !== undefined) return;
    const { lasting, endedWorkloads } = this.#source(view.key.source);
    const reports = addTo(lasting, scope.workload, by);
    endedWorkloads.delete(scope.workload);
    if (reports > 0) return;
    endedWorkloads.set(scope.workload, this.#options.seconds());
    const [oldest] = endedWorkloads.keys();
    if (endedWorkloads.size > MAX_ENDED_WORKLOADS && oldest !== undefined) endedWorkloads.delete(oldest);
  }

  /** Marks the findings of a document as expired, not ended: its tool deleted it because of its age. */
  #expire(view: View, removed: Removed): void {
    const { scope, fingerprints } = removed.document;
    if (!scope) return;
    const { ended, expired } = this.#source(view.key.source);
    for (const key of fingerprints) if (ended.delete(key)) expired.set(key, removed);
    const part = partOf(scope);
    const documents = view.expired.get(part) ?? new Set();
    view.expired.set(part, documents.add(removed));
  }

  /** Called when there is a report on the workload's part again: findings that it lacks have ended. */
  #rebuilt(view: View, scope: ReportScope): void {
    const part = partOf(scope);
    const { ended, expired } = this.#source(view.key.source);
    for (const removed of view.expired.get(part) ?? []) {
      for (const key of removed.document.fingerprints) {
        if (expired.get(key) !== removed) continue;
        expired.delete(key);
        ended.set(key, { atSeconds: this.#options.seconds(), reason: "NotReported" });
      }
    }
    view.expired.delete(part);
  }

  /** The state of a finding that none of these views reports. */
  #silence(
    views: Iterable<View>,
    { eventType, belongsTo }: Pick<Reported, "eventType" | "belongsTo">,
  ): "unseen" | "absent" | "unknown" {
    const { eventTypesOf } = this.#options;
    let complete = false;
    for (const view of views) {
      const types = eventTypesOf?.(view.key);
      if (types && !types.includes(eventType)) continue;
      if (view.state === "pending" || view.state === "unreadable") return "unknown";
      if (view.state === "absent") continue;
      const isOfAnyNamespace = view.key.resource === CONFIGMAPS || belongsTo === "";
      if (view.blind.size > 0 && (isOfAnyNamespace || mayReport(view, belongsTo))) return "unknown";
      complete = true;
    }
    return complete ? "unseen" : "absent";
  }

  /** Counts the documents of a resource again that was absent and is now served. */
  #revive(view: View): void {
    if (view.state !== "absent") return;
    view.state = "pending";
    for (const { fingerprints } of view.documents.values()) {
      this.#count(view.key.source, fingerprints, { by: 1, absent: false });
      this.#count(view.key.source, fingerprints, { by: -1, absent: true });
    }
  }

  #forget(view: View, key: string): void {
    const document = view.documents.get(key);
    view.documents.delete(key);
    view.blind.delete(key);
    if (!document) return;
    this.#countScope(view, document, -1);
    this.#count(view.key.source, document.fingerprints, {
      by: -1,
      absent: view.state === "absent",
      reason: "ReportGone",
    });
    if (view.state === "absent") return;
    const removed = { document, atSeconds: this.#options.seconds() };
    const expiresAt = document.scope?.expiresAt ?? Infinity;
    if (this.#options.now() >= expiresAt - CLOCK_TOLERANCE_MS) this.#expire(view, removed);
    this.#keepRemoved(view, key, removed);
  }

  /** Restores documents that were deleted just before their resource was uninstalled: their tool did not end them. */
  #restore(view: View): void {
    const { ended, expired } = this.#source(view.key.source);
    for (const [key, { document }] of view.removed) {
      view.documents.set(key, document);
      this.#countScope(view, document, 1);
      this.#count(view.key.source, document.fingerprints, { by: 1, absent: true });
      for (const fingerprint of document.fingerprints) {
        ended.delete(fingerprint);
        expired.delete(fingerprint);
      }
    }
    view.removed.clear();
    view.removedFingerprints = 0;
    view.expired.clear();
  }

  /** Adds or removes a document. `reason`: why the findings ended that only this document reported. */
  #count(
    of: string,
    fingerprints: Keys,
    { by, absent, reason = "ReportGone" }: { by: 1 | -1; absent: boolean; reason?: Ended["reason"] },
  ): void {
    const source = this.#source(of);
    const ended: Ended = { atSeconds: this.#options.seconds(), reason };
    const counts = absent ? source.absent : source.reporters;
    for (const key of fingerprints) {
      const reporters = addTo(counts, key, by);
      if (absent) continue;
      if (reporters > 0) {
        source.ended.delete(key);
        source.expired.delete(key);
      } else if (!source.absent.has(key) && this.#isStored(key)) {
        // A finding that is still reported by a resource that is no longer served has not ended.
        source.ended.set(key, ended);
      }
    }
  }

  #source(name: string): Source {
    let source = this.#sources.get(name);
    if (!source) {
      source = {
        views: new Map(),
        reporters: new Map(),
        absent: new Map(),
        ended: new Map(),
        expired: new Map(),
        lasting: new Map(),
        endedWorkloads: new Map(),
      };
      this.#sources.set(name, source);
    }
    return source;
  }

  #view(key: ViewKey): View {
    const { views } = this.#source(key.source);
    const id = viewId(key);
    let view = views.get(id);
    if (!view) {
      view = {
        key,
        state: "pending",
        round: 0,
        documents: new Map(),
        blind: new Set(),
        removed: new Map(),
        removedFingerprints: 0,
        expired: new Map(),
        parts: new Map(),
      };
      views.set(id, view);
    }
    return view;
  }
}

/** Adds to a count and returns it; a count of 0 is removed. */
function addTo<Key>(counts: Map<Key, number>, key: Key, by: number): number {
  const count = (counts.get(key) ?? 0) + by;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
  return count;
}

function partOf({ workload, part }: ReportScope): string {
  return `${workload}\n${part}`;
}

/** True if the workload had reports without a TTL in this term, and the last of them was deleted. */
function hasEnded({ endedWorkloads }: Source, workload: string): boolean {
  return endedWorkloads.has(workload);
}

/** True if a document that was not read in full may report findings of that namespace. */
function mayReport({ blind }: View, namespace: string): boolean {
  for (const key of blind) {
    const slash = key.indexOf("/");
    if (slash < 0 || key.slice(0, slash) === namespace) return true;
  }
  return false;
}
