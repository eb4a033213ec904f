/** Secrets of webhooks: from the Ingester's own namespace, only with our label, read again now and then. */
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../kube/api.ts";
import { GROUP } from "../model/observation.ts";

const SECRETS: ResourceType = {
  group: "",
  version: "v1",
  plural: "secrets",
  kind: "Secret",
  namespaced: true,
};
/** A Secret must say itself that it is meant for us: else an Ingester could test guesses at any other. */
export const SECRET_LABEL = `${GROUP}/webhook-auth`;
const KEY = "token";
const MIN_LENGTH = 8;
/** Secrets read again at once: of hundreds, those read longest ago, so that they cost no more than a few. */
const MAX_READ_AGAIN = 50;

/** A token, or why there is none. Neither before it was first read. */
export interface SecretState {
  readonly token?: string;
  readonly problem?: string;
}

export interface SecretRef {
  readonly namespace: string;
  readonly name: string;
}

/** The Secrets that Ingesters name. */
export class WebhookSecrets {
  readonly #api: KubeApi;
  readonly #known = new Map<string, SecretState>();

  constructor(api: KubeApi) {
    this.#api = api;
  }

  state(namespace: string, name: string): SecretState {
    return this.#known.get(`${namespace}/${name}`) ?? {};
  }

  /**
   * Reads those that were never read, and some of the others again: those read longest ago. Forgets what is not among
   * `refs`. A failed reading keeps what was read before.
   */
  async read(refs: readonly SecretRef[], signal: AbortSignal): Promise<void> {
    const wanted = new Map(refs.map((ref) => [`${ref.namespace}/${ref.name}`, ref]));
    for (const key of this.#known.keys()) if (!wanted.has(key)) this.#known.delete(key);
    // A map keeps the order of its keys, and each that is read is put at the end.
    const again = [...this.#known.keys()].slice(0, MAX_READ_AGAIN);
    for (const key of [...[...wanted.keys()].filter((key) => !this.#known.has(key)), ...again]) {
      const ref = wanted.get(key);
      if (signal.aborted) return;
      if (ref === undefined) continue;
      const state = await this.#read(ref, signal) ?? this.#known.get(key);
      this.#known.delete(key);
      if (state) this.#known.set(key, state);
    }
  }

  /** True where one of these was never read. */
  lacks(refs: readonly SecretRef[]): boolean {
    return refs.some(({ namespace, name }) => !this.#known.has(`${namespace}/${name}`));
  }

  async #read({ namespace, name }: SecretRef, signal: AbortSignal): Promise<SecretState | undefined> {
    try {
      return stateOf(await this.#api.get(SECRETS, name, { namespace, signal }), `${namespace}/${name}`);
    } catch (error) {
      if (hasStatus(error, 404)) return { problem: `there is no Secret "${namespace}/${name}"` };
      if (hasStatus(error, 403)) {
        return {
          problem:
            `the Secret "${namespace}/${name}" may not be read: grant get on it by a Role in ${namespace}`,
        };
      }
      return undefined;
    }
  }
}

function stateOf(secret: KubeObject, name: string): SecretState {
  if (!Object.hasOwn(secret.metadata.labels ?? {}, SECRET_LABEL)) {
    return { problem: `the Secret "${name}" lacks the label ${SECRET_LABEL}` };
  }
  const data = secret["data"];
  const encoded = typeof data === "object" && data !== null
    ? Object.getOwnPropertyDescriptor(data, KEY)?.value
    : undefined;
  const token = typeof encoded === "string" ? decoded(encoded).trim() : "";
  if (token === "") return { problem: `the Secret "${name}" has no key ${KEY}` };
  if (token.length < MIN_LENGTH) {
    return { problem: `the ${KEY} of Secret "${name}" is shorter than ${MIN_LENGTH} characters` };
  }
  return { token };
}

function decoded(base64: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
  } catch {
    return "";
  }
}
