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
import type { StatusTarget } from "../kube/status_writer.ts";
import type { StepBudget } from "./steps.ts";

export type { Dimension, DocumentReason, FilterBlock } from "./checks.ts";

/** A block and the events that it applies to. */
export interface FilterDocument {
  /** Names the place of the document: `ConfigMap zen-system/zen-watcher-filter sources.trivy`. Unique. */
  readonly name: string;
  /** A source's name, or `*`. */
  readonly source: string;
  readonly block: FilterBlock;
  /** Set for a tenant's document: it applies only to events of this namespace, and never drops CRITICAL or `audit` ones. */
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
      event.source !== "audit");
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
