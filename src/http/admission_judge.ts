/**
 * Who may write what zen-watcher alone may write: the same answers as the chart's ValidatingAdmissionPolicy and its
 * Gatekeeper template, for an AdmissionReview. Pure.
 */
import { latestExpiry } from "../exceptions/document.ts";
import { OBSERVATION_EXCEPTIONS } from "../exceptions/kind.ts";
import { at, isObject, type Json, type JsonObject, list, textAt } from "../model/json.ts";
import { GROUP, LABELS, PLURAL } from "../model/observation.ts";
import { parseTime } from "../model/time.ts";

/** Labels and annotations of ours begin with it. */
const OWN_PREFIX = `${GROUP}/`;

/** The answer to the API server. */
export type Judgement =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly message: string };

/** The part of an AdmissionReview's request that is looked at. */
export interface AdmissionRequest {
  readonly uid: string;
  readonly operation: string;
  readonly username: string;
  readonly group: string;
  readonly resource: string;
  readonly subResource: string;
  readonly object: Json | undefined;
  readonly oldObject: Json | undefined;
}

/** Reads a review; a sentence that says what is wrong where it is none. */
export function readReview(body: unknown): AdmissionRequest | { readonly problem: string } {
  if (!isObject(body) || body.apiVersion !== "admission.k8s.io/v1" || body.kind !== "AdmissionReview") {
    return { problem: "expected an AdmissionReview of admission.k8s.io/v1" };
  }
  const { request } = body;
  if (!isObject(request)) return { problem: "at request: expected an object" };
  const { uid, operation, userInfo, resource, subResource } = request;
  if (typeof uid !== "string" || uid === "") return { problem: "at request.uid: expected text" };
  if (typeof operation !== "string") return { problem: "at request.operation: expected text" };
  if (!isObject(userInfo) || typeof userInfo.username !== "string") {
    return { problem: "at request.userInfo.username: expected text" };
  }
  if (!isObject(resource) || typeof resource.group !== "string" || typeof resource.resource !== "string") {
    return { problem: "at request.resource: expected a group and a resource" };
  }
  return {
    uid,
    operation,
    username: userInfo.username,
    group: resource.group,
    resource: resource.resource,
    subResource: typeof subResource === "string" ? subResource : "",
    object: request.object,
    oldObject: request.oldObject,
  };
}

/** What requests are judged by. */
export interface AdmissionRules {
  /** Users that may write what zen-watcher writes. */
  readonly writers: readonly string[];
  /** EXCEPTION_MAX_DAYS. */
  readonly exceptionMaxDays: number;
}

/**
 * Allows everything to writers; to all others everything but status, creation and content. DELETE is RBAC's. For writers,
 * too, an exception ends within its bound.
 */
export function judgeAdmission(
  request: AdmissionRequest,
  { writers, exceptionMaxDays }: AdmissionRules,
): Judgement {
  const { operation, username, group, resource, subResource, object, oldObject } = request;
  if (group !== GROUP || (operation !== "CREATE" && operation !== "UPDATE")) return { allowed: true };
  if (
    resource === OBSERVATION_EXCEPTIONS.plural && subResource === "" && !keepsExpiry(request) &&
    isTooLong(object, exceptionMaxDays)
  ) {
    return denied(`expiresAt is at most ${exceptionMaxDays} days after the creation of the exception`);
  }
  if (writers.includes(username)) return { allowed: true };
  if (subResource === "status") return denied("status is written by zen-watcher alone");
  if (resource !== PLURAL || subResource !== "") return { allowed: true };
  if (operation === "CREATE") return denied("Observations are created by zen-watcher alone");
  if (!isSame(at(object, "spec"), at(oldObject, "spec"))) {
    return denied("what an Observation says is changed by zen-watcher alone");
  }
  if (!isSame(marksOf(object), marksOf(oldObject))) {
    return denied(
      "the labels and annotations by which zen-watcher finds an Observation are changed by zen-watcher alone",
    );
  }
  if (isBoundAnew(object, oldObject)) {
    return denied("ownerReferences and finalizers of an Observation are changed by zen-watcher alone");
  }
  return { allowed: true };
}

/**
 * True where owners or finalizers change, by which others could delete an Observation or keep it for ever. The garbage
 * collector takes them from what is being deleted.
 */
function isBoundAnew(object: Json | undefined, oldObject: Json | undefined): boolean {
  const isDeleted = at(oldObject, "metadata", "deletionTimestamp") !== undefined;
  return ["finalizers", "ownerReferences"].some((field) => {
    const [now, before] = [object, oldObject].map((each) => list(at(each, "metadata", field)));
    return !includesAll(before, now) || (!isDeleted && !includesAll(now, before));
  });
}

function includesAll(list: readonly Json[] = [], items: readonly Json[] = []): boolean {
  return items.every((item) => list.some((each) => isSame(each, item)));
}

/** The review that answers `request`. */
export function answerReview({ uid }: AdmissionRequest, judgement: Judgement): JsonObject {
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: judgement.allowed ? { uid, allowed: true } : {
      uid,
      allowed: false,
      status: { status: "Failure", code: 403, reason: "Forbidden", message: judgement.message },
    },
  };
}

/** True for an update that leaves `expiresAt` as it is: it extends nothing. */
function keepsExpiry({ operation, object, oldObject }: AdmissionRequest): boolean {
  return operation === "UPDATE" &&
    isSame(at(object, "spec", "expiresAt"), at(oldObject, "spec", "expiresAt"));
}

function isTooLong(object: Json | undefined, maxDays: number): boolean {
  const latest = latestExpiry(textAt(object, "metadata", "creationTimestamp"), { maxDays, now: Infinity });
  // An object without these times is refused by its schema.
  return (parseTime(textAt(object, "spec", "expiresAt"))?.ms ?? -Infinity) > latest;
}

function denied(message: string): Judgement {
  return { allowed: false, message };
}

function marksOf(object: Json | undefined): JsonObject {
  const metadata = at(object, "metadata");
  return {
    labels: own(at(metadata, "labels"), (key) => key.startsWith(OWN_PREFIX) || key === LABELS.managedBy),
    annotations: own(at(metadata, "annotations"), (key) => key.startsWith(OWN_PREFIX)),
  };
}

function own(map: Json | undefined, isOurs: (key: string) => boolean): JsonObject {
  return isObject(map) ? Object.fromEntries(Object.entries(map).filter(([key]) => isOurs(key))) : {};
}

/** Equal as JSON: the order of keys means nothing, and 1 is 1.0. */
function isSame(a: Json | undefined, b: Json | undefined): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((each, index) => isSame(each, b[index]));
  }
  if (isObject(a) && isObject(b)) {
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length &&
      keys.every((key) => Object.hasOwn(b, key) && isSame(a[key], b[key]));
  }
  return a === b;
}
