/**
 * Reads the Secrets of webhooks by name, in the Ingester's namespace, only those with zen-watcher's label, again and again.
 * The last good token stays in force while a Secret holds no usable one or may not be read; it ends with its Secret or label.
 */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import type { Clock } from "../model/time.ts";
import { hasStatus, type KubeApi, type KubeObject } from "../kube/api.ts";
import { Pause, type Sleep } from "../kube/retry.ts";
import { GROUP } from "../model/observation.ts";
import { SECRETS } from "../kube/core_resources.ts";
import type { NamedSecret } from "../sources/source.ts";
import { tokenFault } from "../text/token.ts";

/** Label that a Secret must have. Without it, the author of an Ingester could guess tokens of any other Secret. */
export const SECRET_LABEL = `${GROUP}/webhook-auth`;
const KEY = "token";
const MIN_LENGTH = 8;

/** The token in force, and why the Secret as it is now cannot be used. Both are undefined before the first read. */
export interface SecretState {
  readonly token?: string;
  readonly problem?: { readonly reason: "SecretMissing" | "SecretInvalid"; readonly message: string };
}

export interface WebhookSecretsOptions {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly sleep?: Sleep | undefined;
  /** Called after a read that changed a token or the reason why there is none. */
  readonly onChange: () => void;
}

interface Entry {
  readonly ref: NamedSecret;
  state: SecretState;
  reads: number;
  /** Monotonic. */
  dueAt: number;
}

/** Delay before a Secret is read again; it doubles with each read, up to the longest. */
const FIRST_REREAD_MS = 2_000;
const LONGEST_REREAD_MS = 30_000;
/** Time between two reads of known Secrets: 500 of them are read in about three minutes. */
const REREAD_SPACING_MS = 400;
const CONCURRENCY = 8;
/** Longest time of one read before the liveness check fails. */
const ROUND_MS = 120_000;

/** The Secrets that Ingesters name. They are read by name, because permission to watch Secrets is permission to read them all. */
export class WebhookSecrets {
  readonly #options: WebhookSecretsOptions;
  readonly #pause: Pause;
  readonly #entries = new Map<string, Entry>();

  constructor(options: WebhookSecretsOptions) {
    this.#options = options;
    this.#pause = new Pause(options.sleep);
  }

  state(ref: NamedSecret): SecretState {
    return this.#entries.get(keyOf(ref))?.state ?? {};
  }

  /** Sets the Secrets to read; new ones are read at once. */
  want(refs: readonly NamedSecret[]): void {
    const wanted = new Map(refs.map((ref) => [keyOf(ref), ref]));
    for (const key of this.#entries.keys()) if (!wanted.has(key)) this.#entries.delete(key);
    for (const [key, ref] of wanted) {
      if (this.#entries.has(key)) continue;
      this.#entries.set(key, { ref, state: {}, reads: 0, dueAt: 0 });
      this.#pause.wake();
    }
  }

  /** Reads until `signal` aborts. */
  async run(signal: AbortSignal, beat: Beat = NO_BEAT): Promise<void> {
    const { clock } = this.#options;
    let waitMs = 0;
    while (await this.#pause.wait(waitMs, signal)) {
      await this.#readNew(signal, beat);
      beat.within(ROUND_MS);
      const next = this.#next();
      waitMs = next === undefined ? Infinity : next.dueAt - clock.monotonic();
      if (next === undefined) beat.idle();
      else if (waitMs > 0) beat.within(waitMs + ROUND_MS);
      if (next === undefined || waitMs > 0) continue;
      if (await this.#read(next, signal)) this.#options.onChange();
      waitMs = REREAD_SPACING_MS;
    }
  }

  async #readNew(signal: AbortSignal, beat: Beat): Promise<void> {
    const unread = [...this.#entries.values()].filter(({ reads }) => reads === 0);
    if (unread.length === 0) return;
    const readAll = async () => {
      for (let entry = unread.pop(); entry && !signal.aborted; entry = unread.pop()) {
        beat.within(ROUND_MS);
        await this.#read(entry, signal);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, readAll));
    this.#options.onChange();
  }

  /** The Secret that is due next. */
  #next(): Entry | undefined {
    let next: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.reads > 0 && (!next || entry.dueAt < next.dueAt)) next = entry;
    }
    return next;
  }

  /** Reads a Secret; true if its state changed. A failed read changes nothing. */
  async #read(entry: Entry, signal: AbortSignal): Promise<boolean> {
    const read = await readSecret(this.#options.api, entry.ref, signal);
    const state = read && stateAfter(entry.state, read);
    const waitMs = Math.min(LONGEST_REREAD_MS, FIRST_REREAD_MS * 2 ** Math.min(entry.reads++, 10));
    entry.dueAt = this.#options.clock.monotonic() + waitMs;
    const { token, problem } = entry.state;
    if (!state || (state.token === token && state.problem?.message === problem?.message)) return false;
    entry.state = state;
    return true;
  }
}

/** What one read says. `ended`: the token of earlier reads is no longer in force. */
type Read =
  | { readonly token: string }
  | { readonly problem: NonNullable<SecretState["problem"]>; readonly ended: boolean };

const STAYS = "; its last good token stays in force";

function stateAfter({ token }: SecretState, read: Read): SecretState {
  if ("token" in read) return read;
  const { problem, ended } = read;
  if (token === undefined || ended) return { problem };
  return { token, problem: { ...problem, message: problem.message + STAYS } };
}

function keyOf({ namespace, name, use }: NamedSecret): string {
  return `${use} ${namespace}/${name}`;
}

async function readSecret(
  api: KubeApi,
  ref: NamedSecret,
  signal: AbortSignal,
): Promise<Read | undefined> {
  const { namespace, name } = ref;
  try {
    return readToken(await api.get(SECRETS, name, { namespace, signal }), ref);
  } catch (error) {
    if (hasStatus(error, 404)) return missing(`there is no Secret "${namespace}/${name}"`, { ended: true });
    if (hasStatus(error, 403)) {
      return missing(
        `the Secret "${namespace}/${name}" may not be read: grant get on it by a Role in ${namespace}`,
        { ended: false },
      );
    }
    return undefined;
  }
}

function readToken(secret: KubeObject, { namespace, name: secretName, use }: NamedSecret): Read {
  const name = `${namespace}/${secretName}`;
  if (!Object.hasOwn(secret.metadata.labels ?? {}, SECRET_LABEL)) {
    return missing(`the Secret "${name}" lacks the label ${SECRET_LABEL}`, { ended: true });
  }
  const data = secret["data"];
  const encoded = typeof data === "object" && data !== null
    ? Object.getOwnPropertyDescriptor(data, KEY)?.value
    : undefined;
  const token = typeof encoded === "string" ? decoded(encoded).trim() : "";
  if (token === "") return missing(`the Secret "${name}" has no key ${KEY}`, { ended: false });
  const fault = token.length < MIN_LENGTH
    ? `it is shorter than ${MIN_LENGTH} characters`
    : use === "bearer"
    ? tokenFault(token)
    : undefined;
  if (fault === undefined) return { token };
  const message = `the ${KEY} of Secret "${name}" cannot be used: ${fault}`;
  return { problem: { reason: "SecretInvalid", message }, ended: false };
}

function missing(message: string, { ended }: { readonly ended: boolean }): Read {
  return { problem: { reason: "SecretMissing", message }, ended };
}

function decoded(base64: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
  } catch {
    return "";
  }
}
