/** The rules that decide which Kubernetes audit events matter, in their order. */
import type { DrawContext, DrawnEvent } from "../../model/event.ts";
import { GROUP } from "../../model/observation.ts";
import { at, type Field, list, textAt } from "../../model/json.ts";
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
  return query.dryRun.includes("All");
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

/** Most privileged containers that one request shows. */
const MAX_PRIVILEGED = 1_000;

/**
 * The privileged containers that a request adds to a Pod, each once. One that the request does not show to be privileged
 * (a patch copies the flag, admission sets it) is known from the answer alone.
 */
export function privilegedContainers(request: AuditRequest): readonly Field[] {
  const { group, resource, subresource, verb, code, requestObject, responseObject } = request;
  if (group !== "" || resource !== "pods") return [];
  // Server-side apply creates a Pod by a patch.
  if (subresource === "" && (verb === "create" || code === 201)) {
    return byName([...containersOf(requestObject), ...containersOf(responseObject)]);
  }
  const adds = subresource === "ephemeralcontainers" && WRITES.has(verb);
  return adds ? addedPrivileged(stepsOf(requestObject), responseObject) : [];
}

/** A step of a JSON patch, without those that change nothing; any other body is one step that sets the whole Pod. */
interface Step {
  readonly path: string;
  /** Undefined if the step copies or moves what the Pod has. */
  readonly value: Field;
}

/** The API server takes no longer patch. */
const MAX_PATCH_STEPS = 10_000;

function stepsOf(requestObject: Field): readonly Step[] | undefined {
  if (requestObject === undefined) return undefined;
  if (!Array.isArray(requestObject)) return [{ path: "", value: requestObject }];
  return requestObject.slice(0, MAX_PATCH_STEPS).filter((step) =>
    !["test", "remove"].includes(textAt(step, "op"))
  ).map((step) => {
    const copies = ["copy", "move"].includes(textAt(step, "op"));
    const path = textAt(step, "path");
    // The API server does not read what is before the first slash.
    return { path: path.slice(path.indexOf("/")), value: copies ? undefined : at(step, "value") };
  });
}

/** Paths at which a step can make an ephemeral container privileged, and those of its name and image. */
const CONTAINER_PATH =
  /^(?:\/spec(?:\/ephemeralContainers(?:\/[^/]*(?:\/(?:name|image|securityContext(?:\/privileged)?))?)?)?)?$/;
const NAMING_PATH = /\/(?:name|image)$/;

/**
 * The ephemeral containers that the steps add, and that are privileged. The answer holds those of the whole Pod: those
 * that the steps do not name were judged before. If a step without a name (`…/0/securityContext`) sets the flag, or copies
 * what no answer shows, it may be that of any container that the steps name.
 */
function addedPrivileged(steps: readonly Step[] | undefined, responseObject: Field): readonly Field[] {
  const answer = list(at(responseObject, "spec", "ephemeralContainers"));
  const relevant = (steps ?? []).filter(({ path }) => CONTAINER_PATH.test(path));
  const added = relevant.flatMap(containersIn);
  const names = new Set(added.map((container) => textAt(container, "name")));
  const copied = relevant.filter(({ value }) => value === undefined);
  const isTouched = (container: Field) => !steps || copied.length > 0 || names.has(textAt(container, "name"));
  const privileged = byName([...added, ...answer.filter(isTouched)]);
  const named = privileged.filter(hasName);
  if (named.length > 0) return named;
  const isUnknown = answer.length === 0 && copied.some(({ path }) => !NAMING_PATH.test(path));
  if (privileged.length === 0 && !isUnknown) return [];
  const candidates = byName(added.filter(hasName), hasName);
  return candidates.length > 0 ? candidates : [{}];
}

/** The containers, or parts of one, that a step sets. */
function containersIn({ path, value }: Step): readonly Field[] {
  const [, spec, kind, index, key, flag] = path.split("/");
  if (flag !== undefined) return [{ securityContext: { privileged: value ?? null } }];
  if (key !== undefined) return [{ [key]: value ?? null }];
  if (index !== undefined) return [value];
  if (kind !== undefined) return list(value);
  return list(
    spec === undefined ? at(value, "spec", "ephemeralContainers") : at(value, "ephemeralContainers"),
  );
}

/** The first chosen container of each name. */
function byName(containers: readonly Field[], isChosen = isPrivileged): readonly Field[] {
  const named = new Map<string, Field>();
  for (const container of containers) {
    if (named.size === MAX_PRIVILEGED) break;
    if (!isChosen(container)) continue;
    const name = textAt(container, "name");
    if (!named.has(name)) named.set(name, container);
  }
  return [...named.values()];
}

function containersOf(pod: Field): readonly Field[] {
  const spec = at(pod, "spec");
  return ["containers", "initContainers", "ephemeralContainers"].flatMap((kind) => list(at(spec, kind)));
}

function hasName(container: Field): boolean {
  return textAt(container, "name") !== "";
}

function isPrivileged(container: Field): boolean {
  return at(container, "securityContext", "privileged") === true;
}
