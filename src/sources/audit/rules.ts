/** The rules that decide which Kubernetes audit events matter, in their order. */
import type { FilterReason } from "../../model/outcome.ts";
import { isObject, type Json } from "../../model/json.ts";
import { GROUP } from "../../model/observation.ts";
import { at, type Field, list, number, shapeOf, text, textAt } from "../read.ts";

/** An audit event with its absent parts made empty. Bodies are read, never stored. */
export interface AuditEvent {
  readonly auditID: string;
  readonly stage: string;
  readonly verb: string;
  readonly user: string;
  /** 0 where no answer is recorded. */
  readonly code: number;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly requestObject: Field;
  readonly responseObject: Field;
}

/** What the rules decide about an audit event. */
export interface Verdict {
  readonly eventType: string;
  readonly severity: "HIGH" | "MEDIUM" | "LOW";
  readonly drop?: Extract<FilterReason, "not_relevant" | "own_write">;
}

const SESSIONS: ReadonlySet<string> = new Set(["exec", "attach", "portforward"]);
const WRITES: ReadonlySet<string> = new Set(["create", "update", "patch", "delete", "deletecollection"]);
const DELETIONS: ReadonlySet<string> = new Set(["delete", "deletecollection"]);
const RBAC_GROUP = "rbac.authorization.k8s.io";
const RBAC: ReadonlySet<string> = new Set(["roles", "clusterroles", "rolebindings", "clusterrolebindings"]);
const IRRELEVANT: Verdict = { eventType: "audit-event", severity: "LOW", drop: "not_relevant" };

interface Rule {
  readonly eventType: string;
  readonly applies: (event: AuditEvent) => boolean;
}

const RULES: readonly Rule[] = [
  { eventType: "rbac-change", applies: changesRbac },
  { eventType: "privileged-pod-creation", applies: createsPrivilegedPod },
  { eventType: "pod-exec", applies: opensSession },
  { eventType: "secret-access", applies: writesSecret },
  { eventType: "resource-deletion", applies: (event) => DELETIONS.has(event.verb) },
];

/** Every event type an audit event can have. */
export const AUDIT_EVENT_TYPES: readonly string[] = ["access-denied", ...RULES.map((rule) => rule.eventType)];

/** The parts of an audit event the rules read. */
export function readAuditEvent(item: Json): AuditEvent {
  return {
    auditID: textAt(item, "auditID"),
    stage: textAt(item, "stage"),
    verb: textAt(item, "verb"),
    user: textAt(item, "user", "username"),
    code: number(at(item, "responseStatus", "code")) ?? 0,
    group: textAt(item, "objectRef", "apiGroup"),
    resource: textAt(item, "objectRef", "resource"),
    subresource: textAt(item, "objectRef", "subresource"),
    requestObject: at(item, "requestObject"),
    responseObject: at(item, "responseObject"),
  };
}

/**
 * True where the stage settles the request. A session over WebSocket ends hours later, and a request
 * without a valid login has no later stage: both are judged at ResponseStarted.
 */
export function isDecisiveStage(event: AuditEvent): boolean {
  if (event.stage === "ResponseComplete" || event.stage === "Panic") return true;
  return event.stage === "ResponseStarted" && (opensSession(event) || event.code === 401);
}

/** Judges one event. `ownUser` is "" while unknown: no user has that name. */
export function judge(event: AuditEvent, ownUser: string): Verdict {
  if (isOwnWrite(event, ownUser)) return { ...IRRELEVANT, drop: "own_write" };
  if (event.code === 401 || event.code === 403) return { eventType: "access-denied", severity: "MEDIUM" };
  if (event.code >= 400) return IRRELEVANT;
  const rule = RULES.find((candidate) => candidate.applies(event));
  return rule ? { eventType: rule.eventType, severity: "HIGH" } : IRRELEVANT;
}

function isOwnWrite(event: AuditEvent, ownUser: string): boolean {
  if (ownUser === "" || event.user !== ownUser) return false;
  return event.group === GROUP || event.resource === "leases" || event.resource === "events";
}

function changesRbac(event: AuditEvent): boolean {
  return event.group === RBAC_GROUP && RBAC.has(event.resource) && WRITES.has(event.verb);
}

function opensSession(event: AuditEvent): boolean {
  return event.group === "" && event.resource === "pods" && SESSIONS.has(event.subresource);
}

function writesSecret(event: AuditEvent): boolean {
  const kept = event.resource === "secrets" || event.resource === "configmaps";
  return kept && event.group === "" && WRITES.has(event.verb);
}

function createsPrivilegedPod(event: AuditEvent): boolean {
  if (event.group !== "" || event.resource !== "pods") return false;
  if (event.subresource === "" && event.verb === "create") {
    return hasPrivilegedContainer(event.requestObject) || hasPrivilegedContainer(event.responseObject);
  }
  return event.subresource === "ephemeralcontainers" && WRITES.has(event.verb) && addsPrivileged(event);
}

/** The request says what is added; the answer repeats the whole Pod, whose other containers were judged before. */
function addsPrivileged({ requestObject, responseObject }: AuditEvent): boolean {
  if (requestObject === undefined) {
    return list(at(responseObject, "spec", "ephemeralContainers")).some(isPrivileged);
  }
  if (Array.isArray(requestObject)) return requestObject.some((step) => holdsPrivileged(at(step, "value")));
  return list(at(requestObject, "spec", "ephemeralContainers")).some(isPrivileged);
}

/** The value of a JSON patch step: a container, a list of them, or a spec. */
function holdsPrivileged(value: Field): boolean {
  if (Array.isArray(value)) return value.some(isPrivileged);
  return isPrivileged(value) || list(at(value, "ephemeralContainers")).some(isPrivileged);
}

function hasPrivilegedContainer(pod: Field): boolean {
  const spec = at(pod, "spec");
  return ["containers", "initContainers", "ephemeralContainers"].some((kind) =>
    list(at(spec, kind)).some(isPrivileged)
  );
}

function isPrivileged(container: Field): boolean {
  return at(container, "securityContext", "privileged") === true;
}

/** Why `item` is no audit event, or undefined where it is one. */
export function shapeProblem(item: Json): string | undefined {
  if (!isObject(item)) return `expected an audit event, received ${shapeOf(item)}`;
  const kind = at(item, "kind");
  if (kind !== undefined && kind !== "Event") {
    return `expected kind Event or EventList, received ${text(kind) || shapeOf(kind)}`;
  }
  const version = textAt(item, "apiVersion");
  if (version !== "" && !version.startsWith("audit.k8s.io/")) {
    return `expected apiVersion audit.k8s.io, received ${version}`;
  }
  return undefined;
}
