/** The namespaces in which the user may write and delete exceptions, from a limited number of access reviews. */
import { OBSERVATION_EXCEPTIONS } from "../exceptions/kind.ts";
import type { KubeApi } from "../kube/api.ts";
import { canI } from "../kube/access.ts";

type Verb = "create" | "delete";

/** Namespaces that are asked about one by one. */
const MAX_NAMESPACES = 50;
/** Answers are asked for again after this. */
const MAX_AGE_MS = 60_000;
const ALL = "*";

/** What is known of the user's rights on exceptions. */
export class Rights {
  readonly #api: KubeApi;
  #allowed: Readonly<Record<Verb, readonly string[]>> = { create: [], delete: [] };
  #askedAt = -Infinity;
  #askedAbout = "";

  constructor(api: KubeApi) {
    this.#api = api;
  }

  /** Namespaces in which the user may create exceptions; "*": all. */
  get mayCreate(): readonly string[] {
    return this.#allowed.create;
  }

  mayDelete(namespace: string): boolean {
    return this.#allowed.delete.includes(ALL) || this.#allowed.delete.includes(namespace);
  }

  /** Nobody may do anything: the kind is not served. */
  forget(): void {
    this.#allowed = { create: [], delete: [] };
    this.#askedAt = -Infinity;
  }

  /** Asks again where the answers are old, or about other namespaces. True where the answers changed. */
  async refresh(namespaces: readonly string[], signal: AbortSignal): Promise<boolean> {
    const about = namespaces.slice(0, MAX_NAMESPACES);
    const key = about.join(" ");
    if (key === this.#askedAbout && performance.now() - this.#askedAt < MAX_AGE_MS) return false;
    this.#askedAt = performance.now();
    this.#askedAbout = key;
    const before = JSON.stringify(this.#allowed);
    this.#allowed = {
      create: await this.#ask("create", about, signal),
      delete: await this.#ask("delete", about, signal),
    };
    return JSON.stringify(this.#allowed) !== before;
  }

  async #ask(verb: Verb, namespaces: readonly string[], signal: AbortSignal): Promise<string[]> {
    if (await this.#may(verb, undefined, signal)) return [ALL];
    const allowed: string[] = [];
    for (const namespace of namespaces) {
      if (await this.#may(verb, namespace, signal)) allowed.push(namespace);
    }
    return allowed;
  }

  async #may(verb: Verb, namespace: string | undefined, signal: AbortSignal): Promise<boolean> {
    const access = {
      verb,
      group: OBSERVATION_EXCEPTIONS.group,
      resource: OBSERVATION_EXCEPTIONS.plural,
      ...(namespace !== undefined && { namespace }),
    };
    return (await canI(this.#api, access, { signal })).allowed;
  }
}
