/** What is in force, as a source that drivers can run. */
import type { KubeObject, ResourceType } from "../kube/api.ts";
import type { FilterDocument } from "../filters/filter.ts";
import type { SourceOverrides } from "../sources/active.ts";
import type { SourceDefinition } from "../sources/source.ts";
import type { CompiledIngester, MappedInput } from "./compile.ts";
import { definitionOf } from "./definition.ts";
import type { SecretState } from "./secrets.ts";
import type { ServedState } from "./served.ts";
import { disabled, idOf, type Verdict } from "./verdict.ts";

/** How senders of a webhook show who they are; `secret()` is undefined while the Secret cannot be used. */
export type ActiveAuth =
  | { readonly type: "default" | "none" }
  | { readonly type: "bearer" | "hmac"; secret(): string | undefined };

/** A source in force by configuration: what a driver needs to run it. */
export interface ActiveSource {
  /** `Ingester zen-system/alertmanager`. */
  readonly id: string;
  /** Differs whenever anything below does. */
  readonly revision: string;
  /** Its `input` says which driver, and where. */
  readonly definition: SourceDefinition;
  /** Of informers: what to list and watch. */
  readonly scope: {
    readonly namespace?: string;
    readonly labelSelector?: string;
    readonly fieldSelector?: string;
  };
  /** Of informers: true where a finding may speak only of its object's namespace. */
  readonly confined: boolean;
  readonly auth: ActiveAuth;
  readonly overrides: SourceOverrides;
  readonly rateLimit: { readonly requestsPerSecond: number; readonly burst: number } | undefined;
  readonly filter: FilterDocument | undefined;
}

/** What is known of the world. */
export interface ActivateContext {
  readonly builtins: ReadonlyMap<string, SourceDefinition>;
  readonly served: (input: Extract<MappedInput, { type: "informer" }>) => ServedState;
  readonly secret: (namespace: string, name: string) => SecretState;
}

/** A version of an object that was in force. */
export interface Good {
  readonly uid: string;
  readonly generation: number;
  readonly compiled: CompiledIngester;
}

interface Activating {
  readonly context: ActivateContext;
  readonly good: Good;
}

interface Activated {
  readonly active?: ActiveSource;
  readonly verdict: Verdict;
}

/** Turns what is in force into a source, once its resources and Secret are known. */
export function activate(object: KubeObject, { context, good }: Activating): Activated {
  const { compiled, generation, uid } = good;
  const { input } = compiled;
  const id = idOf(object);
  const namespace = object.metadata.namespace ?? "";
  let resources: readonly ResourceType[] = [];
  if (input.type === "informer") {
    const served = context.served(input);
    if (served.state !== "served") return { verdict: { ready: false, ...served } };
    resources = served.resources;
  }
  const secret = input.type === "webhook" && "secretName" in input.auth
    ? context.secret(namespace, input.auth.secretName)
    : undefined;
  const builtin = compiled.mapping ? undefined : context.builtins.get(compiled.source);
  const definition = definitionOf(compiled, { id, builtin, resources });
  if (!definition) return { verdict: disabled() };
  const { filters, windowSeconds, ttlSeconds, rateLimit } = compiled;
  const active: ActiveSource = {
    id,
    revision: `${uid}/${generation}/${resources.map(({ group, plural }) => `${plural}.${group}`).join()}`,
    definition,
    scope: input.type === "informer" ? scopeOf(input) : {},
    confined: input.type === "informer" && !isEvents(resources),
    auth: authOf(input, () => {
      const state = input.type === "webhook" && "secretName" in input.auth
        ? context.secret(namespace, input.auth.secretName)
        : undefined;
      return state?.token;
    }),
    overrides: {
      ...(windowSeconds === undefined ? {} : { windowSeconds }),
      ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
      ...(builtin ? { door: id } : {}),
    },
    rateLimit,
    filter: filters &&
      {
        name: `${id} spec.filters`,
        source: definition.name,
        block: filters,
        ...(builtin ? { door: id } : {}),
      },
  };
  const verdict = secret && secret.token === undefined
    ? { ready: false, reason: "SecretMissing", message: secret.problem ?? "the Secret is not read yet" }
    : { ready: true, reason: "InForce", message: inForceMessage(compiled, resources) };
  return { active, verdict };
}

function authOf(input: MappedInput, secret: () => string | undefined): ActiveAuth {
  if (input.type !== "webhook") return { type: "none" };
  const { auth } = input;
  return "secretName" in auth ? { type: auth.type, secret } : { type: auth.type };
}

function scopeOf(
  { namespace, labelSelector, fieldSelector }: Extract<MappedInput, { type: "informer" }>,
): ActiveSource["scope"] {
  return {
    ...(namespace === "" ? {} : { namespace }),
    ...(labelSelector === "" ? {} : { labelSelector }),
    ...(fieldSelector === "" ? {} : { fieldSelector }),
  };
}

/** Events may speak of any resource: the API server itself puts those of cluster-scoped ones into `default`. */
function isEvents(resources: readonly ResourceType[]): boolean {
  return resources.length > 0 &&
    resources.every(({ group, plural }) =>
      plural === "events" && (group === "" || group === "events.k8s.io")
    );
}

function inForceMessage(
  { input, source, mapping }: CompiledIngester,
  resources: readonly ResourceType[],
): string {
  const door = mapping ? "" : `, one more door to ${source}`;
  switch (input.type) {
    case "webhook":
      return `takes what is posted to ${input.path}${door}`;
    case "configmap":
      return `reads ConfigMaps ${input.labelSelector} in ${input.namespace}${door}`;
    case "informer":
      return `reads ${
        resources.map(({ group, plural }) => group ? `${plural}.${group}` : plural).join(", ")
      }${door}`;
  }
}
