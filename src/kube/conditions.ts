/** Writes `Ready` conditions into the status of objects. Runs on the leader. */
import type { Beat } from "../model/beat.ts";
import { canonicalJson } from "../model/identity.ts";
import { isObject, type JsonObject } from "../model/json.ts";
import { formatSeconds } from "../model/time.ts";
import type { KubeObject, ResourceType } from "./api.ts";
import { type StatusApi, statusTarget, StatusWriter } from "./status_writer.ts";

/** The fields of a `Ready` condition. */
export interface ReadyCondition {
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
  /** The generation that was judged. */
  readonly observedGeneration: number;
}

export interface ConditionsOptions extends StatusApi {
  /** All replicas reach the same conditions; only the leader writes them. */
  readonly isLeader: () => boolean;
}

/** Takes the conditions of objects. */
export interface Conditions {
  /**
   * Sets the condition to write for the object, in place of one that waits. Does nothing on a follower, or if the object has
   * the condition already. `fields` of the status are written with the condition; null removes a field. A condition that
   * another writer (the leader of another shard) replaced by one of the same or a higher weight is written again only `CONTESTED_MS` after it was last written.
   */
  set(type: ResourceType, object: KubeObject, condition: ReadyCondition, fields?: JsonObject): void;
  /** Drops the condition that waits for an object, because the object is gone. */
  forget(type: ResourceType, object: KubeObject): void;
  /** Objects that wait for their write, or are being written, without those whose last write was refused. */
  readonly waiting: number;
  /** Writes until `signal` aborts. */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
}

/** A condition, and the fields of the status that are written with it. */
interface Decided {
  readonly condition: ReadyCondition;
  readonly fields: JsonObject;
}

/** An object is written at most once in this time. */
const MIN_INTERVAL_MS = 1_000;
const PER_SECOND = 25;
/** Two writers that disagree write an object no more often than this, so that their conditions do not alternate. */
const CONTESTED_MS = 600_000;
/** Most objects whose last condition is remembered. */
const MAX_REMEMBERED = 1_000;
/** Reasons of a process that does not handle the object: the one that does knows more. */
const NOT_HANDLED: ReadonlySet<unknown> = new Set(["NamespaceNotTrusted", "NamespaceNotWatched"]);

/** Creates the writer of a process. */
export function createConditions({ isLeader, ...common }: ConditionsOptions): Conditions {
  const { clock } = common;
  /** What this process wrote last, by the uid of the object, and when. */
  const written = new Map<string, { readonly condition: ReadyCondition; readonly atMs: number }>();
  const writer = new StatusWriter<Decided>({
    ...common,
    isAllowed: isLeader,
    minIntervalMs: MIN_INTERVAL_MS,
    perSecond: PER_SECOND,
    merge: (_older, newer) => newer,
    statusOf: (stored, decided) => statusOf(stored, decided, clock.now()),
    onWritten({ uid = "" }, { condition }) {
      written.delete(uid);
      written.set(uid, { condition, atMs: clock.monotonic() });
      if (written.size > MAX_REMEMBERED) written.delete(written.keys().next().value ?? "");
    },
  });

  /** True if another writer replaced this condition lately by one that counts as much or more. */
  function isContested(object: KubeObject, condition: ReadyCondition): boolean {
    const last = written.get(object.metadata.uid ?? "");
    const stored = readyOf(object);
    return last !== undefined && stored !== undefined && clock.monotonic() - last.atMs < CONTESTED_MS &&
      says({ ...last.condition }, condition) && !says(stored, condition) &&
      weightOf(stored) >= weightOf({ ...condition });
  }

  return {
    set(type, object, condition, fields = {}) {
      const target = statusTarget(type, object);
      // Another replica of this shard leads: what it replaces is not contested.
      if (!isLeader()) written.clear();
      if (!isLeader() || isSaid(object, condition, fields)) return writer.forget(target);
      const waiting = writer.waiting(target);
      const isWaiting = waiting && says({ ...waiting.condition }, condition) &&
        canonicalJson(waiting.fields) === canonicalJson(fields);
      if (isWaiting) return;
      // Either way, an older decision that waits is not written any more.
      if (isContested(object, condition)) writer.forget(target);
      else writer.replace(target, { condition, fields });
    },
    forget(type, object) {
      written.delete(object.metadata.uid ?? "");
      writer.forget(statusTarget(type, object));
    },
    get waiting() {
      return writer.size;
    },
    run: (signal, beat) => writer.run(signal, beat),
  };
}

/** The status with `Ready` as decided; undefined if it has that already, or has a condition of a later generation. */
function statusOf(
  stored: KubeObject,
  { condition, fields }: Decided,
  now: number,
): JsonObject | undefined {
  const before = readyOf(stored);
  if (isSaid(stored, condition, fields)) return undefined;
  const judged = Number(before?.observedGeneration);
  const isLater = judged > condition.observedGeneration && judged <= (stored.metadata.generation ?? 0);
  if (isLater) return undefined;
  const lastTransitionTime =
    before?.status === condition.status && typeof before.lastTransitionTime === "string"
      ? before.lastTransitionTime
      : formatSeconds(now);
  const others = allOf(stored).filter(({ type }) => type !== "Ready");
  const changed = Object.entries(fields).filter(([key, value]) => !hasInStatus(stored, { [key]: value }));
  return {
    ...Object.fromEntries(changed),
    conditions: [...others, { type: "Ready", ...condition, lastTransitionTime }],
  };
}

/** True if the status of an object has these fields already; null stands for a field that is absent. */
function hasInStatus({ status }: KubeObject, fields: JsonObject): boolean {
  const stored = isObject(status) ? status : {};
  return Object.entries(fields).every(([key, value]) =>
    canonicalJson(stored[key] ?? null) === canonicalJson(value)
  );
}

/** 2: a problem; 1: all is well; 0: said by a process that does not handle the object. */
function weightOf({ status, reason }: JsonObject): number {
  if (NOT_HANDLED.has(reason)) return 0;
  return status === "True" ? 1 : 2;
}

/** True if the status of an object has this condition and these fields already. */
export function isSaid(object: KubeObject, condition: ReadyCondition, fields: JsonObject): boolean {
  return says(readyOf(object), condition) && hasInStatus(object, fields);
}

function says(before: JsonObject | undefined, condition: ReadyCondition): boolean {
  return before !== undefined && Object.entries(condition).every(([key, value]) => before[key] === value);
}

/** The condition `Ready` of an object. */
export function readyOf(object: KubeObject): JsonObject | undefined {
  return allOf(object).find(({ type }) => type === "Ready");
}

function allOf({ status }: KubeObject): JsonObject[] {
  return isObject(status) && Array.isArray(status.conditions) ? status.conditions.filter(isObject) : [];
}
