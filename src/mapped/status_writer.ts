/** Writes the status of Ingesters and ObservationMappings: conditions by the leader, counters by whoever counted. */
import type { Clock } from "../model/clock.ts";
import { hasStatus, type KubeApi, type KubeObject } from "../kube/api.ts";
import { type Backoff, backoff, retryAfterMsOf } from "../kube/retry.ts";
import { logger } from "../telemetry/logging.ts";
import type { Source } from "../sources/source.ts";
import type { SourceState } from "../sources/status.ts";
import { INGESTERS, OBSERVATION_MAPPINGS } from "./kinds.ts";
import type { Plan } from "./plan.ts";
import { conditionPatch, countersOf, countersPatch, type Delta, withDriverState } from "./status.ts";
import { DISCOVERING } from "./served.ts";
import { idOf } from "./verdict.ts";

export interface StatusWriterOptions {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly isLeader: () => boolean;
  readonly stateOf: (source: Source) => SourceState;
  /** Least time between two writes of an object's counters; 30 s. */
  readonly countersMs?: number;
}

const log = logger("ingesters");
const REFUSED_WAIT = { initialMs: 2_000, maxMs: 60_000 };
/** One line an object in this time, however often its status is refused. */
const REFUSED_LOG_MS = 300_000;

/** An object whose status could not be written. */
interface Refused {
  readonly waits: Backoff;
  untilAt: number;
  saidAt: number;
}

/** What is to be written, and when it was last. */
export class StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #written: (object: KubeObject, as: KubeObject) => void;
  readonly #deltas = new Map<string, Delta>();
  /** When an object's counters were last seen to change, by whomever. */
  readonly #countedAt = new Map<string, number>();
  readonly #refused = new Map<string, Refused>();

  constructor(
    options: StatusWriterOptions,
    { written }: { written: (object: KubeObject, as: KubeObject) => void },
  ) {
    this.#options = options;
    this.#written = written;
  }

  /** Events were brought. */
  noteEvents(id: string, count: number): void {
    if (count === 0) return;
    const before = this.#deltas.get(id)?.count ?? 0;
    this.#deltas.set(id, { count: before + count, lastAt: this.#options.clock.now() });
  }

  /** A version of an object came in: did another replica write its counters? */
  sawVersion(object: KubeObject, before: KubeObject | undefined): void {
    if (before && countersOf(before) !== countersOf(object)) {
      this.#countedAt.set(idOf(object), this.#options.clock.monotonic());
    }
  }

  forget(id: string): void {
    this.#deltas.delete(id);
    this.#countedAt.delete(id);
    this.#refused.delete(id);
  }

  /** Says on each object what the plan decided and its driver met. */
  async writeConditions(
    objects: readonly KubeObject[],
    { plan, signal }: { readonly plan: Plan; readonly signal: AbortSignal },
  ): Promise<void> {
    if (!this.#options.isLeader()) return;
    for (const object of objects) {
      if (signal.aborted) return;
      const id = idOf(object);
      const planned = plan.verdicts.get(id);
      if (!planned || planned.reason === DISCOVERING || this.#waits(id)) continue;
      const source = plan.active.get(id);
      const verdict = source ? withDriverState(planned, source, this.#options.stateOf(source)) : planned;
      const patch = conditionPatch(object, verdict, this.#options.clock.now());
      if (patch) await this.#patch(object, { patch, signal });
    }
  }

  /**
   * Adds what this replica saw, on the version it knows. Whoever saw the counters move waits his time from then,
   * so that replicas take turns and an object is written once in that time, whatever their number.
   */
  async writeCounters(objects: readonly KubeObject[], signal: AbortSignal): Promise<void> {
    const { clock, countersMs = 30_000 } = this.#options;
    for (const object of objects) {
      const id = idOf(object);
      const delta = this.#deltas.get(id);
      if (!delta || clock.monotonic() - (this.#countedAt.get(id) ?? -Infinity) < countersMs) continue;
      if (this.#waits(id)) continue;
      if (signal.aborted) return;
      this.#countedAt.set(id, clock.monotonic());
      if (await this.#patch(object, { patch: countersPatch(object, delta), signal })) {
        this.#subtract(id, delta);
      }
    }
  }

  #subtract(id: string, delta: Delta): void {
    const later = this.#deltas.get(id);
    if (later === undefined || later.count <= delta.count) this.#deltas.delete(id);
    else this.#deltas.set(id, { ...later, count: later.count - delta.count });
  }

  async #patch(
    object: KubeObject,
    { patch, signal }: { patch: Parameters<KubeApi["patch"]>[2]; signal: AbortSignal },
  ): Promise<boolean> {
    const type = object.kind === OBSERVATION_MAPPINGS.kind ? OBSERVATION_MAPPINGS : INGESTERS;
    const { name = "", namespace = "" } = object.metadata;
    const options = { namespace, type: "merge", subresource: "status", signal } as const;
    try {
      this.#written(object, await this.#options.api.patch<KubeObject>(type, name, patch, options));
      this.#refused.delete(idOf(object));
      return true;
    } catch (error) {
      // Gone, or another replica was first: the watch brings what is now.
      if (!hasStatus(error, 404) && !hasStatus(error, 409) && !signal.aborted) {
        this.#putOff(idOf(object), error);
      }
      return false;
    }
  }

  #waits(id: string): boolean {
    return this.#options.clock.monotonic() < (this.#refused.get(id)?.untilAt ?? -Infinity);
  }

  /** What is wrong (a right, an admission policy) may stay so for days. */
  #putOff(id: string, error: unknown): void {
    const now = this.#options.clock.monotonic();
    const refused = this.#refused.get(id) ?? { waits: backoff(REFUSED_WAIT), untilAt: 0, saidAt: -Infinity };
    this.#refused.set(id, refused);
    refused.untilAt = now + refused.waits.next(retryAfterMsOf(error));
    if (now - refused.saidAt < REFUSED_LOG_MS) return;
    refused.saidAt = now;
    log.warn("Status of an Ingester not written", { ingester: id, error });
  }
}
