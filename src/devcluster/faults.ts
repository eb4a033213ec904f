import type { Json, JsonObject } from "../core/json.ts";

/** What goes wrong. On a watch, reset, garbled, error, gone and silent act on running ones too. */
export type FaultEffect =
  /** Answers with this status and body (a Status is made where there is none). */
  | {
    readonly kind: "status";
    readonly status: number;
    readonly body?: Json;
    readonly retryAfterSeconds?: number;
  }
  /** 403, and SelfSubjectAccessReview says no. */
  | { readonly kind: "deny" }
  /** Never answers. */
  | { readonly kind: "hang" }
  /** Breaks the connection: instead of carrying the request out, or, `applied`, after it. */
  | { readonly kind: "reset"; readonly applied?: boolean }
  /** Cuts a frame of a watch, or the body of an answer, so that it is no JSON. */
  | { readonly kind: "garbled" }
  /** Sends an ERROR frame and ends the watch; other requests get its status. */
  | { readonly kind: "error"; readonly status?: JsonObject }
  /** 410: an ERROR frame, or the answer to a list. */
  | { readonly kind: "gone" }
  /** Waits first. */
  | { readonly kind: "latency"; readonly latencyMs: number }
  /** Half-open: the socket stays, nothing more comes, no bookmarks either. */
  | { readonly kind: "silent" };

/** Which requests a fault is for: by verb, and by a part of the path with its query. */
export interface Fault {
  readonly verb?: string | readonly string[];
  readonly path?: string | RegExp;
  /** How often; without end if absent. */
  readonly times?: number;
  /** How many matching requests (of a watch: frames) go well first. */
  readonly after?: number;
  readonly effect: FaultEffect;
}

/** A fault that was added: how often it struck, and how to take it back. */
export interface FaultHandle extends Disposable {
  readonly hits: number;
  remove(): void;
}

/** One request as faults and the request log see it. */
export interface Call {
  readonly verb: string;
  readonly path: string;
}

const STREAM_EFFECTS = ["reset", "garbled", "error", "gone", "silent"];

/** The faults in force. */
export class Faults {
  readonly #active = new Set<ActiveFault>();
  readonly #watching = new Set<() => void>();

  /** Puts a fault in force; removed by `remove`, by `using`, or after its `times`. */
  add(fault: Fault): FaultHandle {
    const active = new ActiveFault(fault, () => this.#active.delete(active));
    this.#active.add(active);
    for (const wake of [...this.#watching]) wake();
    return active;
  }

  /** Takes every fault back. */
  clear(): void {
    this.#active.clear();
  }

  /** The effect of the first fault for this request, counted. */
  take(call: Call): FaultEffect | undefined {
    const inRequest = ({ fault: { effect } }: ActiveFault) =>
      call.verb !== "watch" || !STREAM_EFFECTS.includes(effect.kind);
    return [...this.#active].find((each) => inRequest(each) && each.matches(call) && each.strike())?.fault
      .effect;
  }

  /** The effect of the first fault for a running watch that has `sent` so many frames; `frame`: another is at hand. */
  takeStream(call: Call, { sent, frame }: { sent: number; frame: boolean }): FaultEffect | undefined {
    const inStream = ({ fault: { effect: { kind } } }: ActiveFault) =>
      STREAM_EFFECTS.includes(kind) && (kind !== "garbled" || frame);
    return [...this.#active].find((each) => inStream(each) && each.matches(call) && each.strike(sent))?.fault
      .effect;
  }

  /** True where a `deny` fault is in force for this call; not counted. */
  denies(call: Call): boolean {
    return [...this.#active].some((each) => each.fault.effect.kind === "deny" && each.matches(call));
  }

  /** Calls `wake` whenever a fault is added. */
  onChange(wake: () => void): () => void {
    this.#watching.add(wake);
    return () => this.#watching.delete(wake);
  }
}

class ActiveFault implements FaultHandle {
  hits = 0;
  #seen = 0;

  constructor(readonly fault: Fault, readonly remove: () => void) {}

  matches({ verb, path }: Call): boolean {
    const { verb: verbs = verb, path: wanted = "" } = this.fault;
    if (!(typeof verbs === "string" ? [verbs] : verbs).includes(verb)) return false;
    return typeof wanted === "string" ? path.includes(wanted) : wanted.test(path);
  }

  strike(seen = this.#seen++): boolean {
    if (seen < (this.fault.after ?? 0)) return false;
    if (++this.hits >= (this.fault.times ?? Infinity)) this.remove();
    return true;
  }

  [Symbol.dispose](): void {
    this.remove();
  }
}

const MAX_CALLS = 100_000;

/** The requests the server has had, so that a test can say what was never asked. */
export class RequestLog {
  #calls: Call[] = [];
  #forgotten = 0;

  add(call: Call): void {
    if (this.#calls.length >= MAX_CALLS) this.#forgotten += this.#calls.splice(0, MAX_CALLS / 2).length;
    this.#calls.push(call);
  }

  /** All since `clear`, oldest first. */
  get calls(): readonly Call[] {
    return this.#calls;
  }

  /** How many had this verb and this in their path; throws where some are forgotten. */
  count({ verb, path = "" }: { verb?: string; path?: string | RegExp }): number {
    if (this.#forgotten > 0) {
      throw new Error(`Cannot count requests: ${this.#forgotten} are forgotten, clear earlier`);
    }
    const fits = (call: Call) => typeof path === "string" ? call.path.includes(path) : path.test(call.path);
    return this.#calls.filter((call) => (verb === undefined || call.verb === verb) && fits(call)).length;
  }

  clear(): void {
    this.#calls = [];
    this.#forgotten = 0;
  }
}
