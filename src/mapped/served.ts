/** Which resources the API server serves, as far as Ingesters ask: polled, since CRDs come and go. */
import { hasStatus, type KubeApi, type ResourceType } from "../kube/api.ts";
import { isObject } from "../model/json.ts";
import { at, list, textAt, texts } from "../sources/read.ts";
import { holdsCredentials, refuseTarget } from "./trust.ts";
import type { MappedInput } from "./compile.ts";

type InformerInput = Extract<MappedInput, { type: "informer" }>;

/** What an informer's resource comes to. */
export type ServedState =
  | { readonly state: "served"; readonly resources: readonly ResourceType[] }
  /** Not looked up yet, or not served: reason and message for the condition. */
  | { readonly state: "absent"; readonly reason: string; readonly message: string };

/** Why a source is not in force whose resource is not there. */
export const NOT_SERVED = "NotServed";
/** Most resources one `*` takes. */
const MAX_RESOURCES = 200;

/** The served resources of the groups and versions that are asked for. */
export class ServedResources {
  readonly #api: KubeApi;
  /** By `group/version`; null where it is not served. */
  readonly #known = new Map<string, readonly ResourceType[] | null>();

  constructor(api: KubeApi) {
    this.#api = api;
  }

  /** What is known now; `lookUp` learns more. */
  state(input: InformerInput): ServedState {
    const { group, version } = input;
    const known = this.#known.get(keyOf(input));
    const name = `${group === "" ? "core" : group}/${version}`;
    if (known === undefined) {
      return { state: "absent", reason: "Discovering", message: `${name} is not looked up yet` };
    }
    const found = (known ?? []).filter((type) => matches(type, input)).slice(0, MAX_RESOURCES);
    if (found.length > 0) return { state: "served", resources: found };
    const what = input.kind ?? (input.resource === "*" ? "any resource" : input.resource ?? "");
    return {
      state: "absent",
      reason: NOT_SERVED,
      message: `the API server does not serve ${what} of ${name}`,
    };
  }

  /** True where another look may find more: nothing was found, or everything of a group is wanted. */
  isOpen(input: InformerInput): boolean {
    return input.resource === "*" || this.state(input).state !== "served";
  }

  /** Asks the API server for these groups, once each. What cannot be asked keeps its last answer. */
  async lookUp(inputs: readonly InformerInput[], signal: AbortSignal): Promise<void> {
    for (const [key, { group, version }] of new Map(inputs.map((input) => [keyOf(input), input]))) {
      if (signal.aborted) return;
      try {
        this.#known.set(key, await this.#resources(group, version, signal));
      } catch {
        // The API server is away, or this group's own server is: the next round asks again.
      }
    }
  }

  async #resources(
    group: string,
    version: string,
    signal: AbortSignal,
  ): Promise<readonly ResourceType[] | null> {
    const path = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
    try {
      const answer = await this.#api.getPath(path, { signal });
      return list(at(answer, "resources")).flatMap((entry) =>
        isObject(entry) ? toResource(entry, { group, version }) : []
      );
    } catch (error) {
      if (hasStatus(error, 404)) return null;
      throw error;
    }
  }
}

function toResource(
  entry: Parameters<typeof textAt>[0],
  { group, version }: { readonly group: string; readonly version: string },
): ResourceType[] {
  const plural = textAt(entry, "name");
  const kind = textAt(entry, "kind");
  const verbs = texts(at(entry, "verbs"));
  const readable = verbs.includes("list") && verbs.includes("watch") && !plural.includes("/");
  if (!readable || plural === "" || holdsCredentials(plural)) return [];
  return [{ group, version, plural, kind, namespaced: at(entry, "namespaced") === true }];
}

function matches(type: ResourceType, { resource, kind }: InformerInput): boolean {
  if (refuseTarget({ group: type.group, resource: type.plural }, [])) return false;
  if (resource === undefined) return type.kind === kind;
  return resource === "*" || type.plural === resource;
}

function keyOf({ group, version }: InformerInput): string {
  return `${group}/${version}`;
}
