/**
 * Which documents (reports, ConfigMaps) report which findings now, for one leader's term: fingerprints alone, never a
 * document. A finding costs 8 bytes in each document that reports it and about 55 in its source.
 */
import { type ReportedFindings, viewId, type ViewKey } from "../model/view.ts";
import { fingerprintKey } from "./fingerprint_key.ts";

/**
 * Whether a finding is reported: `reported`; `ended`, a readable view dropped it at that time; `unseen`, complete views
 * of this term never showed it; `absent`, its resource is not served; `unknown`, its source cannot tell.
 */
export type Reporting =
  | { readonly kind: "reported" | "unseen" | "absent" | "unknown" }
  | { readonly kind: "ended"; readonly atSeconds: number };

/** A finding, as far as its reporters are looked up by it. */
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
  /** The event types a view may report; undefined: any. */
  readonly eventTypesOf?: (view: ViewKey) => readonly string[] | undefined;
}

/** Keys of fingerprints (see fingerprint_key.ts). */
type Keys = Float64Array;

interface Document {
  readonly fingerprints: Keys;
  /** The list it was last seen in. */
  readonly round: number;
  /** Not read in full in this term: what it may report is not known. */
  readonly blind: boolean;
}

interface View {
  readonly key: ViewKey;
  state: "pending" | "complete" | "absent" | "unreadable";
  round: number;
  readonly documents: Map<string, Document>;
  /** Keys of documents that are blind. */
  readonly blind: Set<string>;
  /** Documents deleted lately: an API server deletes every object of a CRD before it stops serving the resource. */
  readonly removed: Map<string, { readonly document: Document; readonly atSeconds: number }>;
}

interface Source {
  /** By their ids. */
  readonly views: Map<string, View>;
  /** How many documents report each finding. */
  readonly reporters: Map<number, number>;
  /** How many documents reported it whose resource is not served any more. */
  readonly absent: Map<number, number>;
  /** Seconds at which a finding lost its last reporter. */
  readonly ended: Map<number, number>;
}

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
  report(of: ViewKey, { key, fingerprints, readable }: ReportedFindings): void {
    const view = this.#view(of);
    const before = view.documents.get(key);
    const said = fingerprints.map(fingerprintKey);
    const now = Float64Array.from(new Set(readable || !before ? said : [...before.fingerprints, ...said]));
    const blind = !readable && (before?.blind ?? true);
    view.documents.set(key, { fingerprints: now, round: view.round, blind });
    view.removed.delete(key);
    if (blind) view.blind.add(key);
    else view.blind.delete(key);
    const absent = view.state === "absent";
    this.#count(of.source, now, { by: 1, absent });
    if (before) this.#count(of.source, before.fingerprints, { by: -1, absent });
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

  /** True where a resource that is served reports the finding. Cheaper than `reporting`, and true of most. */
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
    const atSeconds = source.ended.get(key);
    return atSeconds === undefined
      ? { kind: this.#silence(source.views.values(), finding) }
      : { kind: "ended", atSeconds };
  }

  /** Drops ends older than this: the findings among them that are stored have been resolved. */
  forgetEndedBefore(seconds: number): void {
    for (const { ended, views } of this.#sources.values()) {
      for (const [key, atSeconds] of ended) if (atSeconds < seconds) ended.delete(key);
      for (const { removed } of views.values()) {
        for (const [key, { atSeconds }] of removed) if (atSeconds < seconds) removed.delete(key);
      }
    }
  }

  /** What it means that none of these views shows a finding. */
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

  /** The documents of a resource that was absent count as reporters again. */
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
    this.#count(view.key.source, document.fingerprints, { by: -1, absent: view.state === "absent" });
    if (view.state !== "absent") view.removed.set(key, { document, atSeconds: this.#options.seconds() });
  }

  /** Documents deleted just before their resource was uninstalled were not ended by their tool. */
  #restore(view: View): void {
    const { ended } = this.#source(view.key.source);
    for (const [key, { document }] of view.removed) {
      view.documents.set(key, document);
      this.#count(view.key.source, document.fingerprints, { by: 1, absent: true });
      for (const fingerprint of document.fingerprints) ended.delete(fingerprint);
    }
    view.removed.clear();
  }

  #count(of: string, fingerprints: Keys, { by, absent }: { by: 1 | -1; absent: boolean }): void {
    const source = this.#source(of);
    const counts = absent ? source.absent : source.reporters;
    for (const key of fingerprints) {
      const reporters = (counts.get(key) ?? 0) + by;
      if (reporters > 0) counts.set(key, reporters);
      else counts.delete(key);
      if (absent) continue;
      if (reporters > 0) {
        source.ended.delete(key);
      } else if (!source.absent.has(key)) {
        // A finding that a resource reported which is not served any more has not ended.
        source.ended.set(key, this.#options.seconds());
      }
    }
  }

  #source(name: string): Source {
    let source = this.#sources.get(name);
    if (!source) {
      source = { views: new Map(), reporters: new Map(), absent: new Map(), ended: new Map() };
      this.#sources.set(name, source);
    }
    return source;
  }

  #view(key: ViewKey): View {
    const { views } = this.#source(key.source);
    const id = viewId(key);
    let view = views.get(id);
    if (!view) {
      view = { key, state: "pending", round: 0, documents: new Map(), blind: new Set(), removed: new Map() };
      views.set(id, view);
    }
    return view;
  }
}

/** True where a document that was not read in full may report findings of that namespace. */
function mayReport({ blind }: View, namespace: string): boolean {
  for (const key of blind) {
    const slash = key.indexOf("/");
    if (slash < 0 || key.slice(0, slash) === namespace) return true;
  }
  return false;
}
