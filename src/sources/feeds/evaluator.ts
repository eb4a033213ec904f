/** Evaluates the documents (reports, ConfigMaps) of one view: fairly by namespace, and again while they cannot be stored. */
import type { Clock } from "../../model/time.ts";
import type { Payload } from "../../model/event.ts";
import { sizeOf } from "../../model/json.ts";
import {
  type ReportedFindings,
  type ReportScope,
  type ViewKey,
  viewName,
  type Views,
} from "../../model/view.ts";
import type { KubeObject } from "../../kube/api.ts";
import { type Backoff, backoff, elapsed, settledWithin, type Sleep } from "../../kube/retry.ts";
import type { IntakeResult, TakeContext } from "../../pipeline/intake.ts";
import { logger } from "../../telemetry/logging.ts";

const log = logger("sources");

/** The payload in a document, and whether all of it could be read. */
export interface ReadDocument {
  readonly payload: Payload;
  readonly readable: boolean;
  /** See `ReportedFindings`. */
  readonly scope?: ReportScope;
  /** Its share of the memory for parsed texts, given back when its events are drawn. */
  readonly share?: Disposable;
}

/** The context in which the intake takes a document's payload. */
export type TakeDocument = Pick<TakeContext, "correlationId"> & Required<Pick<TakeContext, "onWaiting">>;

export interface EvaluatorOptions {
  readonly view: ViewKey;
  readonly views: Views;
  /** Undefined if the object has no payload. */
  readonly payloadOf: (object: KubeObject) => ReadDocument | Promise<ReadDocument | undefined>;
  /** Takes the events of a payload in. */
  readonly take: (payload: Payload, context: TakeDocument) => Promise<IntakeResult>;
  /** Reads a document again by key; undefined if it is gone. */
  readonly read: (key: string) => Promise<KubeObject | undefined>;
  /** Called when the first document counts as not fully known (unreadable, cut by its tool, put off), and when none does any more. */
  readonly onPartial?: (isPartial: boolean) => void;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly retryBackoff?: Backoff;
  readonly sleep?: Sleep;
}

/** Evaluates documents: several at once, those of one key in order. */
export interface Evaluator {
  /** Begins a full list. Evaluations that began before it no longer report. */
  begin(): void;
  /** Resolves once the evaluation has begun or is put off, so that a list is read no faster than it is stored. */
  evaluate(object: KubeObject): Promise<void>;
  gone(object: KubeObject): Promise<void>;
  /** Resolves once all documents are evaluated, except those of namespaces that have stalled: what they report is not known. */
  settled(): Promise<void>;
  /** Evaluates what was put off or could not be stored, until the signal aborts; then waits for all work to end. */
  run(): Promise<void>;
}

/** Most documents in progress: each may be a report of a megabyte. Each stalled namespace may have as many in addition. */
const MAX_AT_ONCE = 8;
/** A document of more values takes several MiB, and is alone in progress, but for those that wait. */
const HEAVY_VALUES = 30_000, HEAVY_WEIGHT = MAX_AT_ONCE;
/** Most heavy documents that wait. Further ones are put off, as is a second one of a namespace. */
const MAX_HEAVY_WAITING = 4;
/** Most documents of one namespace that wait (for a rate or a retry). If MAX_WAITING_IN_ALL wait, each namespace may have only one. */
const MAX_WAITING = 4;
const MAX_WAITING_IN_ALL = 32;
/** Most documents that wait. */
const MAX_WAITING_EVER = 128;
/** How long a list waits for a namespace with too many waiting documents, before it puts off that namespace's others. */
const PATIENCE_MS = 1_000;
/** A namespace has stalled when none of its documents was done for this long, for example because it refuses writes. */
const STALLED_MS = 10_000;
/** Most namespaces that count as stalled, which limits the documents in progress. */
const MAX_STALLED = 4;

interface Step {
  /** `HEAVY_WEIGHT` for a heavy document, else 1. */
  readonly weight: number;
  run(): Promise<void>;
}

/** A document in work. */
interface Lane {
  /** The newest version of the document that arrived since. */
  next: Step | undefined;
  done: Promise<void>;
  /** Of the heaviest of its versions. */
  weight: number;
  /** True while it waits for a rate, a retry or an equal event: it does not count towards MAX_AT_ONCE. */
  isWaiting: boolean;
}

/** The documents of one namespace. */
interface Progress {
  inWork: number;
  /** Of those in work. */
  waiting: number;
  /** When the first document in progress began, or when the last one was done. */
  movedAt: number;
  /** Documents to read and evaluate when others are done: their keys, and what they weigh. */
  readonly putOff: Map<string, number>;
}

/** `namespace/name`, or `name` for a cluster-scoped object. */
function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace ? `${metadata.namespace}/${metadata.name ?? ""}` : metadata.name ?? "";
}

/** Creates the evaluator of one view. */
export function createEvaluator(options: EvaluatorOptions): Evaluator {
  const { view, views, signal, clock } = options;
  const resource = viewName(view);
  const { retryBackoff = backoff({ initialMs: 1_000, maxMs: 60_000 }), sleep } = options;
  const lanes = new Map<string, Lane>();
  const namespaces = new Map<string, Progress>();
  /** Documents that could not be read or stored: their keys, and what they weigh. */
  const failed = new Map<string, number>();
  /** Keys of documents that are not fully known. */
  const partial = new Set<string>();
  let isPartial = false;
  let round = 0;
  let allWaiting = 0;
  /** Resolves at the next change: a document is done, failed or was put off, or the signal aborted. */
  let change = Promise.withResolvers<void>();
  signal.addEventListener("abort", changed, { once: true });

  function changed(): void {
    change.resolve();
    change = Promise.withResolvers();
  }

  async function schedule(key: string, step: Step): Promise<void> {
    const namespace = namespaceOf(key);
    while (!signal.aborted) {
      const lane = lanes.get(key);
      if (lane) {
        lane.next = step;
        lane.weight = Math.max(lane.weight, step.weight);
        return;
      }
      const progress = namespaces.get(namespace) ??
        { inWork: 0, waiting: 0, movedAt: clock.monotonic(), putOff: new Map() };
      namespaces.set(namespace, progress);
      switch (roomFor(namespace, { progress, weight: step.weight })) {
        case "start":
          return start(key, { step, progress });
        case "put off":
          blind(key);
          progress.putOff.set(key, step.weight);
          return changed();
        case "wait":
          await changeOrStall();
      }
    }
  }

  /**
   * Decides whether a document may start. Waiting documents do not count. A stalled namespace has its own MAX_AT_ONCE places.
   * Further documents of a namespace with too many are put off.
   */
  function roomFor(
    namespace: string,
    { progress, weight }: { readonly progress: Progress; readonly weight: number },
  ): "start" | "wait" | "put off" {
    const past = stalled();
    const isHeavy = weight > 1;
    if (isHeavy && hasHeavyWaiting(namespace)) return "put off";
    if (past.includes(progress)) return progress.inWork < MAX_AT_ONCE ? "start" : "put off";
    if (hasTooManyWaiting(progress)) {
      return clock.monotonic() >= progress.movedAt + PATIENCE_MS ? "put off" : "wait";
    }
    let moving = 0;
    for (const [key, lane] of lanes) {
      const each = namespaces.get(namespaceOf(key));
      if (!lane.isWaiting && !(each && past.includes(each))) moving += lane.weight;
    }
    return moving === 0 || moving + weight <= MAX_AT_ONCE ? "start" : "wait";
  }

  /** True if the namespace has a heavy document that waits, or all together have as many as may be. */
  function hasHeavyWaiting(namespace: string): boolean {
    let heavy = 0;
    for (const [key, { isWaiting, weight }] of lanes) {
      if (!isWaiting || weight === 1) continue;
      heavy++;
      if (namespaceOf(key) === namespace) return true;
    }
    return heavy >= MAX_HEAVY_WAITING;
  }

  function hasTooManyWaiting({ waiting }: Progress): boolean {
    return waiting >= MAX_WAITING || (waiting > 0 && allWaiting >= MAX_WAITING_IN_ALL) ||
      allWaiting >= MAX_WAITING_EVER;
  }

  function setWaiting(key: string, isWaiting: boolean): void {
    const lane = lanes.get(key);
    const progress = namespaces.get(namespaceOf(key));
    if (!lane || !progress || lane.isWaiting === isWaiting) return;
    lane.isWaiting = isWaiting;
    progress.waiting += isWaiting ? 1 : -1;
    allWaiting += isWaiting ? 1 : -1;
    if (isWaiting) changed();
  }

  function start(
    key: string,
    { step, progress }: { readonly step: Step; readonly progress: Progress },
  ): void {
    if (progress.inWork++ === 0) progress.movedAt = clock.monotonic();
    const lane: Lane = { next: step, done: Promise.resolve(), weight: step.weight, isWaiting: false };
    lanes.set(key, lane);
    lane.done = work(key, lane).finally(() => {
      setWaiting(key, false);
      lanes.delete(key);
      progress.inWork--;
      progress.movedAt = clock.monotonic();
      if (progress.inWork + progress.putOff.size === 0) namespaces.delete(namespaceOf(key));
      changed();
    });
  }

  async function work(key: string, lane: Lane): Promise<void> {
    while (lane.next) {
      const step = lane.next;
      lane.next = undefined;
      const began = round;
      try {
        await step.run();
      } catch (error) {
        log.error("Document could not be evaluated", {
          source: view.source,
          resource,
          key,
          error,
        });
        if (began !== round || signal.aborted) continue;
        blind(key);
        fail(key);
      }
    }
  }

  /** Marks the document as failed, so that it is read again. */
  function fail(key: string): void {
    failed.set(key, lanes.get(key)?.weight ?? 1);
  }

  /** Reports the document as unreadable, so that none of its findings is resolved. */
  function blind(key: string): void {
    report({ key, fingerprints: [], readable: false });
  }

  function report(findings: ReportedFindings): void {
    views.report(view, findings);
    if (findings.readable) partial.delete(findings.key);
    else partial.add(findings.key);
    tellPartial();
  }

  function tellPartial(): void {
    if (isPartial === partial.size > 0) return;
    isPartial = !isPartial;
    options.onPartial?.(isPartial);
  }

  function stalled(): readonly Progress[] {
    const since = clock.monotonic() - STALLED_MS;
    return [...namespaces.values()].filter(({ inWork, movedAt }) => inWork > 0 && movedAt <= since)
      .slice(0, MAX_STALLED);
  }

  /** Resolves at the next change, or when a namespace may have stalled or the patience with one has ended. */
  async function changeOrStall(): Promise<void> {
    const now = clock.monotonic();
    const times = [...namespaces.values()].flatMap((each) => [
      ...(hasTooManyWaiting(each) ? [each.movedAt + PATIENCE_MS] : []),
      ...(each.inWork > 0 ? [each.movedAt + STALLED_MS] : []),
    ]).filter((time) => time > now);
    if (times.length === 0) await change.promise;
    else await settledWithin(change.promise, Math.min(...times) - now, { ...(sleep && { sleep }) });
  }

  async function take(object: KubeObject, began: number): Promise<void> {
    const key = keyOf(object);
    failed.delete(key);
    const found = await options.payloadOf(object);
    using _share = found?.share;
    if (signal.aborted || began !== round) return;
    // The findings of a document that cannot be read stay as they are.
    if (!found) return blind(key);
    const correlationId = `${resource}/${key}@${object.metadata.resourceVersion ?? ""}`;
    const onWaiting = (isWaiting: boolean) => setWaiting(key, isWaiting);
    const result = await options.take(found.payload, { correlationId, onWaiting });
    if (signal.aborted || began !== round) return;
    // An incomplete list, which its tool has cut, resolves nothing either.
    const readable = found.readable && result.payloadErrorCount === 0 && !result.isPartial;
    report({
      key,
      fingerprints: result.fingerprints,
      filteredFingerprints: result.filteredFingerprints,
      readable,
      ...(found.scope && { scope: found.scope }),
    });
    if (result.undecided > 0) fail(key);
  }

  /** Reads a document again and evaluates it. */
  async function takeAgain(key: string, began: number): Promise<void> {
    let object: KubeObject | undefined;
    try {
      object = await options.read(key);
    } catch {
      if (began === round) fail(key);
      return;
    }
    if (began !== round) return;
    if (object) await take(object, began);
    else forget(key);
  }

  function forget(key: string): void {
    failed.delete(key);
    partial.delete(key);
    tellPartial();
    views.gone(view, key);
  }

  /** Reads the documents that were put off, one of each namespace in turn. */
  async function runPutOff(): Promise<void> {
    while (!signal.aborted) {
      const ready = [...namespaces].filter(([namespace, progress]) => {
        const [weight = 1] = progress.putOff.values();
        const room = progress.putOff.size > 0 && roomFor(namespace, { progress, weight });
        // A heavy one that waited for its room would hold up those of other namespaces.
        return room === "start" || (room === "wait" && weight === 1);
      });
      if (ready.length === 0) await changeOrStall();
      for (const [, { putOff }] of ready) {
        const [[key = "", weight = 1] = []] = putOff;
        const began = round;
        if (putOff.delete(key)) await schedule(key, { weight, run: () => takeAgain(key, began) });
      }
    }
  }

  async function runFailed(): Promise<void> {
    while (!signal.aborted) {
      if (failed.size === 0) {
        retryBackoff.reset();
        await change.promise;
        continue;
      }
      if (!await elapsed(retryBackoff.next(), { signal, sleep })) return;
      const began = round;
      for (const [key, weight] of [...failed]) {
        if (signal.aborted || began !== round) break;
        if (failed.delete(key)) await schedule(key, { weight, run: () => takeAgain(key, began) });
      }
    }
  }

  return {
    begin() {
      round++;
      failed.clear();
      partial.clear();
      tellPartial();
      for (const [namespace, { inWork, putOff }] of namespaces) {
        putOff.clear();
        if (inWork === 0) namespaces.delete(namespace);
      }
      for (const lane of lanes.values()) lane.next = undefined;
    },
    evaluate(object) {
      const began = round;
      const weight = sizeOf(object).values > HEAVY_VALUES ? HEAVY_WEIGHT : 1;
      return schedule(keyOf(object), { weight, run: () => take(object, began) });
    },
    gone(object) {
      const key = keyOf(object);
      return schedule(key, { weight: 1, run: () => Promise.resolve(forget(key)) });
    },
    async settled() {
      const isMoving = () => {
        const past = stalled();
        return [...namespaces.values()].some((each) =>
          each.inWork + each.putOff.size > 0 && !past.includes(each)
        );
      };
      while (isMoving() && !signal.aborted) await changeOrStall();
      for (const key of lanes.keys()) blind(key);
    },
    async run() {
      await Promise.all([runPutOff(), runFailed()]);
      await Promise.all([...lanes.values()].map(({ done }) => done));
    },
  };
}

function namespaceOf(key: string): string {
  const slash = key.indexOf("/");
  return slash < 0 ? "" : key.slice(0, slash);
}
