/** Kubernetes audit events, as kube-apiserver's webhook backend posts them. */
import type { DrawContext, Drawn, DrawnEvent } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import type { Resource } from "../../model/observation.ts";
import {
  AUDIT_EVENT_TYPES,
  type AuditEvent,
  isDecisiveStage,
  judge,
  readAuditEvent,
  shapeProblem,
  type Verdict,
} from "./rules.ts";
import { resourceOf } from "../resources.ts";
import { at, firstText, shapeOf, text, textAt, texts, unread, withoutEmpty } from "../read.ts";
import type { Source } from "../source.ts";

/** Requests to the API server that matter for security, from its audit log. */
export const audit: Source = {
  name: "audit",
  kind: "occurrence",
  summary: "Kubernetes audit events, pushed by the API server's webhook backend",
  eventTypes: Object.fromEntries(
    AUDIT_EVENT_TYPES.map((eventType) => [eventType, { category: "compliance", identity: ["auditID"] }]),
  ),
  feeds: [{ type: "post", path: "/audit/webhook", waiting: 200 }],
  lists: "items",
  ownWindows: true,
  *draw({ body }, context): Iterable<Drawn> {
    if (!Array.isArray(body)) {
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
  const event = readAuditEvent(item);
  for (const field of ["auditID", "stage"] as const) {
    if (event[field] !== "") continue;
    yield unread(
      "missing_field",
      path === "" ? field : `${path}.${field}`,
      `an audit event needs its ${field}`,
    );
    return;
  }
  if (isDecisiveStage(event)) {
    yield { event: toEvent(item, { event, verdict: judge(event, context.ownUser) }) };
  }
}

interface Judged {
  readonly event: AuditEvent;
  readonly verdict: Verdict;
}

function toEvent(item: Json, { event, verdict }: Judged): DrawnEvent {
  const resource = affected(item, event);
  const detectedAt = firstText(textAt(item, "requestReceivedTimestamp"), textAt(item, "stageTimestamp"));
  return {
    category: "compliance",
    severity: verdict.severity,
    eventType: verdict.eventType,
    message: sentence(item, { event, resource }),
    rules: [verdict.eventType],
    ...(resource ? { resource } : {}),
    details: detailsOf(item, event),
    ...(detectedAt !== "" ? { detectedAt } : {}),
    identity: { auditID: event.auditID },
    // The window of the event is the life of its Observation: a request that is sent again, however late, is a repeat.
    windowMs: Infinity,
    ...(verdict.drop ? { drop: verdict.drop } : {}),
  };
}

/** The object of the request; its name is only in the answer where the server made it up (`generateName`). */
function affected(item: Json, event: AuditEvent): Resource | undefined {
  if (event.resource === "") return undefined;
  const version = textAt(item, "objectRef", "apiVersion");
  const name = firstText(
    textAt(item, "objectRef", "name"),
    event.verb === "create" && event.code < 400 ? textAt(item, "responseObject", "metadata", "name") : "",
  );
  // The reference of a Namespace names the namespace twice; it is cluster-scoped.
  const isNamespace = event.group === "" && event.resource === "namespaces";
  return resourceOf({
    plural: event.resource,
    name,
    namespace: isNamespace ? "" : textAt(item, "objectRef", "namespace"),
    apiVersion: event.group !== "" && version !== "" ? `${event.group}/${version}` : version,
  });
}

interface Spoken {
  readonly event: AuditEvent;
  readonly resource: Resource | undefined;
}

/** `jane delete secrets payments/db (200)`. */
function sentence(item: Json, { event, resource }: Spoken): string {
  const subject = firstText(event.user, "an unauthenticated client");
  const acting = textAt(item, "impersonatedUser", "username");
  const what = [event.resource, event.subresource].filter((word) => word !== "").join("/");
  const which = [resource?.namespace, resource?.name].filter((word) => word !== undefined).join("/");
  const target = what === "" ? pathOf(textAt(item, "requestURI")) : `${what} ${which}`.trim();
  const answer = event.code === 0 ? "" : ` (${event.code})`;
  return `${subject}${acting === "" ? "" : ` as ${acting}`} ${event.verb} ${target}${answer}`;
}

/** The path without the query, which holds commands and tokens. */
function pathOf(uri: string): string {
  return uri.split("?", 1)[0] ?? "";
}

function detailsOf(item: Json, event: AuditEvent): JsonObject {
  return withoutEmpty({
    auditID: event.auditID,
    stage: event.stage,
    level: textAt(item, "level"),
    verb: event.verb,
    user: event.user,
    groups: texts(at(item, "user", "groups")),
    impersonatedUser: textAt(item, "impersonatedUser", "username"),
    impersonatedGroups: texts(at(item, "impersonatedUser", "groups")),
    code: event.code === 0 ? null : event.code,
    reason: textAt(item, "responseStatus", "reason"),
    subresource: event.subresource,
    requestURI: pathOf(textAt(item, "requestURI")),
    sourceIPs: texts(at(item, "sourceIPs")),
    userAgent: textAt(item, "userAgent"),
    decision: text(at(item, "annotations", "authorization.k8s.io/decision")),
    decisionReason: text(at(item, "annotations", "authorization.k8s.io/reason")),
  });
}
