/** The rules that decide which Kubernetes audit events matter, in their order. */
import type { DrawContext, DrawnEvent } from "../../model/event.ts";
import { GROUP } from "../../model/observation.ts";
import { at, type Field, list } from "../../model/json.ts";
import { type AuditRequest, isSession } from "./request.ts";

/** The decision of the rules about an audit event. */
export interface AuditVerdict {
  readonly eventType: string;
  readonly severity: "HIGH" | "MEDIUM" | "LOW";
  readonly drop?: NonNullable<DrawnEvent["drop"]>;
  /** Set on a deletion whose query asks for a dry run: its body, which is not recorded, can override the query. */
  readonly mayBeDryRun?: true;
}

const WRITES: ReadonlySet<string> = new Set(["create", "update", "patch", "delete", "deletecollection"]);
const DELETIONS: ReadonlySet<string> = new Set(["delete", "deletecollection"]);
const RBAC_GROUP = "rbac.authorization.k8s.io";
const RBAC: ReadonlySet<string> = new Set(["roles", "clusterroles", "rolebindings", "clusterrolebindings"]);
const EXCEPTIONS: ReadonlySet<string> = new Set(["observationexceptions", "observationfilters"]);
/** Subresources without dry run. */
const ALWAYS_REAL: ReadonlySet<string> = new Set(["exec", "attach", "portforward", "proxy"]);
/**
 * Users of the control plane, whose requests an API server refuses until it has loaded RBAC. With
 * `--use-service-account-credentials` each controller of kube-controller-manager is a ServiceAccount of kube-system.
 */
const CONTROL_PLANE = /^(?:system:apiserver$|system:kube-|system:node:|system:serviceaccount:kube-system:)/;
const IRRELEVANT: AuditVerdict = { eventType: "audit-event", severity: "LOW", drop: "not_relevant" };

interface Rule {
  readonly eventType: string;
  readonly severity: AuditVerdict["severity"];
  readonly applies: (request: AuditRequest) => boolean;
}

const RULES: readonly Rule[] = [
  { eventType: "exception-change", severity: "MEDIUM", applies: changesExceptions },
  { eventType: "rbac-change", severity: "HIGH", applies: changesRbac },
  {
    eventType: "privileged-pod-creation",
    severity: "HIGH",
    applies: (request) => privilegedContainers(request).length > 0,
  },
  { eventType: "pod-exec", severity: "HIGH", applies: isSession },
  { eventType: "secret-access", severity: "HIGH", applies: writesSecret },
  { eventType: "resource-deletion", severity: "HIGH", applies: ({ verb }) => DELETIONS.has(verb) },
];

/** Every event type an audit event can have. */
export const AUDIT_EVENT_TYPES: readonly string[] = ["access-denied", ...RULES.map((rule) => rule.eventType)];

/**
 * True if the request can be judged at this stage. A session over WebSocket ends hours later, and a request
 * without a valid login has no later stage: both are judged at ResponseStarted.
 */
export function isDecisiveStage(request: AuditRequest): boolean {
  if (request.stage === "ResponseComplete" || request.stage === "Panic") return true;
  return request.stage === "ResponseStarted" && (isSession(request) || request.code === 401);
}

/** Judges one request. */
export function judgeRequest(request: AuditRequest, context: DrawContext): AuditVerdict {
  const { code, verb } = request;
  if (isOwn(request, context)) return { ...IRRELEVANT, drop: "own_request" };
  if (isDenied(request)) return judgeDenied(request, context);
  if (code >= 400 || isDryRun(request)) return IRRELEVANT;
  const rule = RULES.find((candidate) => candidate.applies(request));
  if (!rule) return IRRELEVANT;
  const mayBeDryRun = DELETIONS.has(verb) && asksForDryRun(request);
  return { eventType: rule.eventType, severity: rule.severity, ...(mayBeDryRun && { mayBeDryRun }) };
}

/** True for a request of zen-watcher itself. `ownUser` is "" while unknown; no user has that name. With impersonation it is someone with a stolen token. */
function isOwn(request: AuditRequest, { ownUser, isOwnRequest }: DrawContext): boolean {
  return ownUser !== "" && request.user === ownUser && !request.impersonates && isOwnRequest(request);
}

/** True if the request was refused for lack of a login or of rights. What admission or a quota refuses is not included. */
function isDenied({ code, decision }: AuditRequest): boolean {
  return code === 401 || (code === 403 && decision !== "allow");
}

function judgeDenied(request: AuditRequest, { isApiServerStarting }: DrawContext): AuditVerdict {
  const denied: AuditVerdict = { eventType: "access-denied", severity: "MEDIUM" };
  const isExpected = CONTROL_PLANE.test(request.user) && !request.impersonates &&
    isApiServerStarting(Date.parse(request.stageTimestamp));
  return isExpected ? { ...denied, drop: "api_server_starting" } : denied;
}

/** True for a dry run. For a deletion the query does not count, because the options in its body override it. */
function isDryRun(request: AuditRequest): boolean {
  if (ALWAYS_REAL.has(request.subresource)) return false;
  if (DELETIONS.has(request.verb)) return list(at(request.requestObject, "dryRun")).includes("All");
  return WRITES.has(request.verb) && asksForDryRun(request);
}

function asksForDryRun({ query }: AuditRequest): boolean {
  return query.getAll("dryRun").includes("All");
}

function changesExceptions({ group, resource, subresource, verb }: AuditRequest): boolean {
  return group === GROUP && EXCEPTIONS.has(resource) && subresource === "" && WRITES.has(verb);
}

function changesRbac({ group, resource, verb }: AuditRequest): boolean {
  return group === RBAC_GROUP && RBAC.has(resource) && WRITES.has(verb);
}

function writesSecret({ group, resource, verb }: AuditRequest): boolean {
  return (resource === "secrets" || resource === "configmaps") && group === "" && WRITES.has(verb);
}

/** The privileged containers that a request adds to a Pod. */
export function privilegedContainers(request: AuditRequest): readonly Field[] {
  const { group, resource, subresource, verb, requestObject, responseObject } = request;
  if (group !== "" || resource !== "pods") return [];
  if (subresource === "" && verb === "create") {
    const requested = containersOf(requestObject).filter(isPrivileged);
    return requested.length > 0 ? requested : containersOf(responseObject).filter(isPrivileged);
  }
  const adds = subresource === "ephemeralcontainers" && WRITES.has(verb);
  return adds ? addedContainers(requestObject, responseObject).filter(isPrivileged) : [];
}

/** The containers that the request adds. The answer holds the whole Pod, whose other containers were judged before. */
function addedContainers(requestObject: Field, responseObject: Field): readonly Field[] {
  if (requestObject === undefined) return list(at(responseObject, "spec", "ephemeralContainers"));
  if (Array.isArray(requestObject)) {
    return requestObject.flatMap((step) => patchedContainers(at(step, "value")));
  }
  return list(at(requestObject, "spec", "ephemeralContainers"));
}

/** The value of a JSON patch step: a container, a list of them, or a spec. */
function patchedContainers(value: Field): readonly Field[] {
  return Array.isArray(value) ? value : [value, ...list(at(value, "ephemeralContainers"))];
}

function containersOf(pod: Field): readonly Field[] {
  const spec = at(pod, "spec");
  return ["containers", "initContainers", "ephemeralContainers"].flatMap((kind) => list(at(spec, kind)));
}

function isPrivileged(container: Field): boolean {
  return at(container, "securityContext", "privileged") === true;
}
