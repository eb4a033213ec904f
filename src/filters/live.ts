/** The active filters: one set that is replaced as a whole, and counts of its decisions. */
import type { Clock } from "../model/time.ts";
import { canonicalJson, sha256 } from "../model/identity.ts";
import type { NormalEvent } from "../model/event.ts";
import type { Rejection } from "../pipeline/ports.ts";
import {
  ALLOW_ALL,
  compileFilters,
  type DocumentReason,
  type FilterDocument,
  type FilterNote,
  type FilterSet,
} from "./filter.ts";
import { addDrop, emptyShare, type Share } from "./drops.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { StepBudget } from "./steps.ts";

/** Where documents come from; each provider's are replaced as a whole. */
const PROVIDERS = ["configMap", "observationFilters", "ingesters"] as const;
export type Provider = typeof PROVIDERS[number];

/** One active document, for `/tools/status`. */
export interface DocumentReport {
  readonly name: string;
  readonly source: string;
  readonly mode: "Enforce" | "Shadow";
  /** Events dropped by this document (in Shadow: that it would drop), by reason. */
  readonly dropped: Readonly<Partial<Record<DocumentReason, number>>>;
  readonly expressionErrors: number;
}

export interface LiveFiltersOptions {
  readonly metrics: Pick<
    Metrics,
    "filterDecisions" | "filterPassRate" | "filterLastReload" | "filterErrors" | "sourceLabel"
  >;
  readonly clock: Clock;
  /** Called when the active documents changed: events that were dropped may pass now. */
  readonly onChange?: () => void;
  /** The status of an object in any other namespace shows drops of that namespace alone. */
  readonly ownNamespace?: string;
}

interface Figures {
  readonly dropped: Partial<Record<DocumentReason, number>>;
  expressionErrors: number;
}

const PASS_RATE_WINDOW_MS = 300_000;
/** Steps of 100 ns that one tenant's expressions may take per ms: a twentieth of a core. Up to ten seconds' worth is saved up. */
const TENANT_STEPS_PER_MS = 500;
const TENANT_BURST = 5_000_000;

const log = logger("filter");

/** Evaluates events against the active documents, and counts the results. */
export class LiveFilters {
  readonly #options: LiveFiltersOptions;
  readonly #documents: Record<Provider, readonly FilterDocument[]> = {
    configMap: [],
    observationFilters: [],
    ingesters: [],
  };
  readonly #figures = new Map<string, Figures>();
  readonly #passRates = new Map<string, PassRate>();
  #tenants: ReadonlySet<string> = new Set();
  readonly #buckets = new Map<string, StepBudget & { at: number }>();
  /** By name, as their providers gave them last. */
  #byName: ReadonlyMap<string, FilterDocument> = new Map();
  /** Drops that are not in a status yet, by document. */
  #shares = new Map<string, Share>();
  #set: FilterSet = ALLOW_ALL;
  #hash = hashOf([]);

  constructor(options: LiveFiltersOptions) {
    this.#options = options;
  }

  /** Activates all documents of a provider at once. They were read and compiled before. */
  replace(provider: Provider, documents: readonly FilterDocument[]): void {
    const next = { ...this.#documents, [provider]: documents };
    const set = compileFilters(PROVIDERS.flatMap((name) => next[name]));
    this.#documents[provider] = documents;
    // An object that was recreated may hold an equal document.
    this.#byName = new Map(set.documents.map((document) => [document.name, document]));
    const hash = hashOf(set.documents);
    if (hash === this.#hash) return;
    this.#set = set;
    this.#hash = hash;
    const names = new Set(set.documents.map((document) => document.name));
    for (const name of this.#figures.keys()) if (!names.has(name)) this.#figures.delete(name);
    for (const name of this.#shares.keys()) if (!names.has(name)) this.#shares.delete(name);
    this.#tenants = new Set(set.documents.flatMap(({ tenantNamespace }) => tenantNamespace ?? []));
    for (const name of this.#buckets.keys()) if (!this.#tenants.has(name)) this.#buckets.delete(name);
    this.#options.metrics.filterLastReload.set(this.#options.clock.now() / 1000);
    log.info("Filters changed", { documents: names.size, hash });
    this.#options.onChange?.();
  }

  /** The rejection of an event, or undefined. A bound function, to be used as a step of the pipeline. */
  readonly filter = (event: NormalEvent): Rejection | undefined => {
    const verdict = this.#set.evaluate(event, this.#tenantSteps(event.resource?.namespace));
    const source = this.#options.metrics.sourceLabel(event.source);
    this.#passRateOf(source).add(verdict.pass, this.#options.clock.now());
    for (const note of verdict.notes ?? []) this.#note(source, note, event);
    const { filterDecisions } = this.#options.metrics;
    if (verdict.pass) {
      filterDecisions.inc({ source, action: "pass", reason: "none" });
      return undefined;
    }
    filterDecisions.inc({ source, action: "drop", reason: verdict.reason });
    count(this.#figuresOf(verdict.document), verdict.reason);
    this.#share(verdict.document, verdict.reason, event);
    return { reason: verdict.reason, document: verdict.document };
  };

  /** The active documents of a provider. */
  documentsOf(provider: Provider): readonly FilterDocument[] {
    return this.#documents[provider];
  }

  /** Returns and clears the drops since the last call. */
  takeShares(): readonly { readonly document: FilterDocument; readonly share: Share }[] {
    const taken = this.#shares;
    this.#shares = new Map();
    return [...taken].flatMap(([name, share]) => {
      const document = this.#byName.get(name);
      return document ? [{ document, share }] : [];
    });
  }

  /** Adds an empty share for each document in mode Shadow, so that its last day's count is updated. */
  touchShadows(): void {
    for (const [name, { block }] of this.#byName) {
      if (block.mode === "Shadow" && !this.#shares.has(name)) this.#shares.set(name, emptyShare(true));
    }
  }

  /** Sets `filter_pass_rate` to what it is now. */
  publishPassRates(): void {
    for (const [source, passRate] of this.#passRates) {
      const rate = passRate.rate(this.#options.clock.now());
      if (rate === undefined) this.#options.metrics.filterPassRate.remove({ source });
      else this.#options.metrics.filterPassRate.set({ source }, rate);
    }
  }

  /** A hash of the active documents. */
  get hash(): string {
    return this.#hash;
  }

  /** The active documents, and the decisions of each since it became active. */
  report(): readonly DocumentReport[] {
    return this.#set.documents.map(({ name, source, block }) => {
      const figures = this.#figures.get(name);
      return {
        name,
        source,
        mode: block.mode ?? "Enforce",
        dropped: { ...figures?.dropped },
        expressionErrors: figures?.expressionErrors ?? 0,
      };
    });
  }

  /** The steps that a tenant's expressions may take now; undefined if no tenant has expressions. */
  #tenantSteps(namespace: string | undefined): StepBudget | undefined {
    if (namespace === undefined || !this.#tenants.has(namespace)) return undefined;
    const now = this.#options.clock.monotonic();
    let bucket = this.#buckets.get(namespace);
    if (!bucket) this.#buckets.set(namespace, bucket = { left: TENANT_BURST, at: now });
    bucket.left = Math.min(TENANT_BURST, bucket.left + (now - bucket.at) * TENANT_STEPS_PER_MS);
    bucket.at = now;
    return bucket;
  }

  #share(name: string, reason: DocumentReason, event: NormalEvent): void {
    const document = this.#byName.get(name);
    if (!document) return;
    const isShadow = document.block.mode === "Shadow";
    let share = this.#shares.get(name);
    if (share?.isShadow !== isShadow) this.#shares.set(name, share = emptyShare(isShadow));
    const { owner } = document;
    const { clock, ownNamespace } = this.#options;
    const isTenant = owner !== undefined && owner.namespace !== ownNamespace;
    const sampled = !isTenant || event.resource?.namespace === owner.namespace;
    addDrop(share, { event, reason, atMs: clock.now(), sampled });
  }

  #note(source: string, note: FilterNote, event: NormalEvent): void {
    const { metrics } = this.#options;
    const figures = this.#figuresOf(note.document);
    if (note.kind === "shadow") {
      metrics.filterDecisions.inc({ source, action: "shadow", reason: note.reason });
      count(figures, note.reason);
      this.#share(note.document, note.reason, event);
      return;
    }
    metrics.filterErrors.inc();
    figures.expressionErrors++;
    log.debug("Filter expression failed, the event is kept", {
      source,
      document: note.document,
      error: note.message,
    });
  }

  #figuresOf(document: string): Figures {
    let figures = this.#figures.get(document);
    if (!figures) this.#figures.set(document, figures = { dropped: {}, expressionErrors: 0 });
    return figures;
  }

  #passRateOf(source: string): PassRate {
    let passRate = this.#passRates.get(source);
    if (!passRate) this.#passRates.set(source, passRate = new PassRate(PASS_RATE_WINDOW_MS));
    return passRate;
  }
}

function count(figures: Figures, reason: DocumentReason): void {
  figures.dropped[reason] = (figures.dropped[reason] ?? 0) + 1;
}

/** Hashes by document, cached, so that a change of one document hashes only that one. */
const hashes = new WeakMap<FilterDocument, string>();

function hashOf(documents: readonly FilterDocument[]): string {
  return sha256(documents.map(hashOfDocument).join()).slice(0, 16);
}

function hashOfDocument(document: FilterDocument): string {
  let hash = hashes.get(document);
  if (hash === undefined) {
    const { owner: _, ...rest } = document;
    hash = sha256(canonicalJson(JSON.parse(JSON.stringify(rest))));
    hashes.set(document, hash);
  }
  return hash;
}

/** Buckets of a pass rate. */
const BUCKETS = 30;

interface Bucket {
  /** Number of the time slice it counts. */
  slice: number;
  passed: number;
  total: number;
}

/** The share of events of one source that passed in the last `windowMs`, in a ring of buckets. */
class PassRate {
  readonly #sliceMs: number;
  readonly #buckets: Bucket[] = Array.from({ length: BUCKETS }, () => ({ slice: -1, passed: 0, total: 0 }));

  constructor(windowMs: number) {
    this.#sliceMs = windowMs / BUCKETS;
  }

  add(passed: boolean, atMs: number): void {
    const slice = Math.floor(atMs / this.#sliceMs);
    const bucket = this.#buckets[slice % BUCKETS];
    if (!bucket) return;
    if (bucket.slice !== slice) Object.assign(bucket, { slice, passed: 0, total: 0 });
    bucket.total++;
    if (passed) bucket.passed++;
  }

  /** 0 to 1; undefined if nothing was counted in the window. */
  rate(atMs: number): number | undefined {
    const now = Math.floor(atMs / this.#sliceMs);
    let passed = 0;
    let total = 0;
    for (const bucket of this.#buckets) {
      if (bucket.slice <= now - BUCKETS || bucket.slice > now) continue;
      passed += bucket.passed;
      total += bucket.total;
    }
    return total === 0 ? undefined : passed / total;
  }
}
