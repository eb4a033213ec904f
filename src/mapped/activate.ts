/** Turns a compiled Ingester or ObservationMapping into a source with one feed, once its resources and its Secret are known. */
import { type KubeObject, resourceName, type ResourceType } from "../kube/api.ts";
import { type StatusTarget, statusTarget } from "../kube/status_writer.ts";
import {
  ANY,
  type Feed,
  type FeedAuth,
  type FeedIngester,
  type NamedSecret,
  type Source,
} from "../sources/source.ts";
import type { CompiledIngester, MappedInput } from "./compile.ts";
import { drawMapped } from "./draw.ts";
import { INGESTERS } from "./kinds.ts";
import type { SecretState } from "./secrets.ts";
import type { ServedState } from "./served.ts";
import { disabled, DISCOVERING, idOf, type Verdict } from "./verdict.ts";

/** What the cluster serves, and the tokens in Secrets. */
export interface ActivateContext {
  readonly builtins: ReadonlyMap<string, Source>;
  readonly served: (input: Extract<MappedInput, { type: "informer" }>) => ServedState;
  readonly secret: (ref: NamedSecret) => SecretState;
}

/** The last valid version of an object. */
export interface Good {
  readonly uid: string;
  readonly generation: number;
  readonly compiled: CompiledIngester;
}

interface Activated {
  readonly source?: Source;
  readonly verdict: Verdict;
}

/** Turns a valid object into a source, once its resources and Secret are known. */
export function activate(
  object: KubeObject,
  { context, good }: { readonly context: ActivateContext; readonly good: Good },
): Activated {
  const { compiled, generation, uid } = good;
  const { input } = compiled;
  const namespace = object.metadata.namespace ?? "";
  let resources: readonly ResourceType[] = [];
  if (input.type === "informer") {
    const served = context.served(input);
    if (served.state !== "served") return { verdict: { ready: false, ...served } };
    resources = served.resources;
  }
  const ref = input.type === "webhook" && "secretName" in input.auth
    ? { namespace, name: input.auth.secretName, use: input.auth.type }
    : undefined;
  const secretState = () => ref && context.secret(ref);
  const source = sourceOf(compiled, {
    id: idOf(object),
    namespace,
    revision: `${uid}/${generation}/${resources.map(resourceName).join()}`,
    builtin: context.builtins.get(compiled.source),
    owner: statusTarget(INGESTERS, object),
    resources,
    secret: () => secretState()?.token,
  });
  if (!source) return { verdict: disabled() };
  const secret = secretState();
  if (secret?.problem) return { source, verdict: { ready: false, ...secret.problem } };
  if (!secret || secret.token !== undefined) {
    return {
      source,
      verdict: { ready: true, reason: "InForce", message: inForceMessage(compiled, resources) },
    };
  }
  return { source, verdict: { ready: false, reason: DISCOVERING, message: "the Secret is not read yet" } };
}

/** What sourceOf() needs besides the compiled Ingester. */
export interface SourceParts extends Pick<FeedIngester, "id" | "revision"> {
  /** The namespace of the Ingester and of the Secret that it names. */
  readonly namespace: string;
  /** The built-in source of that name. */
  readonly builtin: Source | undefined;
  /** The object whose status shows what its filter drops. */
  readonly owner?: StatusTarget;
  /** The resources that an informer reads. */
  readonly resources: readonly ResourceType[];
  /** The token in its Secret; undefined while there is no usable one. */
  readonly secret: () => string | undefined;
}

/** The source with this one feed; undefined for a door to a source that is not built in. A door adds a feed to a built-in source. */
export function sourceOf(compiled: CompiledIngester, parts: SourceParts): Source | undefined {
  const { mapping } = compiled;
  const { id, builtin } = parts;
  const feeds = [feedOf(compiled, parts)];
  if (!mapping) return builtin && { ...builtin, feeds };
  const { categories } = mapping;
  const [only] = categories;
  const category = categories.length === 1 && only !== undefined ? only : ANY;
  const { rateLimit } = compiled;
  return {
    name: compiled.source,
    kind: compiled.kind ?? "finding",
    summary: id,
    // Any type, so that findings of an older version of the mapping are resolved too.
    eventTypes: { [ANY]: { category, identity: compiled.identityFields } },
    feeds,
    // A mapping whose forEach starts at the list takes the whole list as one payload.
    lists: mapping.forEach?.beginsAtList ? "whole" : "elements",
    severities: compiled.severityMap,
    ...(rateLimit ? { rate: { perSecond: rateLimit.requestsPerSecond, burst: rateLimit.burst } } : {}),
    draw: (payload) => drawMapped(mapping, payload),
  };
}

function feedOf(compiled: CompiledIngester, parts: SourceParts): Feed {
  const { input } = compiled;
  const ingester = ingesterOf(compiled, parts);
  switch (input.type) {
    case "informer": {
      const { namespace, labelSelector, fieldSelector } = input;
      const scope = {
        ...(namespace === "" ? {} : { namespace }),
        ...(labelSelector === "" ? {} : { labelSelector }),
        ...(fieldSelector === "" ? {} : { fieldSelector }),
      };
      return { type: "watch", resources: parts.resources, scope, ingester };
    }
    case "webhook": {
      // A door shares the waiting room and the deadline of its source.
      const own = compiled.mapping ? undefined : parts.builtin?.feeds.find(({ type }) => type === "post");
      return { ...own, type: "post", path: input.path, auth: authOf(input.auth, parts), ingester };
    }
    case "configmap": {
      const { namespace, labelSelector, key } = input;
      return { type: "configmap", namespace, labelSelector, key, ingester };
    }
  }
}

function ingesterOf(compiled: CompiledIngester, { id, revision, owner }: SourceParts): FeedIngester {
  const { source, mapping, filters: block, windowSeconds, ttlSeconds } = compiled;
  const door = mapping ? {} : { door: id };
  return {
    id,
    revision,
    ...(mapping ? {} : { isDoor: true }),
    ...(block
      ? { filter: { name: `${id} spec.filters`, source, block, ...door, ...(owner && { owner }) } }
      : {}),
    ...(windowSeconds === undefined ? {} : { windowSeconds }),
    ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
  };
}

function authOf(
  auth: Extract<MappedInput, { type: "webhook" }>["auth"],
  { namespace, secret }: SourceParts,
): FeedAuth {
  if (!("secretName" in auth)) return { type: auth.type };
  return { type: auth.type, secretRef: { namespace, name: auth.secretName }, secret };
}

function inForceMessage(
  { input, source, mapping }: CompiledIngester,
  resources: readonly ResourceType[],
): string {
  const door = mapping ? "" : `, and feeds the built-in source ${source}`;
  switch (input.type) {
    case "webhook":
      return `takes what is posted to ${input.path}${door}`;
    case "configmap":
      return `reads ConfigMaps ${input.labelSelector} in ${input.namespace}${door}`;
    case "informer":
      return `reads ${resources.map(resourceName).join(", ")}${door}`;
  }
}
