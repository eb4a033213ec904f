/**
 * Counts repeats in the background. Each replica collects them as one delta per object and adds it to the status later, so
 * that creates do not wait for counts, and a thousand repeats cost a few writes.
 */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import type { Clock } from "../model/time.ts";
import type { NormalEvent } from "../model/event.ts";
import type { ResolvedReason } from "../model/observation.ts";
import { ApiError } from "../kube/api.ts";
import {
  createSpacing,
  DueQueue,
  isRetryable,
  retryAfterMsOf,
  type Sleep,
  type WorkResult,
} from "../kube/retry.ts";
import type { Generation, WriteContext } from "../pipeline/ports.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { throttle } from "../telemetry/throttle.ts";
import { ContentOrigins } from "./content_origins.ts";
import type { ObservationIndex, Row } from "./index/mod.ts";
import { isForbidden } from "./refusal.ts";
import {
  type Content,
  NO_CHANGE,
  type StatusDelta,
  type UpdateResult,
  type Updates,
  type UpdateTarget,
} from "./updates.ts";

export interface RepeatsOptions {
  readonly updates: Updates;
  readonly index: ObservationIndex;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "repeatsUncounted">;
  /** Time without the report whose content is stored after which another report may replace it. */
  readonly contentSilenceMs: number;
  /** DEDUP_ENABLE_AGGREGATION: whether a return from Resolved adds an occurrence. */
  readonly countReturns: boolean;
  readonly maxSize?: number;
  readonly writesPerSecond?: number;
  readonly sleep?: Sleep;
}

/** The part of a write's context that repeats need. */
export type RepeatContext = Pick<WriteContext, "origin" | "pushed">;

/** The repeats of a process that are not written yet. */
export interface Repeats {
  /** Call when a finding was stored as a new Observation: notes that the content is its origin's. */
  stored(event: NormalEvent, context: RepeatContext): void;
  /** Call when an event was deduped into a stored generation. */
  add(event: NormalEvent, into: Generation, context: RepeatContext): void;
  /**
   * Sets a finding to Resolved; true if that was written. Does nothing if another change of the finding waits to be written.
   * A report that comes during the write makes it Active again afterwards.
   */
  resolve(target: UpdateTarget, end: FindingEnd, signal: AbortSignal): Promise<boolean>;
  /**
   * Sets a finding to Accepted if an exception covers it when its turn comes, else to Active, unless it is Resolved or
   * `mayWrite` is false by then. False if that waits already.
   */
  followExceptions(target: UpdateTarget, mayWrite: () => boolean): boolean;
  /** Findings that wait for `followExceptions`, without those whose writes were refused. */
  readonly followingExceptions: number;
  /**
   * Call when a finding that this process read in a report is stored as Resolved: writes its `lastSeenAt` if the replica that
   * resolved it did not know of that report.
   */
  noteResolved(finding: Row): void;
  /** Makes a finding Active again if it is Resolved. */
  reopen(target: UpdateTarget): void;
  /** The `lastSeenAt` that waits to be written for the object. */
  pendingLastSeenAt(namespace: string, name: string): number | undefined;
  /** Writes what is due until `signal` aborts; afterwards `flush` writes the rest. */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
  /** Writes everything, until done or `signal` aborts. */
  flush(signal: AbortSignal): Promise<void>;
  /** Writes that wait or are under way. */
  readonly size: number;
}

/** When a finding ended, in milliseconds since the epoch, and why. */
export interface FindingEnd {
  readonly resolvedAt: number;
  readonly reason: ResolvedReason;
  /** When it was last reported; absent if this process does not know. */
  readonly lastSeenAt?: number;
}

/** `lastSeenAt` reaches the API server within this, or a quarter of a shorter window. */
const FLUSH_MS = 5_000;
/** Long enough for the other reports of the same evaluation to be read, one of which may have the stored content. */
const CONTENT_DELAY_MS = 5_000;
const TRANSITION_DELAY_MS = 500;
/** The index keeps whole seconds of when a finding was reported. */
const REPORTED_PRECISION_MS = 1_000;
/** A pushed finding's TTL runs from lastSeenAt: it is written when this share of the TTL has passed. */
const TTL_SHARE = 10;
/** At most one log line in this time, however many writes are refused, or repeats uncounted. */
const QUIET_LOG_MS = 60_000;

/** Why repeats are not counted, and what each word means. */
export const UNCOUNTED_REASON_MEANINGS = {
  deleted: "the Observation was deleted before the count was written; the next event creates it again",
  queue_full: "more objects repeat than counts can wait to be written",
  refused: "a missing right or a policy refuses too many counts",
  rejected: "the API server will never take the count",
} as const;
type UncountedReason = keyof typeof UNCOUNTED_REASON_MEANINGS;

const TOO_MANY_REFUSED = "too many status writes are refused";

interface Work<T> {
  readonly target: UpdateTarget;
  readonly value: T;
}

interface Said {
  readonly content: Content;
  readonly origin: string;
}

/** Creates the repeats of a process. */
export function createRepeats(options: RepeatsOptions): Repeats {
  const { updates, index, clock, log, metrics, maxSize = 20_000, writesPerSecond = 200 } = options;
  for (const reason of Object.keys(UNCOUNTED_REASON_MEANINGS)) metrics.repeatsUncounted.inc({ reason }, 0);
  const origins = new ContentOrigins(clock, options.contentSilenceMs);
  const sleep = options.sleep && { sleep: options.sleep };
  const common = { clock, maxSize, concurrency: 8, ...sleep };
  const newSpacing = () => createSpacing({ clock, perSecond: writesPerSecond, ...sleep });
  // Counts and acceptances take turns: however many repeats come, a finding follows its exceptions.
  const statusSpacing = newSpacing();
  const statuses = new DueQueue<Work<StatusDelta>>({
    ...common,
    spacing: statusSpacing,
    work: (_key, { target, value }, signal) =>
      attempt(target, {
        signal,
        write: () => updates.addToStatus(target, value, signal),
        uncounted: (reason) => uncounted(target, { occurrences: value.occurrences, reason }),
      }),
    merge: (older, newer) => ({ target: older.target, value: mergeDeltas(older.value, newer.value) }),
    dropped({ target, value: { occurrences } }) {
      lost(target, TOO_MANY_REFUSED);
      uncounted(target, { occurrences, reason: "refused" });
    },
  });
  const acceptances = new DueQueue<Work<() => boolean>>({
    ...common,
    spacing: statusSpacing,
    work: async (_key, { target, value: mayWrite }, signal) =>
      mayWrite()
        ? await attempt(target, { signal, write: () => updates.followExceptions(target, signal) })
        : "done",
    merge: (_older, newer) => newer,
    dropped: ({ target }) => lost(target, TOO_MANY_REFUSED),
  });
  const contents = new DueQueue<Work<Said>>({
    ...common,
    spacing: newSpacing(),
    work: (_key, { target, value }, signal) =>
      attempt(target, { signal, write: () => updates.replaceContent(target, value.content, signal) }),
    merge: (_older, newer) => newer,
    dropped: ({ target }) => lost(target, TOO_MANY_REFUSED),
  });

  const sayings = throttle({ lines: 1, windowMs: QUIET_LOG_MS, now: () => clock.monotonic() });

  async function attempt(
    target: UpdateTarget,
    { signal, write, uncounted }: {
      readonly signal: AbortSignal;
      readonly write: () => Promise<UpdateResult>;
      /** Called if the write's repeats will never be counted. */
      readonly uncounted?: (reason: UncountedReason) => void;
    },
  ): Promise<WorkResult> {
    try {
      if (await write() === "gone") uncounted?.("deleted");
      return "done";
    } catch (error) {
      if (signal.aborted || isConflict(error)) return "again";
      if (isRetryable(error)) return { retryAfterMs: retryAfterMsOf(error) ?? 0 };
      if (isForbidden(error)) {
        sayRefused(target, error);
        return "refused";
      }
      lost(target, error);
      uncounted?.("rejected");
      return "done";
    }
  }

  /** Counts repeats that were answered as `deduped`, and that no Observation shows. */
  function uncounted(
    { namespace, name }: UpdateTarget,
    { occurrences, reason }: { readonly occurrences: number; readonly reason: UncountedReason },
  ): void {
    if (occurrences === 0) return;
    metrics.repeatsUncounted.inc({ reason }, occurrences);
    const unsaid = reason === "deleted" ? sayings(reason) : undefined;
    if (unsaid === undefined) return;
    log.info("Observations were deleted before their last repeats were counted", {
      namespace,
      name,
      repeats: occurrences,
      others: unsaid,
    });
  }

  /** Logs refused writes, throttled: only an admin can fix them, and thousands of writes may be refused. */
  function sayRefused({ namespace, name }: UpdateTarget, error: unknown): void {
    if (sayings("refused") === undefined) return;
    const waiting = statuses.refused + acceptances.refused + contents.refused + 1;
    log.error("Status writes are refused: they are kept and tried again", {
      namespace,
      name,
      waiting,
      error,
    });
  }

  function lost({ namespace, name }: UpdateTarget, error: unknown): void {
    log.error("Status could not be written: what it said is lost", { namespace, name, error });
  }

  function size(): number {
    return statuses.size + acceptances.size + contents.size;
  }

  function queue(target: UpdateTarget, delta: StatusDelta, delayMs: number): void {
    const { namespace, name } = target;
    const key = keyOf(target);
    const work = { target: statuses.waiting(key)?.target ?? target, value: delta };
    if (statuses.add(key, work, delayMs)) return;
    uncounted(target, { occurrences: delta.occurrences, reason: "queue_full" });
    log.warn("Too many status writes are waiting: the repeats of this event are not counted", {
      namespace,
      name,
    });
  }

  function targetOf({ namespace, name }: Generation, { fingerprint }: NormalEvent): UpdateTarget {
    return { namespace, name, fingerprint, uid: index.uidOf(namespace, name) };
  }

  function repeatOccurrence(event: NormalEvent, into: Generation, { pushed }: RepeatContext): void {
    if (event.windowMs === Infinity) return;
    // An act that is stored in an object (as in a Kubernetes Event) is read again at every resync: only a later one is a repeat.
    if (!pushed && event.at <= into.lastSeenAt) return;
    const within = event.at >= into.firstSeenAt - event.windowMs;
    const delta = {
      occurrences: event.countRepeats ? 1 : 0,
      firstSeenAt: within ? event.at : Infinity,
      lastSeenAt: event.at,
      ...(pushed ? {} : { kept: true }),
    };
    if (delta.occurrences === 0 && event.at <= into.lastSeenAt && event.at >= into.firstSeenAt) return;
    queue(targetOf(into, event), delta, Math.min(FLUSH_MS, event.windowMs / 4));
  }

  function repeatFinding(event: NormalEvent, into: Generation, context: RepeatContext): void {
    if (event.resolved) {
      // Also if the index has it as Resolved: its return may not be written yet, or not have come through the watch.
      const at = event.resolvedAt ?? event.at;
      const reportedAt = lastReportedAt(into);
      queue(
        targetOf(into, event),
        {
          ...NO_CHANGE,
          ...(reportedAt !== undefined && { lastSeenAt: Math.min(reportedAt, at) }),
          resolved: { at, reason: "SaidResolved" },
        },
        TRANSITION_DELAY_MS,
      );
      return;
    }
    const seconds = Math.floor(clock.monotonic() / 1_000);
    const stored = index.noteReported(into.namespace, into.name, seconds);
    // A report after a resolution is a return, even if the resolution is not written yet or `into` was read before it.
    const isResolved = !into.active || stored?.isResolved === true ||
      statuses.pending(keyOf(into))?.value.resolved !== undefined;
    if (isResolved) {
      queue(
        targetOf(into, event),
        reopening({ lastSeenAt: event.at, isCounted: event.countRepeats }),
        TRANSITION_DELAY_MS,
      );
    } else if (context.pushed && event.at - into.lastSeenAt > event.ttlSeconds * 1_000 / TTL_SHARE) {
      queue(targetOf(into, event), { ...NO_CHANGE, lastSeenAt: event.at }, FLUSH_MS);
    }
    takeContent(event, into, context.origin);
  }

  function reopening(
    { lastSeenAt, isCounted }: { readonly lastSeenAt: number; readonly isCounted: boolean },
  ): StatusDelta {
    return { ...NO_CHANGE, lastSeenAt, reopened: { at: clock.now(), occurrences: isCounted ? 1 : 0 } };
  }

  /** When this process last read a finding in a report, in milliseconds since the epoch. */
  function lastReportedAt({ namespace, name }: Generation): number | undefined {
    const reportedAtSeconds = index.reportedAtSeconds(namespace, name);
    if (reportedAtSeconds === 0) return undefined;
    return clock.now() - (clock.monotonic() - reportedAtSeconds * 1_000);
  }

  /** Replaces the stored content if the event's differs and its origin may replace it. */
  function takeContent(event: NormalEvent, into: Generation, origin: string): void {
    const key = keyOf(into);
    const { fingerprint, message, details, contentHash } = event;
    if (contentHash === into.contentHash) {
      const waiting = contents.pending(key);
      if (waiting && waiting.value.origin !== origin) {
        contents.drop(key);
        origins.set(fingerprint, origin);
      } else {
        origins.confirm(fingerprint, origin);
      }
    } else if (origins.mayReplace(fingerprint, origin)) {
      const work = {
        target: targetOf(into, event),
        value: { content: { message, details, contentHash }, origin },
      };
      if (contents.add(key, work, CONTENT_DELAY_MS)) origins.set(fingerprint, origin);
    }
  }

  return {
    stored: ({ fingerprint }, { origin }) => origins.set(fingerprint, origin),
    add(event, into, context) {
      if (event.kind === "occurrence") repeatOccurrence(event, into, context);
      else repeatFinding(event, into, context);
    },
    async resolve(target, { resolvedAt, reason, lastSeenAt = NO_CHANGE.lastSeenAt }, signal) {
      const value = { ...NO_CHANGE, resolved: { at: resolvedAt, reason }, lastSeenAt };
      let isWritten = false;
      await statuses.exclusively(keyOf(target), { target, value }, async () => {
        isWritten = await updates.addToStatus(target, value, signal) === "written";
      });
      return isWritten;
    },
    followExceptions(target, mayWrite) {
      const key = keyOf(target);
      // Work in progress may have judged the finding by exceptions that have changed since.
      if (acceptances.waiting(key)) return false;
      return acceptances.add(key, { target, value: mayWrite }, 0);
    },
    get followingExceptions() {
      return acceptances.size - acceptances.refused;
    },
    noteResolved(finding) {
      const lastSeenAt = Math.min(lastReportedAt(finding) ?? 0, finding.resolvedAt);
      if (lastSeenAt <= finding.lastSeenAt + REPORTED_PRECISION_MS) return;
      queue(finding, { ...NO_CHANGE, lastSeenAt }, TRANSITION_DELAY_MS);
    },
    reopen(target) {
      queue(
        target,
        reopening({ lastSeenAt: clock.now(), isCounted: options.countReturns }),
        TRANSITION_DELAY_MS,
      );
    },
    pendingLastSeenAt(namespace, name) {
      const lastSeenAt = statuses.pending(keyOf({ namespace, name }))?.value.lastSeenAt;
      return lastSeenAt === -Infinity ? undefined : lastSeenAt;
    },
    async run(signal, beat = NO_BEAT) {
      await Promise.all([
        statuses.run(signal, beat.of("statuses")),
        acceptances.run(signal, beat.of("acceptances")),
        contents.run(signal, beat.of("contents")),
      ]);
    },
    async flush(signal) {
      await Promise.all([statuses, acceptances, contents].map((each) => each.flush(signal)));
      const left = size();
      if (left > 0) log.error("Status writes are left undone at the end: what they said is lost", { left });
    },
    get size() {
      return size();
    },
  };
}

function keyOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`;
}

/** Adds two deltas. If one is a return and the other a resolution, the later one wins. */
export function mergeDeltas(older: StatusDelta, newer: StatusDelta): StatusDelta {
  const sum = {
    occurrences: older.occurrences + newer.occurrences,
    firstSeenAt: Math.min(older.firstSeenAt, newer.firstSeenAt),
    lastSeenAt: Math.max(older.lastSeenAt, newer.lastSeenAt),
  };
  const { reopened, resolved } = newer.reopened || newer.resolved ? newer : older;
  return {
    ...sum,
    ...(older.kept && newer.kept && { kept: true }),
    ...(reopened && { reopened }),
    ...(resolved && { resolved }),
  };
}

function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.status === 409;
}
