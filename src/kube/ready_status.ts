/** Writes the `Ready` condition of configuration resources, in the background, as far as it differs. */
import { isObject, type JsonObject } from "../model/json.ts";
import type { Clock } from "../model/clock.ts";
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "./api.ts";
import { type Backoff, backoff, elapsed, retry, retryAfterMsOf, type Sleep } from "./retry.ts";
import { logger } from "../telemetry/logging.ts";

/** What `Ready` says. */
export interface ReadyCondition {
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
}

export interface ReadyStatusOptions {
  readonly api: KubeApi;
  readonly type: ResourceType;
  readonly clock: Clock;
  /** Replicas would write the same: one is enough. */
  readonly isLeader: () => boolean;
  readonly sleep?: Sleep;
}

/** Takes conditions to write. */
export interface ReadyStatusWriter {
  /** Replaces what is not written yet for this object. Nothing happens on a follower or where nothing differs. */
  write(object: KubeObject, condition: ReadyCondition): void;
  /** The object is gone: what is not written for it is not written any more. */
  forget(object: KubeObject): void;
  /**
   * Writes, one after the other, until `signal` aborts; what is refused is tried again within two minutes, unless
   * very many are.
   */
  run(signal: AbortSignal): Promise<void>;
}

interface Pending {
  readonly object: KubeObject;
  readonly condition: ReadyCondition;
  /** Monotonic; not before. */
  dueAt: number;
  /** Set once it was refused. */
  waits?: Backoff;
}

const log = logger("status");
/** What is wrong (a right, an admission policy) may stay so for days. */
const REFUSED_WAIT = { initialMs: 2_000, maxMs: 60_000 };
/** Refused ones that wait for another try; where more are, the next decision about them is the next try. */
const MAX_REFUSED = 50;
/** One object that the API server falls over must not hold up the others. */
const MAX_ATTEMPTS = 5;
const MAX_SLEEP_MS = 3_600_000;

/** Creates the writer of one resource type. */
export function createReadyStatusWriter(options: ReadyStatusOptions): ReadyStatusWriter {
  const { clock, isLeader, sleep } = options;
  const pending = new Map<string, Pending>();
  let wake = () => {};

  /** Waits until something is due, written anew, or `signal` aborts. */
  async function idle(signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    wake = () => woken.abort();
    signal.addEventListener("abort", wake, { once: true });
    let dueAt = Infinity;
    for (const each of pending.values()) dueAt = Math.min(dueAt, each.dueAt);
    const pauseMs = Math.min(MAX_SLEEP_MS, Math.max(0, dueAt - clock.monotonic()));
    await elapsed(pauseMs, { signal: woken.signal, sleep });
    signal.removeEventListener("abort", wake);
  }

  /** Writes one; what is refused is put off. */
  async function settle(key: string, next: Pending, signal: AbortSignal): Promise<void> {
    if (!isLeader()) return;
    const error = await writeOne(options, next, signal);
    if (error === undefined || signal.aborted || pending.has(key)) return;
    if (!next.waits) {
      const { namespace, name } = next.object.metadata;
      const fields = { kind: options.type.kind, namespace, name, error };
      log.warn("Status of a configuration resource could not be written: it is tried again", fields);
    }
    let refused = 0;
    for (const { waits } of pending.values()) if (waits) refused++;
    if (refused >= MAX_REFUSED) return;
    const waits = next.waits ?? backoff(REFUSED_WAIT);
    pending.set(key, { ...next, waits, dueAt: clock.monotonic() + waits.next(retryAfterMsOf(error)) });
  }

  /** The first that is due. */
  function due(): [string, Pending] | undefined {
    const now = clock.monotonic();
    for (const entry of pending) if (entry[1].dueAt <= now) return entry;
  }

  return {
    write(object, condition) {
      const key = keyOf(object);
      if (!isLeader() || !differs(object, condition)) {
        pending.delete(key);
        return;
      }
      pending.set(key, { object, condition, dueAt: -Infinity });
      wake();
    },
    forget: (object) => void pending.delete(keyOf(object)),
    async run(signal) {
      while (!signal.aborted) {
        const next = due();
        if (!next) {
          await idle(signal);
          continue;
        }
        pending.delete(next[0]);
        await settle(...next, signal);
      }
    },
  };
}

/** `namespace/name`. */
export function keyOf({ metadata: { namespace = "", name = "" } }: KubeObject): string {
  return `${namespace}/${name}`;
}

/** The error that another try may mend, if there was one. */
async function writeOne(
  { api, type, clock, sleep: wait }: ReadyStatusOptions,
  { object, condition }: Pending,
  signal: AbortSignal,
): Promise<unknown> {
  const { namespace, name = "" } = object.metadata;
  const before = readyOf(object);
  const lastTransitionTime =
    before?.status === condition.status && typeof before.lastTransitionTime === "string"
      ? before.lastTransitionTime
      : new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
  const conditions = [{ type: "Ready", ...condition, lastTransitionTime }];
  try {
    await retry(
      () =>
        api.patch(type, name, { status: { conditions } }, {
          type: "merge",
          subresource: "status",
          signal,
          ...(namespace !== undefined && { namespace }),
        }),
      { signal, maxAttempts: MAX_ATTEMPTS, ...(wait && { sleep: wait }) },
    );
    return undefined;
  } catch (error) {
    return hasStatus(error, 404) ? undefined : error;
  }
}

function differs(object: KubeObject, condition: ReadyCondition): boolean {
  const before = readyOf(object);
  return !before || Object.entries(condition).some(([key, value]) => before[key] !== value);
}

function readyOf(object: KubeObject): JsonObject | undefined {
  if (!isObject(object.status) || !Array.isArray(object.status.conditions)) return undefined;
  return object.status.conditions.filter(isObject).find((condition) => condition.type === "Ready");
}
