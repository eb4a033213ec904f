/** How one state document (a report, a ConfigMap) is evaluated, and tried again while it cannot be stored. */
import type { Payload } from "../../model/event.ts";
import { type ViewKey, viewName, type Views } from "../../model/view.ts";
import type { KubeObject } from "../../kube/api.ts";
import { type Backoff, backoff, elapsed, type Sleep } from "../../kube/retry.ts";
import type { Intake, IntakeResult, SourceRuntime } from "../../pipeline/intake.ts";
import { logger } from "../../telemetry/logging.ts";

const log = logger("sources");

export interface EvaluatorOptions {
  readonly source: SourceRuntime;
  readonly view: ViewKey;
  readonly intake: Intake;
  readonly views: Views;
  /** The payload in an object, and whether all of it could be read; undefined where there is none. */
  readonly payloadOf: (object: KubeObject) => { payload: Payload; readable: boolean } | undefined;
  /** Reads a document again by key; undefined where it is gone. */
  readonly read: (key: string) => Promise<KubeObject | undefined>;
  readonly onTaken?: (result: IntakeResult, payload: Payload) => void;
  readonly signal: AbortSignal;
  readonly retryBackoff?: Backoff;
  readonly sleep?: Sleep;
}

/** Evaluates documents: several at once, those of one key in order. */
export interface Evaluator {
  /** Resolves once the evaluation has begun: that keeps a list from running ahead of what can be stored. */
  evaluate(object: KubeObject): Promise<void>;
  gone(object: KubeObject): Promise<void>;
  /** Resolves once everything begun is evaluated. */
  idle(): Promise<void>;
  /** Tries documents whose events could not be stored again, until the signal aborts. */
  run(): Promise<void>;
  /** Documents waiting for another try. */
  readonly waiting: number;
}

/** Documents in work at once: each may be a report of a megabyte. */
const MAX_AT_ONCE = 8;

/** `namespace/name`, or `name` for a cluster-scoped object. */
export function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace ? `${metadata.namespace}/${metadata.name ?? ""}` : metadata.name ?? "";
}

/** Creates the evaluator of one resource of a source. */
export function createEvaluator(options: EvaluatorOptions): Evaluator {
  const { source, view, intake, views, signal } = options;
  const resource = viewName(view);
  const { retryBackoff = backoff({ initialMs: 1_000, maxMs: 60_000 }), sleep } = options;
  const waiting = new Set<string>();
  let wake: () => void = () => {};
  signal.addEventListener("abort", () => wake(), { once: true });
  const lanes = new Map<string, Promise<void>>();
  let freed: () => void = () => {};

  /** A list's and a retry's evaluation of the same document must not overtake each other. */
  function inTurn(key: string, step: () => Promise<void>): Promise<void> {
    const before = lanes.get(key) ?? Promise.resolve();
    const mine = before.then(step).catch((error) => {
      log.error("Document could not be evaluated", { source: source.name, resource, key, error });
      views.report(view, { key, fingerprints: [], readable: false });
      waiting.add(key);
      wake();
    }).finally(() => {
      if (lanes.get(key) === mine) lanes.delete(key);
      freed();
    });
    lanes.set(key, mine);
    return mine;
  }

  async function begin(key: string, step: () => Promise<void>): Promise<void> {
    while (lanes.size >= MAX_AT_ONCE && !lanes.has(key)) {
      await new Promise<void>((resolve) => freed = resolve);
    }
    void inTurn(key, step);
  }

  async function take(object: KubeObject): Promise<void> {
    const key = keyOf(object);
    waiting.delete(key);
    const found = options.payloadOf(object);
    if (!found) {
      // What cannot be read is no end of what it reported.
      views.report(view, { key, fingerprints: [], readable: false });
      return;
    }
    const { payload } = found;
    const correlationId = `${resource}/${key}@${object.metadata.resourceVersion ?? ""}`;
    const result = await intake.take(source, payload, { signal, correlationId });
    if (signal.aborted) return;
    options.onTaken?.(result, payload);
    views.report(view, {
      key,
      fingerprints: result.fingerprints,
      readable: found.readable && result.payloadErrorCount === 0,
    });
    if (result.undecided > 0) {
      waiting.add(key);
      wake();
    }
  }

  async function retryOne(key: string): Promise<void> {
    let object: KubeObject | undefined;
    try {
      object = await options.read(key);
    } catch {
      return; // It stays in line for the next round.
    }
    if (object) await take(object);
    else forget(key);
  }

  function forget(key: string): void {
    waiting.delete(key);
    views.gone(view, key);
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      if (waiting.size === 0) {
        retryBackoff.reset();
        await new Promise<void>((resolve) => wake = resolve);
        continue;
      }
      if (!await elapsed(retryBackoff.next(), { signal, sleep })) return;
      for (const key of [...waiting]) {
        if (signal.aborted) return;
        await inTurn(key, () => retryOne(key));
      }
    }
  }

  return {
    evaluate: (object) => begin(keyOf(object), () => take(object)),
    gone: (object) => begin(keyOf(object), () => Promise.resolve(forget(keyOf(object)))),
    async idle() {
      while (lanes.size > 0) await Promise.all(lanes.values());
    },
    run,
    get waiting() {
      return waiting.size;
    },
  };
}
