/** Changes single stored Observations: reads, patches with uid and resourceVersion, and tries again on a conflict. */
import { parseAcceptance, storedAcceptance } from "../model/acceptance.ts";
import { canonicalJson, labelValue } from "../model/identity.ts";
import { type Clock, formatTime, seenTimes } from "../model/time.ts";
import type { Json, JsonObject } from "../model/json.ts";
import {
  ANNOTATIONS,
  LABELS,
  type Observation,
  type ObservationStatus,
  type ResolvedReason,
} from "../model/observation.ts";
import { answerAbout, hasStatus, type KubeApi, NetworkError } from "../kube/api.ts";
import type { ObservationIndex } from "./index/mod.ts";
import { OBSERVATIONS, type StoredObservation } from "./observations.ts";
import type { Transition } from "./transitions.ts";

/** A change to add to a status. It is a delta, so that the changes of several replicas add up. */
export interface StatusDelta {
  readonly occurrences: number;
  readonly firstSeenAt: number;
  readonly lastSeenAt: number;
  /** Reported again at this time: the finding is no longer Resolved, and `occurrences` is added (0 with counting off). */
  readonly reopened?: { readonly at: number; readonly occurrences: 0 | 1 };
  /** Resolved at this time, unless it is Resolved already. */
  readonly resolved?: { readonly at: number; readonly reason: ResolvedReason };
  /** True for acts that are stored in objects, which an earlier leader may have read and counted too. */
  readonly kept?: boolean;
}

/** The delta that changes nothing. */
export const NO_CHANGE: StatusDelta = { occurrences: 0, firstSeenAt: Infinity, lastSeenAt: -Infinity };

/** The object that a delta changes. */
export interface UpdateTarget {
  readonly namespace: string;
  readonly name: string;
  /** The first 128 bits at least. */
  readonly fingerprint: string;
  /** If set, an object of that name with another uid is not changed. */
  readonly uid?: string | undefined;
}

export interface UpdatesOptions {
  readonly api: KubeApi;
  readonly index: ObservationIndex;
  readonly clock: Clock;
  /** INSTANCE: the label is updated with the next write of an Observation's content. */
  readonly instance: string;
  /** Called when a finding was resolved or reopened by a write of this process. */
  readonly onTransition?: (transition: Transition) => void;
}

/** How an update ended. `unchanged`: the object has the change already. `gone`: the object was deleted, or its name is taken. */
export type UpdateResult = "written" | "unchanged" | "gone";

/** Reads and patches single Observations. Throws the errors of the `KubeApi` except conflicts and 404. */
export interface Updates {
  /** Adds a delta to the status. */
  addToStatus(target: UpdateTarget, delta: StatusDelta, signal: AbortSignal): Promise<UpdateResult>;
  /** Sets a finding to Accepted if an exception covers it now, else to Active, unless it is Resolved. */
  followExceptions(target: UpdateTarget, signal: AbortSignal): Promise<UpdateResult>;
  /** Replaces the content of a finding. */
  replaceContent(target: UpdateTarget, content: Content, signal: AbortSignal): Promise<UpdateResult>;
}

/** The content of a finding: the part of its spec that may change. */
export interface Content {
  readonly message: string;
  readonly details: JsonObject;
  readonly contentHash: number;
}

const MAX_CONFLICTS = 5;

interface Patch {
  readonly type: "merge" | "json";
  readonly body: Json;
  readonly subresource?: "status";
  readonly transition?: Transition;
  /** The `processedAt` of the status that this patch wrote. */
  readonly processedAt?: string;
}

/** Creates the updates of a process. */
export function createUpdates({ api, index, clock, instance, onTransition }: UpdatesOptions): Updates {
  async function patch(
    target: UpdateTarget,
    patchFor: (observation: StoredObservation) => Patch | undefined,
    signal: AbortSignal,
  ): Promise<UpdateResult> {
    for (let conflicts = 0;; conflicts++) {
      const observation = await read(target, signal);
      if (!observation) return "gone";
      const wanted = patchFor(observation);
      if (!wanted) return "unchanged";
      try {
        const { type, subresource } = wanted;
        const written = await api.patch<StoredObservation>(OBSERVATIONS, target.name, wanted.body, {
          namespace: target.namespace,
          signal,
          type,
          ...(subresource && { subresource }),
        });
        index.note(answerAbout(target, written));
        if (wanted.transition) onTransition?.(wanted.transition);
        return "written";
      } catch (error) {
        if (wanted.transition && error instanceof NetworkError && await isApplied(target, wanted, signal)) {
          onTransition?.(wanted.transition);
          return "written";
        }
        // 404: deleted in between; the next read shows that.
        const again = hasStatus(error, 409) || hasStatus(error, 404);
        if (!again || conflicts >= MAX_CONFLICTS) throw error;
      }
    }
  }

  /** True if a write whose answer was lost is known to be applied. */
  async function isApplied(
    target: UpdateTarget,
    { processedAt }: Patch,
    signal: AbortSignal,
  ): Promise<boolean> {
    try {
      const stored = await read(target, signal);
      if (!stored || stored.status?.lastProcessedAt !== processedAt) return false;
      index.note(stored);
      return true;
    } catch {
      return false;
    }
  }

  /** The object; undefined if it is gone or another object has its name. */
  async function read(target: UpdateTarget, signal: AbortSignal): Promise<StoredObservation | undefined> {
    const { namespace, name, uid, fingerprint } = target;
    try {
      const answer = await api.get<StoredObservation>(OBSERVATIONS, name, { namespace, signal });
      const observation = answerAbout({ namespace, name }, answer);
      const found = observation.metadata.annotations?.[ANNOTATIONS.fingerprint] ?? "";
      const meant = index.isOurs(observation) && (uid === undefined || observation.metadata.uid === uid) &&
        found.startsWith(fingerprint.slice(0, 32));
      if (meant) return observation;
      index.forget(namespace, name, uid);
      index.note(observation);
      return undefined;
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
      index.forget(namespace, name, uid);
      return undefined;
    }
  }

  const context = (): StatusContext => ({
    now: clock.now(),
    acceptanceFor: (observation) => index.acceptanceFor(observation),
  });

  return {
    addToStatus: (target, delta, signal) =>
      patch(target, (observation) => statusPatch(observation, delta, context()), signal),
    followExceptions: (target, signal) =>
      patch(
        target,
        (observation) => statusPatch(observation, NO_CHANGE, { ...context(), followsExceptions: true }),
        signal,
      ),
    replaceContent: (target, content, signal) =>
      patch(target, (observation) => contentPatch(observation, content, instance), signal),
  };
}

interface StatusContext {
  readonly now: number;
  /** The exception that covers an Observation now (`acceptanceText`), or "". */
  readonly acceptanceFor?: (observation: Observation) => string;
  /** True if the status has to show that exception; otherwise only a finding that is reported again shows it. */
  readonly followsExceptions?: true;
}

/** The merge patch that adds a delta; undefined if nothing would change. */
export function statusPatch(
  observation: Observation,
  delta: StatusDelta,
  context: StatusContext,
): Patch | undefined {
  const { now } = context;
  const merged = mergedStatus(observation, delta, context);
  if (!merged) return undefined;
  const { status, transition } = merged;
  const { uid = null, resourceVersion = null } = observation.metadata;
  const processedAt = formatTime(now);
  const body: JsonObject = {
    metadata: { uid, resourceVersion },
    status: { ...status, lastProcessedAt: processedAt },
  };
  return { type: "merge", subresource: "status", body, processedAt, ...(transition && { transition }) };
}

function mergedStatus(
  observation: Observation,
  delta: StatusDelta,
  { now, acceptanceFor, followsExceptions }: StatusContext,
): { readonly status: JsonObject; readonly transition?: Transition } | undefined {
  const status: ObservationStatus = observation.status ?? {};
  const seen = seenTimes(observation, now);
  const isResolved = status.phase === "Resolved";
  const reopened = isResolved ? delta.reopened : undefined;
  const resolved = isResolved || delta.reopened ? undefined : delta.resolved;
  const acceptance = reopened || followsExceptions ? acceptanceFor?.(observation) : undefined;
  const accepted = resolved || (isResolved && !reopened) || acceptance === undefined
    ? undefined
    : acceptedStatus(status, acceptance, now);
  // Another replica has written this return already, with its time.
  if (delta.reopened && !isResolved && delta.occurrences === 0 && !accepted) return undefined;
  const occurrences = delta.occurrences + (reopened?.occurrences ?? 0);
  if (delta.kept && delta.lastSeenAt <= seen.lastSeenAt && !accepted) return undefined;
  const earlier = delta.firstSeenAt < seen.firstSeenAt;
  const later = delta.lastSeenAt > seen.lastSeenAt;
  if (occurrences === 0 && !earlier && !later && !reopened && !resolved && !accepted) return undefined;
  const written = {
    occurrences: (status.occurrences ?? 1) + occurrences,
    firstSeenAt: formatTime(Math.min(delta.firstSeenAt, seen.firstSeenAt)),
    lastSeenAt: formatTime(Math.max(delta.lastSeenAt, seen.lastSeenAt)),
    ...(reopened && {
      phase: "Active",
      resolvedAt: null,
      resolvedReason: null,
      reopenedAt: formatTime(reopened.at),
    }),
    ...accepted,
    ...(resolved && {
      phase: "Resolved",
      resolvedAt: formatTime(resolved.at),
      resolvedReason: resolved.reason,
      ...(status.exception && { exception: null }),
    }),
  };
  if (resolved) return { status: written, transition: { kind: "resolved", observation, ...resolved } };
  return reopened
    ? { status: written, transition: { kind: "reopened", observation, at: reopened.at } }
    : { status: written };
}

/** The status as Accepted by that exception, or Active; undefined if it is so already. */
function acceptedStatus(status: ObservationStatus, acceptance: string, now: number): JsonObject | undefined {
  const stored = storedAcceptance(status);
  if (stored === acceptance) return undefined;
  const by = parseAcceptance(acceptance);
  if (!by) return { phase: "Active", exception: null };
  const { namespace, name, expiresAt } = by;
  const before = parseAcceptance(stored);
  const isSame = before?.namespace === namespace && before.name === name;
  const since = isSame && status.exception ? status.exception.since : formatTime(now);
  return { phase: "Accepted", exception: { namespace, name, expiresAt: formatTime(expiresAt), since } };
}

/** A JSON patch, because a merge patch cannot set a member of details to null. */
function contentPatch(
  { metadata, spec }: Observation,
  { message, details }: Content,
  instance: string,
): Patch | undefined {
  const bare = Object.keys(details).length === 0;
  // The API server may return members in another order.
  if (spec.message === message && canonicalJson(spec.details ?? {}) === canonicalJson(details)) {
    return undefined;
  }
  const operations: JsonObject[] = [
    { op: "replace", path: "/metadata/uid", value: metadata.uid ?? null },
    { op: "replace", path: "/metadata/resourceVersion", value: metadata.resourceVersion ?? null },
    { op: "add", path: "/spec/message", value: message },
  ];
  if (metadata.labels?.[LABELS.instance] !== labelValue(instance)) {
    const path = `/metadata/labels/${LABELS.instance.replace("/", "~1")}`;
    operations.push({ op: "add", path, value: labelValue(instance) });
  }
  if (!bare) operations.push({ op: "add", path: "/spec/details", value: details });
  else if (spec.details) operations.push({ op: "remove", path: "/spec/details" });
  return { type: "json", body: operations };
}
