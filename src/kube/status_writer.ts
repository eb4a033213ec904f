/** Writes the status of configuration objects in the background, at a limited rate. Changes of one object merge while they wait. */
import type { Beat } from "../model/beat.ts";
import type { Clock } from "../model/time.ts";
import type { JsonObject } from "../model/json.ts";
import { logger } from "../telemetry/logging.ts";
import { throttle } from "../telemetry/throttle.ts";
import { deadline, hasStatus, type KubeApi, type KubeObject, type ResourceType } from "./api.ts";
import {
  createSpacing,
  DueQueue,
  isRetryable,
  retryAfterMsOf,
  type Sleep,
  type WorkResult,
} from "./retry.ts";

/** The object whose status is written. Another object of its name is left alone. */
export interface StatusTarget {
  readonly type: ResourceType;
  readonly namespace: string;
  readonly name: string;
  /** Absent: whichever object has the name. */
  readonly uid?: string;
}

/** The options that all writers of a process share. */
export interface StatusApi {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly sleep?: Sleep;
}

export interface StatusWriterOptions<T> extends StatusApi {
  /** The status to merge into what is stored; undefined where the change adds nothing. */
  readonly statusOf: (stored: KubeObject, change: T) => JsonObject | undefined;
  /** The part of the object that is written; `status`. A ConfigMap has no status and keeps it in its `data`. */
  readonly part?: "status" | "data";
  /** Called after each write that the API server accepted. */
  readonly onWritten?: (target: StatusTarget, change: T) => void;
  /** Called where the object does not exist; its change is dropped. */
  readonly onMissing?: (target: StatusTarget) => void;
  readonly merge: (older: T, newer: T) => T;
  /** If it returns false, nothing is written and waiting changes are dropped. By default each replica writes. */
  readonly isAllowed?: () => boolean;
  /** Least time between two writes of one object. */
  readonly minIntervalMs: number;
  /** Writes in all. */
  readonly perSecond: number;
  /** How long `run` continues after its signal's abort to write waiting changes; default 0. */
  readonly flushMs?: number;
}

interface Change<T> {
  readonly target: StatusTarget;
  readonly value: T;
}

const log = logger("status");
/** Most objects that wait, and most whose last write is remembered. */
const MAX_OBJECTS = 5_000;
const MAX_CONFLICTS = 5;
const CONCURRENCY = 4;
const REFUSED_WAIT = { initialMs: 2_000, maxMs: 60_000 };
/** At most one log line for each object in this time, however often its status is refused. */
const REFUSED_LOG_MS = 300_000;

/** Adds changes to the status of objects by read, merge and write; the oldest change goes first. */
export class StatusWriter<T> {
  readonly #options: StatusWriterOptions<T>;
  readonly #queue: DueQueue<Change<T>>;
  /** Monotonic, by object, least recent first. */
  readonly #writtenAt = new Map<string, number>();
  readonly #sayRefused: (key: string) => number | undefined;

  constructor(options: StatusWriterOptions<T>) {
    this.#options = options;
    const { clock, perSecond, merge, sleep } = options;
    this.#sayRefused = throttle({ lines: 1, windowMs: REFUSED_LOG_MS, now: () => clock.monotonic() });
    this.#queue = new DueQueue({
      clock,
      spacing: createSpacing({ clock, perSecond, ...(sleep && { sleep }) }),
      maxSize: MAX_OBJECTS,
      concurrency: CONCURRENCY,
      refusedWait: REFUSED_WAIT,
      work: (key, change, signal) => this.#write(key, change, signal),
      merge: (older, { target, value }) => ({ target, value: merge(older.value, value) }),
      dropped: ({ target }) => logLost(target, "too many writes are refused"),
      ...(sleep && { sleep }),
    });
  }

  /** Adds a change to what waits for the object. */
  add(target: StatusTarget, value: T): void {
    const key = keyOf(target);
    const waiting = this.#queue.waiting(key);
    // A new object of this name does not get the changes of the old one.
    if (waiting && waiting.target.uid !== target.uid) this.#queue.drop(key);
    if (!this.#queue.add(key, { target, value }, this.#delayMs(key))) {
      logLost(target, "too many objects wait for theirs");
    }
  }

  /** Replaces the waiting change of the object. It is tried at once, even if the last one was refused. */
  replace(target: StatusTarget, value: T): void {
    this.#queue.drop(keyOf(target));
    this.add(target, value);
  }

  /** Objects that wait, or are being written, without those whose last write was refused. */
  get size(): number {
    return this.#queue.size - this.#queue.refused;
  }

  /** The change that waits for an object. */
  waiting(target: StatusTarget): T | undefined {
    const waiting = this.#queue.waiting(keyOf(target));
    return waiting && waiting.target.uid === target.uid ? waiting.value : undefined;
  }

  /** Drops the waiting change of an object. */
  forget(target: StatusTarget): void {
    this.#queue.drop(keyOf(target));
  }

  /** Call when another replica wrote the object: this replica's next write waits, so that replicas take turns. */
  sawWrite(target: StatusTarget): void {
    const key = keyOf(target);
    this.#noteWrite(key);
    this.#queue.postpone(key, this.#options.minIntervalMs);
  }

  /** Writes what is due until `signal` aborts. */
  async run(signal: AbortSignal, beat?: Beat): Promise<void> {
    await this.#queue.run(signal, beat);
    const { flushMs = 0 } = this.#options;
    if (flushMs === 0 || this.#queue.size === 0) return;
    using end = deadline(flushMs, "write the last status");
    await this.#queue.flush(end.signal);
  }

  #delayMs(key: string): number {
    const { clock, minIntervalMs } = this.#options;
    const writtenAt = this.#writtenAt.get(key);
    return writtenAt === undefined ? 0 : Math.max(0, writtenAt + minIntervalMs - clock.monotonic());
  }

  #noteWrite(key: string): void {
    this.#writtenAt.delete(key);
    this.#writtenAt.set(key, this.#options.clock.monotonic());
    if (this.#writtenAt.size > MAX_OBJECTS) this.#writtenAt.delete(this.#writtenAt.keys().next().value ?? "");
  }

  async #write(key: string, { target, value }: Change<T>, signal: AbortSignal): Promise<WorkResult> {
    const { isAllowed = () => true } = this.#options;
    if (!isAllowed()) return "done";
    try {
      if (!await this.#patch(target, value, signal)) return "done";
      this.#noteWrite(key);
      this.#options.onWritten?.(target, value);
      return "done";
    } catch (error) {
      // Gone, with its status or with its CRD.
      if (hasStatus(error, 404)) {
        this.#options.onMissing?.(target);
        return "done";
      }
      if (signal.aborted || hasStatus(error, 409)) return "again";
      if (isRetryable(error)) return { retryAfterMs: retryAfterMsOf(error) ?? 0 };
      if (this.#sayRefused(key) !== undefined) {
        const { type: { kind }, namespace, name } = target;
        log.warn("Status is refused: it is kept and tried again", { kind, namespace, name, error });
      }
      return "refused";
    }
  }

  /** Reads the object and writes the change, with the resourceVersion that was read. True if it was written. */
  async #patch(target: StatusTarget, value: T, signal: AbortSignal): Promise<boolean> {
    const { api, statusOf, part = "status" } = this.#options;
    const { type, namespace, name } = target;
    const subresource = part === "status" ? { subresource: part } : {};
    for (let conflicts = 0;; conflicts++) {
      const stored = await api.get(type, name, { namespace, signal });
      const { uid = "", resourceVersion = null } = stored.metadata;
      if (target.uid !== undefined && uid !== target.uid) return false;
      const status = statusOf(stored, value);
      if (!status) return false;
      const patch = { metadata: { uid, resourceVersion }, [part]: status };
      try {
        await api.patch(type, name, patch, { type: "merge", ...subresource, namespace, signal });
        return true;
      } catch (error) {
        if (!hasStatus(error, 409) || conflicts >= MAX_CONFLICTS) throw error;
      }
    }
  }
}

/** The object as a target of its status. */
export function statusTarget(
  type: ResourceType,
  { metadata }: KubeObject,
): StatusTarget & { readonly uid: string } {
  const { namespace = "", name = "", uid = "" } = metadata;
  return { type, namespace, name, uid };
}

function keyOf({ type, namespace, name }: StatusTarget): string {
  return `${type.plural} ${namespace}/${name}`;
}

function logLost({ type: { kind }, namespace, name }: StatusTarget, why: string): void {
  log.error("Status could not be written: what it said is lost", { kind, namespace, name, error: why });
}
