/**
 * Repeats in the background: each replica holds what it saw since its last write as a delta per object and adds it
 * later, so that no create waits for a count and a thousand repeats cost a few writes.
 */
import type { Clock } from "../model/clock.ts";
import type { NormalEvent } from "../model/event.ts";
import { ApiError, type KubeApi } from "../kube/api.ts";
import { isRetryable, type Sleep } from "../kube/retry.ts";
import type { Generation, WriteContext } from "../pipeline/ports.ts";
import type { Logger } from "../telemetry/logging.ts";
import { throttle } from "../telemetry/throttle.ts";
import { ContentHold } from "./content_hold.ts";
import { DueQueue, type WorkResult } from "./due_queue.ts";
import type { ObservationIndex } from "./index.ts";
import { isForbidden } from "./refusal.ts";
import {
  type Content,
  createStatusWriter,
  type StatusDelta,
  type StatusWriter,
  type Target,
} from "./status_writer.ts";

export interface StatusLaneOptions {
  readonly api: KubeApi;
  readonly index: ObservationIndex;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long a report may be silent before another one's words replace what it said of a finding. */
  readonly contentSilenceMs: number;
  readonly maxSize?: number;
  readonly writesPerSecond?: number;
  readonly sleep?: Sleep;
}

/** What repeats come with. */
export type RepeatContext = Pick<WriteContext, "origin" | "pushed">;

/** The background lane of a process. */
export interface StatusLane {
  repeat(event: NormalEvent, into: Generation, context: RepeatContext): void;
  /** When the object was last seen by what is not written yet. */
  pendingLastSeenAt(namespace: string, name: string): number | undefined;
  /** Writes what is due until `signal` aborts; afterwards `flush` writes the rest. */
  run(signal: AbortSignal): Promise<void>;
  /** Writes everything, until done or `signal` aborts. */
  flush(signal: AbortSignal): Promise<void>;
  readonly size: number;
  readonly writer: StatusWriter;
}

/** `lastSeenAt` reaches the API server within this, or a quarter of a shorter window. */
const FLUSH_MS = 5_000;
/** Long enough for the other reports of an evaluation to object. */
const CONTENT_DELAY_MS = 5_000;
const TRANSITION_DELAY_MS = 500;
/** A pushed finding's TTL runs from lastSeenAt: it is written when this share of the TTL has passed. */
const TTL_SHARE = 20;
/** One line in this time, however many writes are refused. */
const REFUSED_LOG_MS = 60_000;
const NEVER = { occurrences: 0, firstSeenAt: Infinity, lastSeenAt: -Infinity };

interface Work<T> {
  readonly target: Target;
  readonly value: T;
}

interface Said {
  readonly content: Content;
  readonly origin: string;
}

/** Creates the lane of a process. */
export function createStatusLane(options: StatusLaneOptions): StatusLane {
  const { api, index, clock, log, maxSize = 20_000, writesPerSecond = 200 } = options;
  const writer = createStatusWriter({ api, index, clock });
  const hold = new ContentHold(clock, options.contentSilenceMs);
  const common = {
    clock,
    maxSize,
    concurrency: 8,
    perSecond: writesPerSecond,
    dropped: ({ target }: Work<unknown>) => lost(target, "too many status writes are refused"),
    ...(options.sleep && { sleep: options.sleep }),
  };
  const statuses = new DueQueue<Work<StatusDelta>>({
    ...common,
    work: (_key, { target, value }, signal) =>
      attempt(target, () => writer.apply(target, value, signal), signal),
    merge: (older, newer) => ({ target: older.target, value: mergeDeltas(older.value, newer.value) }),
  });
  const contents = new DueQueue<Work<Said>>({
    ...common,
    work: (_key, { target, value }, signal) =>
      attempt(target, () => writer.replaceContent(target, value.content, signal), signal),
    merge: (_older, newer) => newer,
  });

  const sayings = throttle({ lines: 1, windowMs: REFUSED_LOG_MS, now: () => clock.monotonic() });

  async function attempt(
    target: Target,
    write: () => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<WorkResult> {
    try {
      await write();
      return "done";
    } catch (error) {
      if (signal.aborted || isRetryable(error) || isConflict(error)) return "again";
      if (isForbidden(error)) {
        sayRefused(target, error);
        return "refused";
      }
      lost(target, error);
      return "done";
    }
  }

  /** Nothing but an admin mends it, and each of thousands of writes would say the same. */
  function sayRefused({ namespace, name }: Target, error: unknown): void {
    if (sayings("refused") === undefined) return;
    const waiting = statuses.refused + contents.refused + 1;
    log.error("Status writes are refused: they are kept and tried again", {
      namespace,
      name,
      waiting,
      error,
    });
  }

  function lost({ namespace, name }: Target, error: unknown): void {
    log.error("Status could not be written: what it said is lost", { namespace, name, error });
  }

  function add(into: Generation, event: NormalEvent, delta: StatusDelta, delayMs: number): void {
    const key = keyOf(into);
    const target = statuses.waiting(key)?.target ?? targetOf(into, event);
    if (statuses.add(key, { target, value: delta }, delayMs)) return;
    log.warn("Too many status writes are waiting: the repeats of this event are not counted", {
      namespace: into.namespace,
      name: into.name,
    });
  }

  function targetOf({ namespace, name }: Generation, { fingerprint }: NormalEvent): Target {
    return { namespace, name, fingerprint, uid: index.uidOf(namespace, name) };
  }

  function repeatOccurrence(event: NormalEvent, into: Generation, { pushed }: RepeatContext): void {
    if (event.windowMs === Infinity) return;
    // An act kept in an object is read again at every resync: only what happened later is a repeat.
    if (!pushed && event.at <= into.lastSeenAt) return;
    const within = event.at >= into.firstSeenAt - event.windowMs;
    const delta = {
      occurrences: event.countRepeats ? 1 : 0,
      firstSeenAt: within ? event.at : Infinity,
      lastSeenAt: event.at,
      ...(pushed ? {} : { kept: true }),
    };
    if (delta.occurrences === 0 && event.at <= into.lastSeenAt && event.at >= into.firstSeenAt) return;
    add(into, event, delta, Math.min(FLUSH_MS, event.windowMs / 4));
  }

  function repeatFinding(event: NormalEvent, into: Generation, context: RepeatContext): void {
    if (event.resolved) {
      // Known to be Resolved or not: what made it Active again may not be written, or not be watched, yet.
      add(into, event, { ...NEVER, resolvedAt: event.at }, TRANSITION_DELAY_MS);
      return;
    }
    // What waits to be resolved is not any more: the later word counts, whatever the index still says.
    if (!into.active || statuses.pending(keyOf(into))?.value.resolvedAt !== undefined) {
      const returned = event.countRepeats ? 1 : 0;
      add(into, event, { ...NEVER, lastSeenAt: event.at, returned }, TRANSITION_DELAY_MS);
    } else if (context.pushed && event.at - into.lastSeenAt > event.ttlSeconds * 1_000 / TTL_SHARE) {
      add(into, event, { ...NEVER, lastSeenAt: event.at }, FLUSH_MS);
    }
    hear(event, into, context.origin);
  }

  /** See content_hold.ts for who is heard. */
  function hear(event: NormalEvent, into: Generation, origin: string): void {
    const key = keyOf(into);
    const { fingerprint, message, details, contentHash } = event;
    if (contentHash === into.contentHash) {
      const waiting = contents.pending(key);
      if (waiting && waiting.value.origin !== origin) {
        contents.drop(key);
        hold.hold(fingerprint, origin);
      } else {
        hold.confirm(fingerprint, origin);
      }
    } else if (hold.heard(fingerprint, origin)) {
      const work = {
        target: targetOf(into, event),
        value: { content: { message, details, contentHash }, origin },
      };
      if (contents.add(key, work, CONTENT_DELAY_MS)) hold.hold(fingerprint, origin);
    }
  }

  return {
    writer,
    repeat(event, into, context) {
      if (event.kind === "occurrence") repeatOccurrence(event, into, context);
      else repeatFinding(event, into, context);
    },
    pendingLastSeenAt(namespace, name) {
      const lastSeenAt = statuses.pending(keyOf({ namespace, name }))?.value.lastSeenAt;
      return lastSeenAt === -Infinity ? undefined : lastSeenAt;
    },
    async run(signal) {
      await Promise.all([statuses.run(signal), contents.run(signal)]);
    },
    async flush(signal) {
      await Promise.all([statuses.flush(signal), contents.flush(signal)]);
      const left = statuses.size + contents.size;
      if (left > 0) log.error("Status writes are left undone at the end: what they said is lost", { left });
    },
    get size() {
      return statuses.size + contents.size;
    },
  };
}

function keyOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`;
}

/** Deltas add up; of a return and a resolution the later one counts. */
export function mergeDeltas(older: StatusDelta, newer: StatusDelta): StatusDelta {
  const sum = {
    occurrences: older.occurrences + newer.occurrences,
    firstSeenAt: Math.min(older.firstSeenAt, newer.firstSeenAt),
    lastSeenAt: Math.max(older.lastSeenAt, newer.lastSeenAt),
  };
  const { returned, resolvedAt } = turns(newer) ? newer : older;
  return {
    ...sum,
    ...(older.kept && newer.kept && { kept: true }),
    ...(returned !== undefined && { returned }),
    ...(resolvedAt !== undefined && { resolvedAt }),
  };
}

function turns({ returned, resolvedAt }: StatusDelta): boolean {
  return returned !== undefined || resolvedAt !== undefined;
}

function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409;
}
