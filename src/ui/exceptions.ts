/** Accepted risks: what is accepted, what a new exception would accept, and writing them with the user's rights. */
import { Refusal } from "../http/request.ts";
import type { ExceptionDocument } from "../exceptions/document.ts";
import { ExceptionIndex } from "../exceptions/judge.ts";
import { EXCEPTION_REASONS } from "../exceptions/kind.ts";
import { type KubeObject, namespacedName } from "../kube/api.ts";
import { readyOf } from "../kube/conditions.ts";
import type { AcceptableFinding } from "../model/acceptance.ts";
import { errorMessage } from "../model/error_message.ts";
import { isObject } from "../model/json.ts";
import { DAY_MS, formatTime, parseTime } from "../model/time.ts";
import { checkedException, exceptionObject } from "../read/accept.ts";
import { resourceNameOf } from "../read/row.ts";
import { compareWorst, noCounts } from "./lists.ts";
import type { ExceptionDraft, ExceptionMatch, ExceptionPreview, ExceptionRow } from "./protocol.ts";
import { type KeptRow, type KeptRows, phaseOf, toFindingRow } from "./rows.ts";

/** More of them are not kept. */
const MAX_EXCEPTIONS = 10_000;
/** Findings of a preview that are shown. */
const SAMPLE = 20;
/** An exception that ends within this is about to. */
const SOON_MS = 7 * DAY_MS;

/** The exceptions that were listed and watched. */
export class KeptExceptions {
  readonly #objects = new Map<string, KubeObject>();
  #listed: Set<string> | undefined;
  /** False while the kind is not served, or may not be read. */
  served = false;

  beginList(): void {
    this.#listed = new Set();
  }

  endList(): void {
    for (const key of this.#objects.keys()) if (!this.#listed?.has(key)) this.#objects.delete(key);
    this.#listed = undefined;
    this.served = true;
  }

  apply(object: KubeObject): void {
    const key = namespacedName(object);
    this.#listed?.add(key);
    if (this.#objects.has(key) || this.#objects.size < MAX_EXCEPTIONS) this.#objects.set(key, object);
  }

  delete(object: KubeObject): void {
    this.#objects.delete(namespacedName(object));
  }

  clear(): void {
    this.#objects.clear();
    this.served = false;
  }

  /** Namespaces that hold any. */
  namespaces(): string[] {
    return [...new Set(Array.from(this.#objects.values(), ({ metadata }) => metadata.namespace ?? ""))];
  }

  /** All of them, those that end first in front. */
  rows(mayDelete: (namespace: string) => boolean): ExceptionRow[] {
    return Array.from(this.#objects.values(), (object) => toRow(object, mayDelete))
      .sort((one, other) => one.expiresAt < other.expiresAt ? -1 : one.expiresAt > other.expiresAt ? 1 : 0);
  }

  /** How many in force end within a week. */
  expiringSoon(nowMs: number): number {
    return Array.from(this.#objects.values(), ({ spec }) => isObject(spec) ? msOf(spec["expiresAt"]) : 0)
      .filter((ms) => ms > nowMs && ms <= nowMs + SOON_MS).length;
  }
}

/** Reads the body of a request as a draft; throws a `Refusal` that names what is wrong. */
export function draftOf(body: unknown): ExceptionDraft {
  if (!isObject(body)) throw refused("expected a JSON object");
  const { namespace, match, name } = body;
  if (typeof namespace !== "string" || namespace === "") throw refused("at namespace: expected a namespace");
  if (!isObject(match)) throw refused("at match: expected an object");
  if (name !== undefined && typeof name !== "string") throw refused("at name: expected a name");
  return body as unknown as ExceptionDraft;
}

/** What a draft would accept: findings that are open now. Only its match has to be whole. */
export function previewOf(rows: KeptRows, draft: ExceptionDraft, nowMs: number): ExceptionPreview {
  const exception = checked(
    {
      ...draft,
      reason: EXCEPTION_REASONS[0],
      justification: "a preview",
      expiresAt: formatTime(nowMs + DAY_MS),
    },
    nowMs,
  ).document;
  const index = new ExceptionIndex();
  index.add(exception);
  const covered: KeptRow[] = [];
  const counts = noCounts();
  for (const row of rows.all()) {
    if (row.type !== "finding" || row.namespace !== draft.namespace || phaseOf(row, nowMs) !== "Active") {
      continue;
    }
    if (!index.judge(acceptable(row), draft.namespace)) continue;
    covered.push(row);
    counts[row.severity]++;
  }
  const sample = covered.sort(compareWorst).slice(0, SAMPLE).map((row) => toFindingRow(row, nowMs));
  return { total: covered.length, counts, sample };
}

/** The object that a draft becomes. Throws a `Refusal` for each of its mistakes, as the controller would see them. */
export function draftObject(draft: ExceptionDraft, nowMs: number): KubeObject {
  const { document, object } = checked(draft, nowMs);
  if (document.expiresAt <= nowMs) throw refused("at expiresAt: expected a time to come");
  return object;
}

function checked(draft: ExceptionDraft, nowMs: number): { document: ExceptionDocument; object: KubeObject } {
  const { name, ticket, acceptedBy, ...decision } = draft;
  const object = exceptionObject({
    ...decision as Parameters<typeof exceptionObject>[0],
    name: name || undefined,
    ticket: ticket || undefined,
    acceptedBy: acceptedBy || undefined,
  });
  try {
    // How long it may be is the controller's setting; its admission policy and the condition tell.
    return { document: checkedException(object, { maxDays: Infinity, now: nowMs }), object };
  } catch (error) {
    throw new Refusal(400, errorMessage(error));
  }
}

function acceptable(row: KeptRow): AcceptableFinding {
  return {
    source: row.source,
    severity: row.severity,
    belongsTo: row.namespace,
    rule: row.rule,
    workload: row.workload,
    resource: row.kind === "" || row.resource === "" ? "" : resourceNameOf(row),
    isFixKnown: row.isFixKnown,
  };
}

function toRow(object: KubeObject, mayDelete: (namespace: string) => boolean): ExceptionRow {
  const { metadata, spec, status } = object;
  const given = isObject(spec) ? spec : {};
  const state = isObject(status) ? status : {};
  const ready = readyOf(object) ?? {};
  const { namespace = "", name = "", creationTimestamp = "" } = metadata;
  return {
    namespace,
    name,
    reason: textOf(given["reason"]),
    justification: textOf(given["justification"]),
    ticket: textOf(given["ticket"]),
    acceptedBy: textOf(given["acceptedBy"]),
    expiresAt: textOf(given["expiresAt"]),
    createdAt: creationTimestamp,
    ready: textOf(ready["status"]) || "Unknown",
    readyMessage: textOf(ready["message"]),
    matched: typeof state["matched"] === "number" ? state["matched"] : 0,
    match: matchOf(given["match"]),
    onlyWhileNoFix: given["onlyWhileNoFix"] === true,
    mayDelete: mayDelete(namespace),
  };
}

function matchOf(match: unknown): ExceptionMatch {
  if (!isObject(match)) return {};
  const texts = (key: string) => {
    const list = match[key];
    const values = Array.isArray(list) ? list.filter((value) => typeof value === "string") : [];
    return values.length === 0 ? {} : { [key]: values };
  };
  const resources = (Array.isArray(match["resources"]) ? match["resources"] : []).filter(isObject)
    .map(({ kind, name }) => ({ kind: textOf(kind), name: textOf(name) }));
  return {
    ...texts("rules"),
    ...texts("workloads"),
    ...texts("sources"),
    ...texts("severities"),
    ...(resources.length > 0 && { resources }),
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function msOf(value: unknown): number {
  return parseTime(textOf(value))?.ms ?? 0;
}

function refused(why: string): Refusal {
  return new Refusal(400, `Cannot accept these findings: ${why}`);
}
