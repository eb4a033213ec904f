/** Which audit events are one act: a request by its key, or the repeats of a program or of refusals. */
import type { DrawnEvent } from "../../model/event.ts";
import { sha256, workloadOf } from "../../model/identity.ts";
import { type JsonObject, withoutEmpty } from "../../model/json.ts";
import type { Resource } from "../../model/observation.ts";
import { resourceOf } from "../objects.ts";
import { type AuditRequest, isProgram, MAX_COMMAND, sessionOf } from "./request.ts";

/** Acts are counted in one Observation as long as each follows the one before within this time. */
const REPEAT_WINDOW_MS = 3_600_000;
/** Kinds whose names Kubernetes generates. */
const GENERATED: ReadonlySet<string> = new Set(["Pod", "ReplicaSet", "Job"]);

/** The fields of the fingerprint, for the reference page: those of one request, of a refusal, of a program's act. */
export const IDENTITY_FIELDS: readonly string[] = ["request", "refused", "act"];

/** The fields that distinguish one act from another. */
export interface Act {
  readonly request: AuditRequest;
  readonly eventType: string;
  readonly resource: Resource | undefined;
  readonly images: readonly string[];
  /** See `AuditVerdict`. */
  readonly mayBeDryRun?: true;
}

/**
 * The identity of an act and its window. The key of a request holds the Audit-ID, which a client can choose, and the time
 * at which the API server received the request, which it cannot. A request is a repeat as long as its Observation is stored.
 */
export function identityOf(act: Act): Pick<DrawnEvent, "identity" | "windowMs" | "request"> {
  const request = requestKey(act.request);
  const isRefusal = act.eventType === "access-denied";
  if (!isRefusal && !isProgram(act.request)) return { identity: { request }, windowMs: Infinity };
  const identity: JsonObject = isRefusal ? { refused: refusalOf(act) } : { act: actOf(act) };
  // The request is not part of the identity. Its key is kept so that a request that is sent again is not counted twice.
  return { identity, windowMs: REPEAT_WINDOW_MS, request };
}

/** True if the API server knows no user: anyone who can reach it can send such requests. */
export function isUnauthenticated({ code, user }: AuditRequest): boolean {
  return code === 401 || user === "" || user === "system:anonymous";
}

/** The key of one request, the same in each of its stages and each time that it is sent again. */
function requestKey({ auditID, receivedTimestamp, user, verb, uri }: AuditRequest): JsonObject {
  return { auditID, requestReceivedTimestamp: receivedTimestamp, user, verb, requestURI: uri };
}

function refusalOf({ request }: Act): JsonObject {
  const { user, verb, namespace, address } = request;
  if (!isUnauthenticated(request)) {
    return withoutEmpty({ user, verb, resource: resourceKey(request), namespace });
  }
  const resource = builtInResource(request) ? resourceKey({ ...request, subresource: "" }) : "";
  return withoutEmpty({ address, resource });
}

/**
 * The kind that a request names, if Kubernetes itself has it. The API server refuses a request without a login before it
 * looks whether there is such a resource, so any other word, and the version, is one that the client made up.
 */
export function builtInResource({ group, resource }: AuditRequest): Resource | undefined {
  const built = resourceOf({ plural: resource });
  const { apiVersion = "" } = built;
  const builtInGroup = apiVersion.split("/").slice(0, -1).join();
  const isBuiltIn = apiVersion !== "" && group === builtInGroup && resource === resource.toLowerCase();
  return isBuiltIn ? built : undefined;
}

function actOf({ request, eventType, resource, images, mayBeDryRun }: Act): JsonObject {
  const { user, verb, namespace, code } = request;
  const name = resource?.kind !== undefined && GENERATED.has(resource.kind)
    ? workloadOf(resource)
    : resource?.name;
  const session = sessionOf(request, { shown: "full" });
  return withoutEmpty({
    user,
    verb,
    resource: resourceKey(request),
    namespace,
    name,
    eventType,
    // An act that is known to have happened is no repeat of one that may not have.
    outcome: code === 0 ? "unknown" : mayBeDryRun ? "unproven" : "",
    ...session,
    // A long command is not shown to its end, but it is another act where its end differs.
    command: session.command.length > MAX_COMMAND ? sha256(session.command) : session.command,
    images: [...images],
  });
}

/** `deployments.apps`, `pods/exec`; "" for a path without an object. */
function resourceKey({ group, resource, subresource }: AuditRequest): string {
  const plural = group === "" ? resource : `${resource}.${group}`;
  return subresource === "" ? plural : `${plural}/${subresource}`;
}
