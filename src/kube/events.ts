/** Records Kubernetes Events, for administrators who use `kubectl describe`. Best effort: it never delays or fails its caller. */
import { type Clock, formatSeconds, systemClock } from "../model/time.ts";
import { LRUCache } from "lru-cache";
import { clean } from "../text/clean.ts";
import { type Logger, logger } from "../telemetry/logging.ts";
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "./api.ts";
import { elapsed, retry, type Sleep } from "./retry.ts";

/** The resource of Events. */
export const EVENTS: ResourceType = {
  group: "",
  version: "v1",
  plural: "events",
  kind: "Event",
  namespaced: true,
};

/** The object an Event is about. */
export interface ObjectReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  /** Absent for a cluster-scoped object: its Events go to `default`. */
  readonly namespace?: string;
  readonly uid?: string;
}

/** An Event to write. */
export interface EventDraft {
  readonly regarding: ObjectReference;
  /** Another object that it is about. */
  readonly related?: ObjectReference;
  readonly type: "Normal" | "Warning";
  /** UpperCamelCase, from a fixed set, because users select Events by it. */
  readonly reason: string;
  readonly message: string;
}

/** An Event about the whole installation: on the controller's own namespace. */
export function installationEvent(
  ownNamespace: string,
  said: Pick<EventDraft, "type" | "reason" | "message">,
): EventDraft {
  const regarding = { apiVersion: "v1", kind: "Namespace", name: ownNamespace, namespace: ownNamespace };
  return { regarding, ...said };
}

export interface EventRecorderOptions {
  readonly api: KubeApi;
  /** Ends the recorder; Events that are not written by then are dropped. */
  readonly signal: AbortSignal;
  /** The reporter: the program, and the Pod. */
  readonly component?: string;
  readonly instance: string;
  /** Writes allowed at once, and the time in which one more is allowed. */
  readonly burst?: number;
  readonly refillMs?: number;
  readonly clock?: Clock;
  readonly sleep?: Sleep;
  readonly random?: () => number;
  readonly log?: Logger;
}

/** Records Events. */
export interface EventRecorder {
  /** Queues an Event; one that repeats an earlier one raises its count. Returns at once and never throws. */
  record(draft: EventDraft): void;
  /** Resolves once everything queued is written or dropped. */
  flush(): Promise<void>;
}

/** Queued, and how often since it was last written. */
interface Pending {
  readonly draft: EventDraft;
  count: number;
}

/** Written, and how often in all. */
interface Written {
  readonly name: string;
  count: number;
}

const MAX_PENDING = 100;
const MAX_WRITTEN = 256;
const MAX_MESSAGE = 1_000;

/** Creates a recorder that keeps at most 100 Events waiting, and writes the first 25 at once, then one every 5 s. */
export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  const { signal, clock = systemClock, burst = 25, refillMs = 5_000, log = logger("events") } = options;
  const { sleep } = options;
  const pending = new Map<string, Pending>();
  const written = new LRUCache<string, Written>({ max: MAX_WRITTEN });
  let spentUntilMs = -Infinity;
  let draining: Promise<void> | undefined;

  /** Each write moves `spentUntilMs` on by one refill; it may run ahead of the clock by a burst. False once aborted. */
  const mayWrite = async (): Promise<boolean> => {
    const now = clock.monotonic();
    spentUntilMs = Math.max(spentUntilMs, now) + refillMs;
    const waitMs = spentUntilMs - now - burst * refillMs;
    return waitMs <= 0 || await elapsed(waitMs, { signal, sleep });
  };

  const drain = async () => {
    while (pending.size > 0 && await mayWrite()) {
      const [key, next] = pending.entries().next().value ?? [];
      if (key === undefined || next === undefined || signal.aborted) break;
      pending.delete(key);
      try {
        written.set(key, await write(options, { ...next, before: written.get(key), clock }));
      } catch (error) {
        if (!signal.aborted) log.warn("Cannot record an Event", { reason: next.draft.reason, error });
      }
    }
    pending.clear();
    draining = undefined;
  };

  return {
    record(draft) {
      if (signal.aborted) return;
      const cleaned = { ...draft, message: clean(draft.message, MAX_MESSAGE) };
      const key = JSON.stringify(cleaned);
      const same = pending.get(key);
      if (same) same.count++;
      else if (pending.size >= MAX_PENDING) {
        log.warn("Cannot record an Event", { reason: draft.reason, error: "too many are waiting" });
      } else pending.set(key, { draft: cleaned, count: 1 });
      draining ??= drain();
    },
    async flush() {
      await draining;
    },
  };
}

async function write(
  options: EventRecorderOptions,
  event: Pending & { readonly before: Written | undefined; readonly clock: Clock },
): Promise<Written> {
  const { api, signal } = options;
  const { draft, before, clock } = event;
  const namespace = draft.regarding.namespace ?? "default";
  const now = formatSeconds(clock.now());
  const how = { signal, maxAttempts: 3, ...(options.sleep ? { sleep: options.sleep } : {}) };
  if (before) {
    const count = before.count + event.count;
    const patch = { count, lastTimestamp: now };
    try {
      await retry(() => api.patch(EVENTS, before.name, patch, { type: "merge", namespace, signal }), how);
      return { name: before.name, count };
    } catch (error) {
      // The API server forgets Events after an hour.
      if (!hasStatus(error, 404)) throw error;
    }
  }
  const name = nameOf(draft, clock.now(), options.random ?? Math.random);
  const object = toObject(options, { draft, name, namespace, now, count: event.count });
  await retry(() => api.create(EVENTS, object, { namespace, signal }), how);
  return { name, count: event.count };
}

function toObject(
  { component = "zen-watcher", instance }: EventRecorderOptions,
  { draft, name, namespace, now, count }: {
    readonly draft: EventDraft;
    readonly name: string;
    readonly namespace: string;
    readonly now: string;
    readonly count: number;
  },
): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name, namespace },
    involvedObject: draft.regarding,
    ...(draft.related && { related: draft.related }),
    type: draft.type,
    reason: draft.reason,
    message: draft.message,
    count,
    firstTimestamp: now,
    lastTimestamp: now,
    source: { component },
    reportingComponent: component,
    reportingInstance: instance,
  };
}

/** The object's name, the time and random digits, because replicas may report the same thing at the same time. */
function nameOf({ regarding }: EventDraft, now: number, random: () => number): string {
  const chance = Math.floor(random() * 0x10000).toString(16).padStart(4, "0");
  return `${regarding.name.slice(0, 220)}.${now.toString(16)}${chance}`;
}
