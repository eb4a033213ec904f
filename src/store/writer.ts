/** The write path: one create, under a name that is the same on every replica, and the handling of the API server's refusals. */
import { type Clock, seenTimes } from "../model/time.ts";
import { LRUCache } from "lru-cache";
import { errorMessage } from "../model/error_message.ts";
import type { NormalEvent } from "../model/event.ts";
import { ANNOTATIONS, LABELS, type Observation } from "../model/observation.ts";
import { type FailReason, notWritten, type Outcome } from "../model/outcome.ts";
import { observationName, parseName, shortFingerprint } from "../model/identity.ts";
import { answerAbout, hasStatus, type KubeApi, NetworkError } from "../kube/api.ts";
import {
  type Backoff,
  backoff,
  elapsed,
  retry,
  retryAfterMsOf,
  type RetryOptions,
  type Sleep,
} from "../kube/retry.ts";
import { isOver, widen } from "../pipeline/dedup.ts";
import type { Waited } from "../pipeline/limits.ts";
import { toObservation } from "../pipeline/normalize.ts";
import type { Generation, ObservationStore, WriteContext, Written } from "../pipeline/ports.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { ObservationIndex } from "./index/mod.ts";
import { OBSERVATIONS, type StoredObservation } from "./observations.ts";
import { type CreateErrorReason, refusalOf } from "./refusal.ts";
import type { Repeats } from "./repeats.ts";
import type { Transition } from "./transitions.ts";

export interface WriterOptions {
  /** Called when a finding was created by a write of this process. */
  readonly onTransition?: (transition: Transition) => void;
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly index: ObservationIndex;
  readonly repeats: Repeats;
  readonly metrics: Pick<Metrics, "observationsCreateErrors">;
  /** INSTANCE: the shard set the Observations belong to. */
  readonly instance: string;
  /** The controller's namespace, for Observations whose own namespace refuses them. */
  readonly ownNamespace: string;
  /** A source as a label value: beyond a bounded number of them `other`. */
  readonly sourceLabel: (source: string) => string;
  readonly random?: () => number;
  readonly sleep?: Sleep;
}

const MAX_ROUNDS = 5;
/**
 * Most attempts for pulled events, which are evaluated again later anyway. A quota is not raised within seconds, and an
 * object that fails for a minute (for example at another admission webhook) must not delay the rest of its source.
 */
const MAX_PULLED_ATTEMPTS: Readonly<Partial<Record<CreateErrorReason, number>>> = {
  quota: 5,
  server_error: 30,
};

/** Time for which no create is sent to a namespace that is known to be missing. */
const MISSING_MS = 10_000;
/** Most missing namespaces remembered. */
const MAX_MISSING = 1_000;

/** The message of a write that may not wait for its retry. How many wait is bounded: an outage would fill the memory otherwise. */
const TOO_MANY_WAIT = "too many writes of its namespace, or of all, wait for a retry";

/** One event being written. */
interface Job {
  readonly event: NormalEvent;
  readonly context: WriteContext;
  readonly eventId: string;
  namespace: string;
  /** The namespace that refused it. */
  refusedBy?: string;
}

type Created =
  | { readonly observation: StoredObservation }
  /** The name is taken. `holder`: the object that has it, if it has been read already. */
  | { readonly exists: true; readonly holder?: StoredObservation }
  | { readonly outcome: Outcome };

/** Creates the `write` of the store of a process (see `ObservationStore`). */
export function createWriter(options: WriterOptions): ObservationStore["write"] {
  const { api, clock, index, repeats, metrics, instance, ownNamespace, sleep } = options;
  const missing = new LRUCache<string, true>({
    max: MAX_MISSING,
    ttl: MISSING_MS,
    // A time of 0 would never end.
    perf: { now: () => clock.monotonic() + 1 },
    ttlResolution: 0,
  });
  const newBackoff = () => backoff(options.random ? { random: options.random } : {});

  async function write(event: NormalEvent, generation: number, context: WriteContext): Promise<Written> {
    const job: Job = { event, context, eventId: crypto.randomUUID(), namespace: event.namespace };
    if (missing.has(job.namespace)) useOwnNamespace(job);
    try {
      if (event.resolved) return await endStored(job);
      if (generation <= 1) return await createFrom(job, generation);
      const newest = await newestStored(job, generation - 1);
      if (newest && !isOver(newest, event)) return repeated(job, newest);
      return await createFrom(job, (newest?.generation ?? 0) + 1);
    } catch (error) {
      return { outcome: outcomeOf(error, context.signal) };
    }
  }

  /** Creates the Observation. If the name is taken, reads the object that has it, and opens the next generation if that is due. */
  async function createFrom(job: Job, first: number): Promise<Written> {
    let generation = first;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const created = await create(job, generation);
      if ("outcome" in created) return { outcome: created.outcome };
      if ("observation" in created) return stored(job, created.observation);
      const holder = created.holder ??
        await read(job, { namespace: job.namespace, name: nameOf(job, generation) });
      if (!holder) continue;
      if (!index.isSame(holder, job.event)) return { outcome: conflict(job, generation, holder) };
      if (holder.metadata.annotations?.[ANNOTATIONS.eventId] === job.eventId) return stored(job, holder);
      index.note(holder);
      const held = generationOf(holder);
      if (!isClosed(held, job.event)) return repeated(job, held);
      const newest = await newestStored(job, generation, held);
      if (newest && !isClosed(newest, job.event)) return repeated(job, newest);
      generation = Math.max(newest?.generation ?? 0, generation) + 1;
    }
    return { outcome: conflict(job, generation) };
  }

  function stored({ event, context }: Job, observation: StoredObservation): Written {
    index.note(observation);
    if (event.kind === "finding") {
      repeats.stored(event, context);
      options.onTransition?.({ kind: "created", observation, at: clock.now() });
    }
    return { outcome: { kind: "created" }, generation: widen(storedGeneration(observation), event) };
  }

  function repeated({ event, context }: Job, into: Generation): Written {
    repeats.add(event, into, context);
    return { outcome: { kind: "deduped" }, generation: widen(into, event) };
  }

  function useOwnNamespace(job: Job): void {
    job.refusedBy = job.namespace;
    job.namespace = ownNamespace;
  }

  /** One create, tried until it has a final answer, `signal` aborts, or the controller's namespace refuses it too. */
  async function create(job: Job, generation: number): Promise<Created> {
    const { event, context: { signal, pushed } } = job;
    let waits: Backoff | undefined;
    if (signal.aborted) return { outcome: notWritten(signal) };
    for (let attempt = 1;; attempt++) {
      const { namespace, eventId } = job;
      const name = nameOf(job, generation);
      try {
        const object = withRefusal(
          toObservation(event, generation, { instance, eventId, namespace, pushed }),
          job.refusedBy,
        );
        const answered = index.sent();
        const answer = answerAbout(
          { namespace, name, eventId },
          await api.create<StoredObservation>(OBSERVATIONS, object, { namespace, signal }),
        );
        answered(answer.metadata.resourceVersion);
        return { observation: answer };
      } catch (error) {
        if (signal.aborted) return { outcome: notWritten(signal, error) };
        const refusal = refusalOf(error);
        metrics.observationsCreateErrors.inc({
          source: options.sourceLabel(event.source),
          reason: refusal.label,
        });
        switch (refusal.kind) {
          case "exists":
            return { exists: true };
          case "final":
            return { outcome: failed(refusal.reason, errorMessage(error)) };
          case "refused": {
            if (namespace === ownNamespace) {
              if (refusal.label !== "quota") return { outcome: unavailable(errorMessage(error)) };
              break;
            }
            const holder = await holderIn(job, { name, isMissing: refusal.isMissing });
            if (holder) return { exists: true, holder };
            useOwnNamespace(job);
            continue;
          }
        }
        // The remaining errors may pass: retry.
        if (!pushed && attempt >= (MAX_PULLED_ATTEMPTS[refusal.label] ?? Infinity)) {
          return { outcome: unavailable(errorMessage(error)) };
        }
        const waited = await waitOutside(job, (waits ??= newBackoff()).next(retryAfterMsOf(error)));
        if (waited === "aborted") return { outcome: notWritten(signal, error) };
        if (waited === "too many") {
          return { outcome: unavailable(`${TOO_MANY_WAIT}: ${errorMessage(error)}`) };
        }
      }
    }
  }

  /**
   * The Observation that already has this name in a namespace that refused the create: a quota or a policy refuses before
   * the API server checks whether the name is taken. Undefined if the namespace is missing.
   */
  function holderIn(
    job: Job,
    { name, isMissing }: { readonly name: string; readonly isMissing: boolean },
  ): Promise<StoredObservation | undefined> {
    const { namespace } = job;
    if (!isMissing) return read(job, { namespace, name });
    missing.set(namespace, true);
    return Promise.resolve(undefined);
  }

  /** Waits without holding a write slot. */
  async function waitOutside({ context: { signal, outside } }: Job, ms: number): Promise<Waited> {
    const wait = () => elapsed(ms, { signal, sleep });
    if (outside) return await outside(wait);
    return await wait() ? "over" : "aborted";
  }

  /**
   * The newest stored generation, read from the API server once. The index gives its name; while the index is incomplete, a
   * list by the fingerprint label does. `known` has just been read and is not read again.
   */
  async function newestStored(job: Job, latest: number, known?: Generation): Promise<Generation | undefined> {
    if (!index.complete) return newestOf([...await listed(job), ...(known ? [known] : [])]);
    let gone = 0;
    for (;;) {
      const guess = index.newest(job.event) ?? known ??
        (gone === 0 ? { namespace: job.namespace, name: nameOf(job, latest) } : undefined);
      if (!guess) return undefined;
      if (known && guess.name === known.name && guess.namespace === known.namespace) return known;
      const found = await read(job, guess);
      if (found && index.isSame(found, job.event)) {
        index.note(found);
        return generationOf(found);
      }
      index.forget(guess.namespace, guess.name);
      if (++gone >= MAX_ROUNDS) return undefined;
    }
  }

  async function listed(job: Job): Promise<Generation[]> {
    const { event, context: { signal } } = job;
    const labelSelector = `${LABELS.fingerprint}=${shortFingerprint(event.fingerprint)}`;
    const { items } = await retry(
      () => api.list<StoredObservation>(OBSERVATIONS, { labelSelector, signal }),
      retryOptions(job),
    );
    return items.filter((item) => index.isSame(item, event)).map((item) => {
      index.note(item);
      return generationOf(item);
    });
  }

  /**
   * Handles the end of a pushed finding that is not in the index. Another replica may have written the finding before this
   * replica's watch showed it, so it is read by its name, in its own namespace and in the controller's. While the index is
   * incomplete, one list by the fingerprint label finds it.
   */
  async function endStored(job: Job): Promise<Written> {
    const found = index.complete ? await storedFinding(job) : newestOf(await listed(job));
    return found ? repeated(job, found) : { outcome: { kind: "filtered", reason: "not_relevant" } };
  }

  async function storedFinding(job: Job): Promise<Generation | undefined> {
    for (const namespace of new Set([job.namespace, ownNamespace])) {
      const found = await read(job, { namespace, name: nameOf(job, 0) });
      if (!found || !index.isSame(found, job.event)) continue;
      index.note(found);
      return generationOf(found);
    }
    return undefined;
  }

  async function read(
    job: Job,
    { namespace, name }: { readonly namespace: string; readonly name: string },
  ): Promise<StoredObservation | undefined> {
    const { signal } = job.context;
    try {
      return await retry(
        async () =>
          answerAbout(
            { namespace, name },
            await api.get<StoredObservation>(OBSERVATIONS, name, { namespace, signal }),
          ),
        retryOptions(job),
      );
    } catch (error) {
      if (hasStatus(error, 404)) return undefined;
      throw error;
    }
  }

  function retryOptions(job: Job): RetryOptions {
    const { signal } = job.context;
    return {
      signal,
      backoff: newBackoff(),
      async sleep(ms) {
        const waited = await waitOutside(job, ms);
        if (waited === "aborted") throw signal.reason;
        if (waited === "too many") throw new NetworkError(TOO_MANY_WAIT);
      },
    };
  }

  /** The stored generation, including repeats that this replica has not written yet. */
  function generationOf(observation: Observation): Generation {
    const generation = storedGeneration(observation);
    const pending = repeats.pendingLastSeenAt(generation.namespace, generation.name) ?? -Infinity;
    return { ...generation, lastSeenAt: Math.max(generation.lastSeenAt, pending) };
  }

  function storedGeneration(observation: Observation): Generation {
    const { namespace = "", name = "" } = observation.metadata;
    const { firstSeenAt, lastSeenAt } = seenTimes(observation, clock.now());
    return {
      namespace,
      name,
      generation: parseName(name)?.generation ?? 0,
      firstSeenAt,
      lastSeenAt,
      active: observation.status?.phase !== "Resolved",
      contentHash: index.contentHashOf(observation),
    };
  }

  return write;
}

/** The object, with an annotation that names its own namespace if that refused it. */
function withRefusal(object: Observation, refusedBy: string | undefined): Observation {
  if (refusedBy === undefined) return object;
  const { metadata } = object;
  const annotations = { ...metadata.annotations, [ANNOTATIONS.refusedByNamespace]: refusedBy };
  return { ...object, metadata: { ...metadata, annotations } };
}

function nameOf({ event }: Job, generation: number): string {
  return observationName(event.source, event.fingerprint, generation);
}

/** True if the event starts a new generation: its dedup window is over. A finding has no window: it lasts while it is stored. */
function isClosed(generation: Generation, event: NormalEvent): boolean {
  return event.kind === "occurrence" && isOver(generation, event);
}

function newestOf(generations: readonly Generation[]): Generation | undefined {
  return generations.reduce<Generation | undefined>(
    (newest, each) => newest && newest.generation >= each.generation ? newest : each,
    undefined,
  );
}

function conflict(job: Job, generation: number, holder?: Observation): Outcome {
  const name = `${job.namespace}/${nameOf(job, generation)}`;
  const why = holder
    ? `the name is taken by an object that is not this finding (fingerprint ${
      holder.metadata.annotations?.[ANNOTATIONS.fingerprint] ?? "none"
    }, managed by ${holder.metadata.labels?.[LABELS.managedBy] ?? "none"})`
    : `the name was taken ${MAX_ROUNDS} times in a row`;
  return failed("name_conflict", `Cannot create "${name}": ${why}`);
}

function outcomeOf(error: unknown, signal: AbortSignal): Outcome {
  if (signal.aborted) return notWritten(signal, error);
  const refusal = refusalOf(error);
  return failed(
    refusal.kind === "final" && refusal.reason === "internal" ? "internal" : "unavailable",
    errorMessage(error),
  );
}

function unavailable(message: string): Outcome {
  return failed("unavailable", message);
}

function failed(reason: FailReason, message: string): Outcome {
  return { kind: "failed", reason, message };
}
