import type { Json, JsonObject } from "../core/json.ts";

/** What goes wrong. On a watch the stream effects (reset, garbled, error, gone, silent) act on running ones too. */
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
  /** Sends bytes that are no JSON: a line of a watch, or the body of an answer. */
  | { readonly kind: "garbled" }
  /** Sends an ERROR frame and ends the watch; other requests get its status. */
  | { readonly kind: "error"; readonly status?: JsonObject }
  /** 410: an ERROR frame, or the answer to a list. */
  | { readonly kind: "gone" }
  /** Waits first. */
  | { readonly kind: "latency"; readonly latencyMs: number }
  /** Half-open: the socket stays, nothing more comes, no bookmarks either. */
  | { readonly kind: "silent" };

/** Which requests a fault is for: by verb, and by a part of the path (with its query). */
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
  #active = new Set<ActiveFault>();
  #watching = new Set<() => void>();

  /** Puts a fault in force; removed by `remove`, by `using`, or after its `times`. */
  add(fault: Fault): FaultHandle {
    const active = new ActiveFault(fault, () => this.#drop(active));
    this.#active.add(active);
    this.#wake();
    return active;
  }

  /** Takes every fault back. */
  clear(): void {
    this.#active.clear();
    this.#wake();
  }

  /** The effect of the first fault for this request, counted. */
  take(call: Call): FaultEffect | undefined {
    for (const fault of this.#active) {
      const forStream = call.verb === "watch" && STREAM_EFFECTS.includes(fault.effect.kind);
      if (!forStream && fault.matches(call) && fault.strike()) return fault.effect;
    }
    return undefined;
  }

  /** The effect of the first fault for a running watch that has `sent` so many frames; `frame`: another is at hand. */
  takeStream(call: Call, { sent, frame }: { sent: number; frame: boolean }): FaultEffect | undefined {
    for (const fault of this.#active) {
      const { effect, fault: { after = 0 } } = fault;
      if (!STREAM_EFFECTS.includes(effect.kind) || (effect.kind === "garbled" && !frame) || sent < after) {
        continue;
      }
      if (fault.matches(call)) return fault.strike(sent) ? effect : undefined;
    }
    return undefined;
  }

  /** True where a `deny` fault is in force for this call; not counted. */
  denies(call: Call): boolean {
    return [...this.#active].some((fault) => fault.effect.kind === "deny" && fault.matches(call));
  }

  /** Calls `wake` whenever the faults change. */
  onChange(wake: () => void): () => void {
    this.#watching.add(wake);
    return () => this.#watching.delete(wake);
  }

  #drop(fault: ActiveFault): void {
    this.#active.delete(fault);
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#watching]) wake();
  }
}

class ActiveFault implements FaultHandle {
  hits = 0;
  #seen = 0;

  constructor(readonly fault: Fault, readonly remove: () => void) {}

  get effect(): FaultEffect {
    return this.fault.effect;
  }

  matches({ verb, path }: Call): boolean {
    const { verb: verbs, path: wanted } = this.fault;
    if (verbs !== undefined && !(typeof verbs === "string" ? verbs === verb : verbs.includes(verb))) {
      return false;
    }
    if (wanted === undefined) return true;
    return typeof wanted === "string" ? path.includes(wanted) : wanted.test(path);
  }

  strike(seen = this.#seen++): boolean {
    if (seen < (this.fault.after ?? 0)) return false;
    this.hits++;
    if (this.hits >= (this.fault.times ?? Infinity)) this.remove();
    return true;
  }

  [Symbol.dispose](): void {
    this.remove();
  }
}
