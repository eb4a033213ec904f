/** Filters: which events pass, and why one does not. Pure; compiled once, evaluated for every event. */
import type { NormalEvent } from "../model/event.ts";
import {
  type Check,
  compileChecks,
  type Dimension,
  type DocumentReason,
  type FilterBlock,
  type Subject,
  toSubject,
} from "./checks.ts";

export type { Dimension, DocumentReason, FilterBlock } from "./checks.ts";

/** A block and what it applies to. */
export interface FilterDocument {
  /** Says where it stands: `ConfigMap zen-system/zen-watcher-filter sources.trivy`. Unique. */
  readonly name: string;
  /** A source's name, or `*`. */
  readonly source: string;
  readonly block: FilterBlock;
  /** A tenant's document: acts on Observations of this namespace alone, never drops CRITICAL or `audit`. */
  readonly tenantNamespace?: string;
  /** The Ingester whose filter it is, where that is a door to a built-in source: acts on what comes through it alone. */
  readonly door?: string;
}

/** What happened on the way to the verdict without deciding it. */
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
export interface Filter {
  evaluate(event: NormalEvent): FilterVerdict;
}

/** One dimension of one document, explained. */
export interface DimensionVerdict {
  readonly dimension: Dimension;
  readonly verdict: "pass" | "drop" | "error";
  readonly detail: string;
}

/** One document, explained: every dimension it has an opinion on, also after the first that drops. */
export interface DocumentVerdict {
  readonly document: string;
  readonly verdict: "pass" | "drop" | "shadow" | "not_applicable";
  readonly reason?: DocumentReason;
  readonly detail: string;
  readonly dimensions: readonly DimensionVerdict[];
}

/** Compiled documents. */
export interface FilterSet extends Filter {
  readonly documents: readonly FilterDocument[];
  /** Every document's and dimension's verdict, for people. */
  explain(event: NormalEvent): readonly DocumentVerdict[];
}

const PASS: FilterVerdict = { pass: true };

/** Compiles documents into one set. */
export function compileFilters(documents: readonly FilterDocument[]): FilterSet {
  // By name, so that the reason given does not depend on the order documents arrived in.
  const compiled = documents.map(compileOnce).sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  const general = compiled.filter((document) => document.source === "*");
  const bySource = new Map<string, readonly CompiledDocument[]>();
  for (const { source } of compiled) {
    if (source === "*" || bySource.has(source)) continue;
    bySource.set(
      source,
      compiled.filter((document) => document.source === "*" || document.source === source),
    );
  }
  return {
    documents: compiled.map((document) => document.origin),
    evaluate: (event) => judge(bySource.get(event.source) ?? general, event),
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

/** A change of one document must not cost the compilation of a thousand others. */
const compiledDocuments = new WeakMap<FilterDocument, CompiledDocument>();

function compileOnce(document: FilterDocument): CompiledDocument {
  let compiled = compiledDocuments.get(document);
  if (!compiled) compiledDocuments.set(document, compiled = compileDocument(document));
  return compiled;
}

function judge(documents: readonly CompiledDocument[], event: NormalEvent): FilterVerdict {
  if (documents.length === 0) return PASS;
  const subject = toSubject(event);
  const notes: FilterNote[] = [];
  let dropped: { reason: DocumentReason; document: string } | undefined;
  for (const document of documents) {
    // A document in shadow is counted also for events another document drops: its figures must not depend on the others.
    if ((dropped && !document.shadow) || !actsOn(document, event)) continue;
    const reason = firstDrop(document, subject, notes);
    if (reason === undefined) continue;
    if (document.shadow) notes.push({ kind: "shadow", document: document.name, reason });
    else dropped = { reason, document: document.name };
  }
  if (dropped) return { pass: false, ...dropped, ...(notes.length > 0 && { notes }) };
  return notes.length > 0 ? { pass: true, notes } : PASS;
}

function actsOn(document: CompiledDocument, event: NormalEvent): boolean {
  const { door } = document.origin;
  if (door !== undefined && door !== event.door) return false;
  return document.tenantNamespace === undefined ||
    (document.tenantNamespace === event.namespace && event.severity !== "CRITICAL" &&
      event.source !== "audit");
}

function firstDrop(
  document: CompiledDocument,
  subject: Subject,
  notes: FilterNote[],
): DocumentReason | undefined {
  for (const check of document.checks) {
    try {
      const reason = check.decide(subject);
      if (reason !== undefined) return reason;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
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
  const reason = firstDrop(document, subject, []);
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
  if (event.namespace !== tenantNamespace) return `acts on Observations in ${tenantNamespace} alone`;
  return event.source === "audit"
    ? "a tenant's filter never drops audit"
    : "a tenant's filter never drops CRITICAL";
}

function explainCheck(check: Check, subject: Subject): DimensionVerdict {
  const { dimension } = check;
  try {
    const verdict = check.decide(subject) === undefined ? "pass" : "drop";
    return { dimension, verdict, detail: check.describe(subject) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { dimension, verdict: "error", detail: `${message}; an error keeps the event` };
  }
}
