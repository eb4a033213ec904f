/** The user that the API server sees, and what it may do. */
import { isObject } from "../model/json.ts";
import { hasStatus, type KubeApi, type KubeObject, resourceName, type ResourceType } from "./api.ts";

const REVIEWS: ResourceType = {
  group: "authorization.k8s.io",
  version: "v1",
  plural: "selfsubjectaccessreviews",
  kind: "SelfSubjectAccessReview",
  namespaced: false,
};
const SUBJECTS: ResourceType = {
  group: "authentication.k8s.io",
  version: "v1",
  plural: "selfsubjectreviews",
  kind: "SelfSubjectReview",
  namespaced: false,
};

/** The user the API server sees. */
interface Subject {
  readonly username: string;
  readonly groups: readonly string[];
}

/** One action on a resource, for an access review. */
export interface Access {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  /** Absent: in all namespaces, or cluster scope. */
  readonly namespace?: string;
  readonly name?: string;
}

/** The API server's verdict on an `Access`. */
interface Verdict {
  readonly access: Access;
  readonly allowed: boolean;
  /** The authorizer's words, often empty. */
  readonly reason: string;
}

interface Options {
  readonly signal?: AbortSignal;
}

/** The user of this process; undefined if the server has no SelfSubjectReview (before 1.28). */
export async function whoAmI(api: KubeApi, options: Options = {}): Promise<Subject | undefined> {
  let review: KubeObject;
  try {
    review = await api.create(SUBJECTS, bodyOf(SUBJECTS), options);
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
  const status = isObject(review["status"]) ? review["status"] : {};
  const user = isObject(status["userInfo"]) ? status["userInfo"] : {};
  const groups = Array.isArray(user["groups"])
    ? user["groups"].filter((group) => typeof group === "string")
    : [];
  return typeof user["username"] === "string" ? { username: user["username"], groups } : undefined;
}

/** Asks the API server whether the user of this process has this access. */
export async function canI(api: KubeApi, access: Access, options: Options = {}): Promise<Verdict> {
  const review = await api.create(
    REVIEWS,
    { ...bodyOf(REVIEWS), spec: { resourceAttributes: access } } as KubeObject,
    options,
  );
  const status = isObject(review["status"]) ? review["status"] : {};
  const reason = status["reason"] ?? status["evaluationError"];
  return { access, allowed: status["allowed"] === true, reason: typeof reason === "string" ? reason : "" };
}

/** The verdicts on those of `wanted` that are not allowed, in their order. Sends a few requests at a time. */
export async function missingAccess(
  api: KubeApi,
  wanted: readonly Access[],
  options: Options & { readonly concurrency?: number } = {},
): Promise<Verdict[]> {
  const { concurrency = 4, ...rest } = options;
  const verdicts: Verdict[] = [];
  let next = 0;
  const ask = async () => {
    for (let index = next++; index < wanted.length; index = next++) {
      verdicts[index] = await canI(api, wanted[index]!, rest);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, ask));
  return verdicts.filter(({ allowed }) => !allowed);
}

/** `patch observations.zen.kube-zen.io/status in namespace "zen-system"`. */
export function describeAccess({ verb, group, resource, subresource, namespace, name }: Access): string {
  const what = `${verb} ${resourceName({ plural: resource, group })}${subresource ? `/${subresource}` : ""}`;
  return `${what}${name ? ` "${name}"` : ""}${namespace ? ` in namespace "${namespace}"` : ""}`;
}

function bodyOf({ group, version, kind }: ResourceType): KubeObject {
  return { apiVersion: `${group}/${version}`, kind, metadata: {} };
}
