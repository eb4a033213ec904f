/** What an error of the API server means for a create, in words of a closed list. */
import type { FailReason } from "../model/outcome.ts";
import { ApiError, NetworkError } from "../kube/api.ts";
import { isRetryable } from "../kube/retry.ts";

/** Values of the label `reason` of `observations_create_errors_total`. */
export const CREATE_ERROR_REASONS = [
  "already_exists",
  "conflict",
  "throttled",
  "server_error",
  "network",
  "unauthorized",
  "quota",
  "namespace",
  "admission",
  "forbidden",
  "not_served",
  "too_large",
  "invalid",
  "other",
] as const;
export type CreateErrorReason = typeof CREATE_ERROR_REASONS[number];

/** How the writer goes on after a refused create. */
type Refusal =
  /** The name is taken: find out by whom. */
  | { readonly kind: "exists"; readonly label: "already_exists" }
  /** A temporary error: send the same request again. */
  | { readonly kind: "later"; readonly label: CreateErrorReason }
  /** The namespace refuses it (missing, terminating, over its quota, or a policy denies it): use the controller's namespace. */
  | {
    readonly kind: "refused";
    readonly label: "namespace" | "quota" | "admission";
    /** True if the namespace does not exist. A terminating one may still hold the Observation. */
    readonly isMissing: boolean;
  }
  | { readonly kind: "final"; readonly label: CreateErrorReason; readonly reason: FailReason };

/** Reads an error of a create. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof NetworkError) {
    return error.fault === "too_large" ? final("other", "unavailable") : { kind: "later", label: "network" };
  }
  if (!(error instanceof ApiError)) return final("other", "internal");
  const { status, reason, message } = error;
  // etcd's own limit is below the API server's and comes as a 500.
  if (status === 413 || message.includes("request is too large")) return final("too_large", "too_large");
  if (status === 409) {
    return reason === "AlreadyExists"
      ? { kind: "exists", label: "already_exists" }
      : { kind: "later", label: "conflict" };
  }
  if (isMissingNamespace(error)) return { kind: "refused", label: "namespace", isMissing: status === 404 };
  if (isQuota(error)) return { kind: "refused", label: "quota", isMissing: false };
  if (isDenial(error)) return { kind: "refused", label: "admission", isMissing: false };
  if (isRetryable(error)) return { kind: "later", label: retryLabel(status) };
  if (status === 422 || status === 400) return final("invalid", "invalid");
  if (status === 403) return final("forbidden", "unavailable");
  if (status === 404) return final("not_served", "unavailable");
  return final("other", "unavailable");
}

/** True if RBAC or admission forbids the request, which an admin can change. */
export function isForbidden(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 403 || isDenial(error));
}

function final(label: CreateErrorReason, reason: FailReason): Refusal {
  return { kind: "final", label, reason };
}

function retryLabel(status: number): CreateErrorReason {
  if (status === 429) return "throttled";
  return status === 401 ? "unauthorized" : "server_error";
}

/** True for a 404 that names the namespace, and for the 403 of a terminating namespace. */
function isMissingNamespace({ status, body, message }: ApiError): boolean {
  if (status === 404) return body.details?.kind === "namespaces";
  if (status !== 403) return false;
  const causes = body.details?.causes ?? [];
  return causes.some(({ reason }) => reason === "NamespaceTerminating") ||
    message.includes("because it is being terminated");
}

/** Errors of a quota that is used up, that is not computed yet, or of a limited resource that no quota allows. */
const QUOTA_TEXTS = ["exceeded quota", "status unknown for quota", "insufficient quota to consume"];

function isQuota({ status, message }: ApiError): boolean {
  return status === 403 && QUOTA_TEXTS.some((text) => message.includes(text));
}

/** A policy's denial is known by its text: policies choose the status (422 by default, a webhook's is 400). */
function isDenial({ message }: ApiError): boolean {
  return (message.includes("admission webhook") && message.includes("denied the request")) ||
    (message.includes("ValidatingAdmissionPolicy") && message.includes("denied request")) ||
    isPluginDenial(message);
}

/** An admission plugin says `observations "a" is forbidden: <why>`; the authorizer names the user there. */
function isPluginDenial(message: string): boolean {
  const [, why] = message.split(" is forbidden: ");
  return why !== undefined && !why.startsWith("User ");
}
