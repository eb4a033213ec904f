/** Writes into the status of findings which exception covers them. Runs on the leader. */
import { parseAcceptance } from "../model/acceptance.ts";
import { type Beat, NO_BEAT } from "../model/beat.ts";
import type { Clock } from "../model/time.ts";
import { inTurns } from "../model/turns.ts";
import { GROUP } from "../model/observation.ts";
import type { EventDraft, ObjectReference } from "../kube/events.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";
import type { Logger } from "../telemetry/logging.ts";
import type { Entry, ObservationIndex } from "./index/mod.ts";
import type { Repeats } from "./repeats.ts";

export interface AcceptancesOptions {
  readonly index: ObservationIndex;
  readonly repeats: Repeats;
  readonly clock: Clock;
  readonly log: Logger;
  /** The Lease that the Events are about, so that they are in the controller's namespace. */
  readonly regarding: ObjectReference;
  /** False until the exceptions have been read: until then, a missing exception does not mean that it has ended. */
  readonly isKnown: () => boolean;
  /** Why an exception no longer covers findings, e.g. `has expired`. */
  readonly whyEnded: (acceptance: string) => string;
  readonly emit: (event: EventDraft) => void;
  readonly isLeader: () => boolean;
  readonly sleep?: Sleep;
}

/** The acceptances of a process. */
export interface Acceptances {
  /** Queues the status writes that are due; returns how many it queued. */
  evaluate(): number;
  /** Evaluates until `signal` aborts. */
  run(signal: AbortSignal, beat?: Beat): Promise<void>;
}

const TICK_MS = 1_000;
const ROUND_MS = 60_000;
/** Most findings that may wait for their status write at once. */
const MAX_WAITING = 1_000;
/** Time before a status is written again that the CRD of an older release refused. */
const RETRY_MS = 30_000;
/** If more exceptions than this end at once, one Event names them together. */
const MAX_SINGLE = 5;
/** Most names in one Event. */
const MAX_NAMED = 10;

/** Creates the acceptances of a process. */
export function createAcceptances(options: AcceptancesOptions): Acceptances {
  const { index, repeats, log, emit, regarding } = options;
  /** Queued acceptances that the findings' status does not show yet, by the key of their fingerprint. */
  let queued = new Map<number, { readonly acceptance: string; readonly at: number }>();
  /** Ended exceptions that were announced already, kept as long as a finding's status names them. */
  let announced = new Set<string>();

  function evaluate(): number {
    if (!index.complete || !options.isKnown() || !options.isLeader()) return 0;
    const ended = new Map<string, number>();
    const stillQueued: typeof queued = new Map();
    const now = options.clock.monotonic();
    const due: Entry[] = [];
    for (const entry of index.staleAcceptances()) {
      const { acceptance, storedAcceptance } = entry;
      if (acceptance === "") ended.set(storedAcceptance, (ended.get(storedAcceptance) ?? 0) + 1);
      const before = queued.get(entry.fingerprintKey);
      if (before?.acceptance === acceptance && now - before.at < RETRY_MS) {
        stillQueued.set(entry.fingerprintKey, before);
      } else due.push(entry);
    }
    let accepted = 0;
    let active = 0;
    // However many findings of one namespace follow its exceptions, those of others have their turns.
    for (const entry of inTurns(due, ({ belongsTo }) => belongsTo)) {
      if (repeats.followingExceptions >= MAX_WAITING) break;
      const { acceptance } = entry;
      stillQueued.set(entry.fingerprintKey, { acceptance, at: now });
      if (!repeats.followExceptions(entry.row(), options.isLeader)) continue;
      if (acceptance === "") active++;
      else accepted++;
    }
    queued = stillQueued;
    announce(ended);
    if (accepted + active > 0) log.info("Findings follow their exceptions", { accepted, active });
    return accepted + active;
  }

  /** Writes one log line and one Event for each ended exception, or one for all of them if many end at once. */
  function announce(ended: ReadonlyMap<string, number>): void {
    const unsaid = [...ended].filter(([acceptance]) => !announced.has(acceptance));
    announced = new Set(ended.keys());
    if (unsaid.length > MAX_SINGLE) return tell(unsaid);
    for (const each of unsaid) tell([each]);
  }

  function tell(ended: readonly (readonly [acceptance: string, count: number])[]): void {
    const count = ended.reduce((sum, [, each]) => sum + each, 0);
    const exceptions = ended.slice(0, MAX_NAMED).map(([acceptance]) => {
      const [name = acceptance] = acceptance.split(" ");
      return `${name} ${options.whyEnded(acceptance)}`;
    });
    const more = ended.length > MAX_NAMED ? ` and ${ended.length - MAX_NAMED} more` : "";
    log.info("Exceptions ended", { findings: count, count: ended.length, exceptions });
    const findings = count === 1 ? "1 finding is" : `${count} findings are`;
    const first = parseAcceptance(ended[0]?.[0] ?? "");
    emit({
      regarding,
      ...(first && {
        related: {
          apiVersion: `${GROUP}/v1alpha1`,
          kind: "ObservationException",
          namespace: first.namespace,
          name: first.name,
        },
      }),
      type: "Warning",
      reason: "ExceptionEnded",
      message: `${findings} Active again: ObservationException ${exceptions.join(", ")}${more}`,
    });
  }

  return {
    evaluate,
    async run(signal, beat = NO_BEAT) {
      queued = new Map();
      announced = new Set();
      while (await elapsed(TICK_MS, { signal, sleep: options.sleep })) {
        beat.within(ROUND_MS);
        try {
          evaluate();
        } catch (error) {
          if (!signal.aborted) log.warn("Acceptances could not be evaluated now", { error });
        }
      }
    },
  };
}
