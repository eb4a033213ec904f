/**
 * Filters: which events pass, and why one does not. Documents are compiled once into one set, which is replaced as a whole,
 * evaluated for every event, and whose decisions are counted.
 */
import { ChangeSignal } from "../model/change_signal.ts";
import { errorMessage } from "../model/error_message.ts";
import {
  type Check,
  compileChecks,
  type Dimension,
  type DocumentReason,
  type FilterBlock,
  reasonsOf,
  type Subject,
  toSubject,
} from "./checks.ts";
import type { StatusTarget } from "../kube/status_writer.ts";
import type { Clock } from "../model/time.ts";
import { canonicalJson, sha256 } from "../model/identity.ts";
import type { NormalEvent } from "../model/event.ts";
import type { Rejection } from "../pipeline/ports.ts";
import { addDrop, emptyShare, type Share } from "./drops.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { StepBudget } from "./steps.ts";

export type { Dimension, DocumentReason, FilterBlock } from "./checks.ts";

/** A block and the events that it applies to. */
export interface FilterDocument {
  /** Names the place of the document: `ConfigMap zen-system/zen-watcher-filter sources.trivy`. Unique. */
  readonly name: string;
  /** A source's name, or `*`. */
  readonly source: string;
  readonly block: FilterBlock;
  /** Set for a tenant's document: it applies only to events of this namespace, and drops none that is CRITICAL or `neverDroppedByTenants`. */
  readonly tenantNamespace?: string;
  /** Set for the filter of an Ingester that feeds a built-in source: it applies only to events of that feed. */
  readonly door?: string;
  /** The object whose status shows what the document drops; absent for an entry of the ConfigMap. */
  readonly owner?: StatusTarget;
}

/** What happened during the evaluation and did not decide the verdict. */
export type FilterNote =
  | { readonly kind: "shadow"; readonly document: string; readonly reason: DocumentReason }
  | { readonly kind: "expression_error"; readonly document: string; readonly message: string };

/** The verdict of all documents together. */
export type FilterVerdict =
  | { readonly pass: true; readonly notes?: readonly FilterNote[] }
  | {
    readonly pass: false;
    readonly reason: DocumentReason;
    readonly document: string;
    readonly notes?: readonly FilterNote[];
  };

/** Judges events. */
export interface CompiledFilter {
  /** `tenantSteps`: the steps left for the expressions of a tenant's documents; by default those of one event. */
  evaluate(event: NormalEvent, tenantSteps?: StepBudget): FilterVerdict;
}

/** One dimension of one document, explained. */
export interface DimensionVerdict {
  readonly dimension: Dimension;
  readonly verdict: "pass" | "drop" | "error";
  readonly detail: string;
}

/** One document, explained: every dimension that it has, even after the first that drops. */
export interface DocumentVerdict {
  readonly document: string;
  readonly verdict: "pass" | "drop" | "shadow" | "not_applicable";
  readonly reason?: DocumentReason;
  readonly detail: string;
  readonly dimensions: readonly DimensionVerdict[];
}

/** Compiled documents. */
export interface FilterSet extends CompiledFilter {
  readonly documents: readonly FilterDocument[];
  /** Every document's and dimension's verdict, for people. */
  explain(event: NormalEvent): readonly DocumentVerdict[];
}

const PASS: FilterVerdict = { pass: true };

/** Most steps that the expressions of the operator's documents may take for one event, and of one tenant's documents. */
const OPERATOR_STEPS = 400_000;
const TENANT_STEPS = 80_000;

/** Compiles documents into one set. */
export function compileFilters(documents: readonly FilterDocument[]): FilterSet {
  // Sorted by name, so that the reason does not depend on the order in which documents arrived.
  const compiled = documents.map(compileOnce).sort(byName);
  const operators = compiled.filter(({ tenantNamespace }) => tenantNamespace === undefined);
  const bySource = Map.groupBy(operators, ({ source }) => source);
  const general = bySource.get("*") ?? [];
  const merged = new Map<string, readonly CompiledDocument[]>();
  const tenants = Map.groupBy(
    compiled.filter(({ tenantNamespace }) => tenantNamespace !== undefined),
    ({ tenantNamespace }) => tenantNamespace,
  );
  const operatorsOf = (source: string): readonly CompiledDocument[] => {
    if (source === "*" || !bySource.has(source)) return general;
    let documents = merged.get(source);
    if (!documents) {
      const isOf = (document: CompiledDocument) => document.source === "*" || document.source === source;
      merged.set(source, documents = operators.filter(isOf));
    }
    return documents;
  };
  return {
    documents: compiled.map((document) => document.origin),
    evaluate(event, tenantSteps) {
      const own = tenants.get(event.resource?.namespace) ?? [];
      return judge(event, {
        operators: operatorsOf(event.source),
        tenants: own.filter(({ source }) => source === "*" || source === event.source),
        tenantSteps,
      });
    },
    explain: (event) => compiled.map((document) => explainDocument(document, event)),
  };
}

/** A set without documents: everything passes. */
export const ALLOW_ALL: FilterSet = compileFilters([]);

interface CompiledDocument {
  readonly name: string;
  readonly source: string;
  readonly origin: FilterDocument;
  readonly shadow: boolean;
  readonly tenantNamespace: string | undefined;
  readonly checks: readonly Check[];
}

/** Cached, so that a change of one document does not compile a thousand others again. */
const compiledDocuments = new WeakMap<FilterDocument, CompiledDocument>();

function compileOnce(document: FilterDocument): CompiledDocument {
  let compiled = compiledDocuments.get(document);
  if (!compiled) compiledDocuments.set(document, compiled = compileDocument(document));
  return compiled;
}

interface Judging {
  readonly operators: readonly CompiledDocument[];
  /** The tenants' documents of the event's namespace. */
  readonly tenants: readonly CompiledDocument[];
  readonly tenantSteps: StepBudget | undefined;
}

function judge(event: NormalEvent, { operators, tenants, tenantSteps }: Judging): FilterVerdict {
  if (operators.length + tenants.length === 0) return PASS;
  const subject = toSubject(event);
  const notes: FilterNote[] = [];
  const operatorSteps = { left: OPERATOR_STEPS };
  const ownSteps = { left: Math.min(TENANT_STEPS, tenantSteps?.left ?? TENANT_STEPS) };
  const given = ownSteps.left;
  let dropped: { reason: DocumentReason; document: string } | undefined;
  for (const document of inOrder(operators, tenants)) {
    // A document in shadow is counted also for events another document drops: its figures must not depend on the others.
    if ((dropped && !document.shadow) || !actsOn(document, event)) continue;
    const budget = document.tenantNamespace === undefined ? operatorSteps : ownSteps;
    const reason = firstDrop(document, subject, { notes, budget });
    if (reason === undefined) continue;
    if (document.shadow) notes.push({ kind: "shadow", document: document.name, reason });
    else dropped = { reason, document: document.name };
  }
  if (tenantSteps) tenantSteps.left -= given - ownSteps.left;
  if (dropped) return { pass: false, ...dropped, ...(notes.length > 0 && { notes }) };
  return notes.length > 0 ? { pass: true, notes } : PASS;
}

/** By name, as if there were one list. */
function inOrder(
  operators: readonly CompiledDocument[],
  tenants: readonly CompiledDocument[],
): readonly CompiledDocument[] {
  return tenants.length === 0 ? operators : [...operators, ...tenants].sort(byName);
}

function byName(a: CompiledDocument, b: CompiledDocument): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

/** True if the document applies to the event. A tenant's applies by the resource's namespace, wherever it is stored. */
function actsOn(document: CompiledDocument, event: NormalEvent): boolean {
  const { door } = document.origin;
  if (door !== undefined && door !== event.door) return false;
  return document.tenantNamespace === undefined ||
    (document.tenantNamespace === event.resource?.namespace && event.severity !== "CRITICAL" &&
      !event.neverDroppedByTenants);
}

function firstDrop(
  document: CompiledDocument,
  subject: Subject,
  { notes, budget }: { readonly notes: FilterNote[]; readonly budget?: StepBudget },
): DocumentReason | undefined {
  for (const check of document.checks) {
    try {
      const reason = check.decide(subject, budget);
      if (reason !== undefined) return reason;
    } catch (error) {
      const message = errorMessage(error);
      notes.push({ kind: "expression_error", document: document.name, message });
    }
  }
  return undefined;
}

function compileDocument(document: FilterDocument): CompiledDocument {
  return {
    name: document.name,
    source: document.source.toLowerCase(),
    origin: document,
    shadow: document.block.mode === "Shadow",
    tenantNamespace: document.tenantNamespace,
    checks: compileChecks(document.block),
  };
}

function explainDocument(document: CompiledDocument, event: NormalEvent): DocumentVerdict {
  const base = { document: document.name, dimensions: [] };
  if (document.source !== "*" && document.source !== event.source) {
    return { ...base, verdict: "not_applicable", detail: `is for source ${document.source}` };
  }
  if (!actsOn(document, event)) {
    return { ...base, verdict: "not_applicable", detail: elsewhereDetail(document, event) };
  }
  const subject = toSubject(event);
  const dimensions = document.checks.map((check) => explainCheck(check, subject));
  const reason = firstDrop(document, subject, { notes: [] });
  if (reason === undefined) {
    const detail = dimensions.length === 0 ? "has no opinion" : "every dimension passes";
    return { document: document.name, verdict: "pass", detail, dimensions };
  }
  const drop = dimensions.find((dimension) => dimension.verdict === "drop");
  return {
    document: document.name,
    verdict: document.shadow ? "shadow" : "drop",
    reason,
    detail: drop ? `${drop.dimension}: ${drop.detail}` : reason,
    dimensions,
  };
}

function elsewhereDetail({ tenantNamespace, origin }: CompiledDocument, event: NormalEvent): string {
  if (origin.door !== undefined && origin.door !== event.door) {
    return `acts on events of ${origin.door} alone`;
  }
  if (event.resource?.namespace !== tenantNamespace) {
    return `acts on what belongs to ${tenantNamespace} alone`;
  }
  const what = event.neverDroppedByTenants ? event.source : "CRITICAL";
  return `a tenant's filter never drops ${what}`;
}

function explainCheck(check: Check, subject: Subject): DimensionVerdict {
  const { dimension } = check;
  try {
    const verdict = check.decide(subject) === undefined ? "pass" : "drop";
    return { dimension, verdict, detail: check.describe(subject) };
  } catch (error) {
    const message = errorMessage(error);
    return { dimension, verdict: "error", detail: `${message}; an error keeps the event` };
  }
}

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
  /** The status of an object in any other namespace shows drops of that namespace alone. */
  readonly ownNamespace?: string;
  /** The active sources; the counts of Shadow documents start at 0 for them alone. */
  readonly sources?: () => readonly string[];
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
  /** Raised with the documents that were added, removed or changed (the old and the new form): what they dropped may pass now. */
  readonly changes = new ChangeSignal<readonly FilterDocument[]>();

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
    const changed = changedBetween(this.#set.documents, set.documents);
    this.#set = set;
    this.#hash = hash;
    for (const document of set.documents) if (document.block.mode === "Shadow") this.#openSeries(document);
    const names = new Set(set.documents.map((document) => document.name));
    for (const name of this.#figures.keys()) if (!names.has(name)) this.#figures.delete(name);
    for (const name of this.#shares.keys()) if (!names.has(name)) this.#shares.delete(name);
    this.#tenants = new Set(set.documents.flatMap(({ tenantNamespace }) => tenantNamespace ?? []));
    for (const name of this.#buckets.keys()) if (!this.#tenants.has(name)) this.#buckets.delete(name);
    this.#options.metrics.filterLastReload.set(this.#options.clock.now() / 1000);
    log.info("Filters changed", { documents: names.size, hash });
    this.changes.raise(changed);
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

  /** Starts the counts of a Shadow document at 0, so that Prometheus sees the first event that it would drop. */
  #openSeries({ source, block }: FilterDocument): void {
    const { metrics: { filterDecisions, sourceLabel }, sources = () => [] } = this.#options;
    // Only of active sources: a document can name any word, and label values are few.
    for (const name of sources().filter((active) => source === "*" || source === active)) {
      for (const reason of reasonsOf(block)) {
        filterDecisions.inc({ source: sourceLabel(name), action: "shadow", reason }, 0);
      }
    }
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

/** The documents that only one of the two sets has. */
function changedBetween(
  before: readonly FilterDocument[],
  after: readonly FilterDocument[],
): readonly FilterDocument[] {
  const old = new Set(before.map(hashOfDocument));
  const now = new Set(after.map(hashOfDocument));
  return [
    ...before.filter((document) => !now.has(hashOfDocument(document))),
    ...after.filter((document) => !old.has(hashOfDocument(document))),
  ];
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
