/** Kubernetes audit events, as kube-apiserver's webhook backend posts them. */
import type { DrawContext, Drawn, DrawnEvent } from "../../model/event.ts";
import {
  at,
  type Field,
  firstText,
  type Json,
  type JsonObject,
  list,
  shapeOf,
  text,
  textAt,
  texts,
  withoutEmpty,
} from "../../model/json.ts";
import type { Resource } from "../../model/observation.ts";
import { cleanText } from "../../text/clean.ts";
import { choice } from "../../text/setting.ts";
import { type Source, unread } from "../source.ts";
import { resourceOf } from "../objects.ts";
import { builtInResource, IDENTITY_FIELDS, identityOf, isUnauthenticated } from "./identity.ts";
import {
  type AuditRequest,
  type AuditSession,
  isSession,
  MAX_COMMAND,
  readRequest,
  sessionOf,
  shapeProblem,
} from "./request.ts";
import {
  AUDIT_EVENT_TYPES,
  type AuditVerdict,
  isDecisiveStage,
  judgeRequest,
  privilegedContainers,
} from "./rules.ts";

/** How much of a command that is run in a container is shown. */
const AUDIT_COMMANDS = choice(
  "AUDIT_COMMANDS",
  "full",
  ["full", "program"],
  "What an Observation of kubectl exec shows of the command: all of it, masked, or the program's name alone",
);

/** Requests to the API server that matter for security, from its audit log. */
export const audit: Source = {
  name: "audit",
  kind: "occurrence",
  summary: "Kubernetes audit events, pushed by the API server's webhook backend",
  eventTypes: Object.fromEntries(
    AUDIT_EVENT_TYPES.map((eventType) => [eventType, { category: "compliance", identity: IDENTITY_FIELDS }]),
  ),
  settings: [AUDIT_COMMANDS],
  neverDroppedByTenants: true,
  volatile: [
    "the stage and its time",
    "the Audit-ID and the time, for acts of programs and refusals",
    "addresses that the client claims: all but the last of `sourceIPs`",
    "generated parts of the names of Pods, ReplicaSets and Jobs, for acts of programs",
  ],
  feeds: [{ type: "post", path: "/audit/webhook", waiting: 200 }],
  lists: "items",
  ownWindows: true,
  *draw({ body, path }, context): Iterable<Drawn> {
    // An element of a posted array is not split again.
    if (!Array.isArray(body) || path !== undefined) {
      yield* drawBody(body, { path: "", context });
      return;
    }
    // Documents one after another arrive as an array.
    for (const [index, document] of body.entries()) {
      yield* drawBody(document, { path: `[${index}]`, context });
    }
  },
};

interface Place {
  readonly path: string;
  readonly context: DrawContext;
}

function* drawBody(body: Json, { path, context }: Place): Iterable<Drawn> {
  const items = at(body, "items");
  if (items === undefined && at(body, "kind") !== "EventList") {
    yield* drawItem(body, { path, context });
    return;
  }
  const listPath = path === "" ? "items" : `${path}.items`;
  if (!Array.isArray(items)) {
    yield unread("wrong_shape", listPath, `expected an array of audit events, received ${shapeOf(items)}`);
    return;
  }
  for (const [index, item] of items.entries()) {
    yield* drawItem(item, { path: `${listPath}[${index}]`, context });
  }
}

function* drawItem(item: Json, { path, context }: Place): Iterable<Drawn> {
  const problem = shapeProblem(item);
  if (problem !== undefined) {
    yield unread("wrong_shape", path, problem);
    return;
  }
  const request = readRequest(item);
  for (const field of ["auditID", "stage"] as const) {
    if (request[field] !== "") continue;
    yield unread(
      "missing_field",
      path === "" ? field : `${path}.${field}`,
      `an audit event needs its ${field}`,
    );
    return;
  }
  if (isDecisiveStage(request)) yield { event: toEvent(item, { request, context }) };
}

interface Judging {
  readonly request: AuditRequest;
  readonly context: DrawContext;
}

function toEvent(item: Json, { request, context }: Judging): DrawnEvent {
  const verdict = judgeRequest(request, context);
  const resource = affected(item, request);
  const detectedAt = firstText(request.receivedTimestamp, request.stageTimestamp);
  const containers = privilegedContainers(request);
  const act: Act = {
    item,
    request,
    verdict,
    resource,
    session: sessionOf(request, { shown: context.setting(AUDIT_COMMANDS) }),
    containers: wordsOf(containers, "name"),
    images: wordsOf(containers, "image"),
    workload: containers.length === 0 ? "" : workloadOfPod(request),
  };
  return {
    category: "compliance",
    severity: verdict.severity,
    eventType: verdict.eventType,
    message: sentence(act),
    rules: [verdict.eventType],
    ...(resource ? { resource } : {}),
    details: detailsOf(act),
    prose: NAMES,
    ...(detectedAt !== "" ? { detectedAt } : {}),
    ...identityOf({ ...act, ...verdict }),
    // Another replica, or this one before a restart, may have counted the session at its first stage.
    ...(isSession(request) && request.stage !== "ResponseStarted" && { isLaterStage: true }),
    ...(verdict.drop ? { drop: verdict.drop } : {}),
  };
}

function wordsOf(containers: readonly Field[], key: "name" | "image"): readonly string[] {
  return [...new Set(containers.map((container) => textAt(container, key)))].filter((word) => word !== "");
}

/** Details that hold only names and words of Kubernetes. The client chooses the text of the user agent and the URI. */
const NAMES = [
  "stage",
  "level",
  "verb",
  "user",
  "groups",
  "impersonatedUser",
  "impersonatedGroups",
  "reason",
  "subresource",
  "workload",
  "containers",
  "images",
  "decision",
  "decisionReason",
];

/** A request with the facts that its message and details show. */
interface Act {
  readonly item: Json;
  readonly request: AuditRequest;
  readonly verdict: AuditVerdict;
  readonly resource: Resource | undefined;
  readonly session: AuditSession;
  /** The names and images of privileged containers, and the workload of their Pod. */
  readonly containers: readonly string[];
  readonly images: readonly string[];
  readonly workload: string;
}

/**
 * The object of the request. If the server generated its name (`generateName`), only the answer has it. For a client
 * without a login only a built-in kind is used, because it can name any object, and a flood should be one Observation.
 */
function affected(item: Json, request: AuditRequest): Resource | undefined {
  const { group, resource, verb, code, namespace, responseObject } = request;
  if (resource === "") return undefined;
  if (isUnauthenticated(request) && code >= 400) return builtInResource(request);
  const version = textAt(item, "objectRef", "apiVersion");
  const apiVersion = group !== "" && version !== "" ? `${group}/${version}` : version;
  const made = verb === "create" && code < 400 ? textAt(responseObject, "metadata", "name") : "";
  // The reference of a Namespace has its name also as namespace, although it is cluster-scoped.
  const isNamespace = group === "" && resource === "namespaces";
  return resourceOf({
    plural: resource,
    name: firstText(request.name, made),
    namespace: isNamespace ? "" : namespace,
    apiVersion,
  });
}

/** `ReplicaSet/web-5d4f8c7b9d`, or what the Pod's name is generated from. */
function workloadOfPod({ requestObject, responseObject }: AuditRequest): string {
  for (const pod of [requestObject, responseObject]) {
    const owners = list(at(pod, "metadata", "ownerReferences"));
    const owner: Field = owners.find((one) => at(one, "controller") === true) ?? owners[0];
    if (textAt(owner, "name") !== "") return `${textAt(owner, "kind")}/${textAt(owner, "name")}`;
  }
  const prefix = textAt(requestObject, "metadata", "generateName");
  return prefix.endsWith("-") ? prefix.slice(0, -1) : prefix;
}

/** `jane was allowed to delete Secret payments/db (200): RBAC: …`. */
function sentence(act: Act): string {
  const { item, request, verdict } = act;
  const { code, user } = request;
  const acting = textAt(item, "impersonatedUser", "username");
  const isDenied = verdict.eventType === "access-denied";
  const subject = firstText(
    user,
    `a client at ${request.address || "an unknown address"} without a valid login`,
  );
  const could = code === 0 ? "asked to" : isDenied ? "was not allowed to" : "was allowed to";
  const answer = code === 0 ? "" : ` (${code})`;
  const { scope, reason } = isDenied
    ? refusalIn(item, firstText(acting, user))
    : { scope: "", reason: text(at(item, "annotations", "authorization.k8s.io/reason")) };
  const whole = `${subject}${acting === "" ? "" : ` as ${acting}`} ${could} ${deed(act)}${scope}${answer}`;
  return reason === "" ? whole : `${whole}: ${reason}`;
}

const REFUSED =
  /^\S+ (?:resource|path) "[^"]*"(?: in API group "[^"]*")?(?: in the namespace "[^"]*")?( at the cluster scope)?(?:: )?/;

/** Most characters before the authorizer's words: the object that is forbidden. */
const MAX_OBJECT = 1_024;

/** Words that the code says too. */
const NAME_OF_CODE = /^(?:unauthorized|forbidden)$/i;

/** What the authorizer's words add to the sentence: they also say user, verb and object, which the sentence has. */
function refusalIn(item: Json, user: string): { readonly scope: string; readonly reason: string } {
  const said = firstText(textAt(item, "responseStatus", "message"), textAt(item, "responseStatus", "reason"));
  const repeated = `forbidden: User "${user}" cannot `;
  // Searching a long text for a long one costs the product of their lengths.
  const start = user.length > MAX_OBJECT ? -1 : said.slice(0, MAX_OBJECT + repeated.length).indexOf(repeated);
  const words = start < 0 ? "" : said.slice(start + repeated.length);
  const match = REFUSED.exec(words);
  if (match) return { scope: match[1] ?? "", reason: words.slice(match[0].length) };
  return { scope: "", reason: NAME_OF_CODE.test(said) ? "" : said };
}

/** Verb and object, and the command that was run or the containers that are privileged. */
function deed({ request, resource, session, images, containers, workload, verdict }: Act): string {
  const { verb, subresource } = request;
  const which = [resource?.namespace, resource?.name].filter((word) => word !== undefined).join("/");
  if (session.container + session.command + session.ports !== "" || verdict.eventType === "pod-exec") {
    const where = session.container === "" ? "" : `container ${session.container} of `;
    const ran = session.command === "" ? "" : ` "${session.command}"`;
    const ports = session.ports === "" ? "" : ` ports ${session.ports}`;
    const into = subresource === "portforward" ? "forward" : subresource === "attach" ? "attach to" : "run";
    if (into === "run") return `run${ran} in ${where}Pod ${which}`;
    return into === "forward" ? `forward${ports} to Pod ${which}` : `attach to ${where}Pod ${which}`;
  }
  const target = objectOf({ request, resource, which });
  if (verdict.eventType !== "privileged-pod-creation") return `${verb} ${target}`;
  const owner = workload === "" ? "" : ` of ${workload}`;
  const are = containers.length > 1 ? "containers" : "container";
  const names = containers.length === 0 ? "" : ` ${containers.join(", ")}`;
  const from = images.length === 0 ? "" : ` (${images.join(", ")})`;
  return `${verb} ${target}${owner} with privileged ${are}${names}${from}`;
}

/** `Secret shop/db`, `deployments/scale shop/web`, `secrets in shop`, or the path of a request for no object. */
function objectOf(
  { request, resource, which }: Pick<Act, "request" | "resource"> & { which: string },
): string {
  const { resource: plural, subresource, path } = request;
  if (plural === "") return path;
  const what = subresource === "" ? plural : `${plural}/${subresource}`;
  if (resource?.name === undefined) return which === "" ? what : `${what} in ${which}`;
  return `${subresource === "" ? resource.kind : what} ${which}`;
}

function detailsOf({ item, request, verdict, session, containers, images, workload }: Act): JsonObject {
  const isPrivileged = verdict.eventType === "privileged-pod-creation";
  return withoutEmpty({
    auditID: request.auditID,
    stage: request.stage,
    level: textAt(item, "level"),
    verb: request.verb,
    user: request.user,
    groups: [...request.groups],
    impersonatedUser: textAt(item, "impersonatedUser", "username"),
    impersonatedGroups: texts(at(item, "impersonatedUser", "groups")),
    code: request.code === 0 ? null : request.code,
    reason: textAt(item, "responseStatus", "reason"),
    subresource: request.subresource,
    ...session,
    command: cleanText(session.command, MAX_COMMAND),
    ...(isPrivileged && { workload, containers: [...containers], images: [...images] }),
    ...(verdict.mayBeDryRun && { dryRun: "unproven" }),
    requestURI: request.path,
    sourceIPs: [...request.sourceIPs],
    userAgent: textAt(item, "userAgent"),
    decision: request.decision,
    decisionReason: text(at(item, "annotations", "authorization.k8s.io/reason")),
    ...((request.hasMoreIPs || session.command.length > MAX_COMMAND) && { truncated: true }),
  });
}
