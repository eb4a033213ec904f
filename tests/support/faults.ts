/** Fault injection: the gate of an embedded API server, which knows nothing of it. */
import { at, type Json, type JsonObject } from "../../src/model/json.ts";
import { StatusError } from "../../src/devcluster/errors.ts";
import type { Call, Passage } from "../../src/devcluster/mod.ts";

/** What goes wrong. On a watch, reset, garbled, error, gone and silent act on running ones too. */
export type FaultEffect =
  /** Answers with this status and body (a Status is made where there is none). */
  | {
    readonly kind: "status";
    readonly status: number;
    readonly body?: Json;
    readonly retryAfterSeconds?: number;
  }
  /** Answers 403, and denies SelfSubjectAccessReviews. */
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

const STREAM_EFFECTS = ["reset", "garbled", "error", "gone", "silent"];
/** Marks a broken connection in the stream of frames. */
const BROKEN = "\0";
const REASONS: Readonly<Record<number, string>> = {
  401: "Unauthorized",
  429: "TooManyRequests",
  503: "ServiceUnavailable",
};

/** The active faults. */
export class Faults {
  readonly #active = new Set<ActiveFault>();
  readonly #watching = new Set<() => void>();

  /** Activates a fault; it ends with `remove`, with `using`, or after its `times`. */
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

  /** Lets a request pass, or strikes it. */
  async pass(call: Call, { carryOut, signal }: Passage): Promise<Response> {
    const effect = this.#take(call, (kind) => call.verb !== "watch" || !STREAM_EFFECTS.includes(kind));
    if (effect?.kind === "latency") await end(signal, effect.latencyMs);
    else if (effect?.kind === "reset" && effect.applied) {
      await carryOut().then((response) => response.body?.cancel());
    }
    if (effect && effect.kind !== "latency") return await struck(effect, call, signal);
    const response = await carryOut();
    if (call.path.includes("/selfsubjectaccessreviews")) {
      return Response.json(this.#judged(await response.json()), response);
    }
    if (call.verb !== "watch" || !response.body || !response.ok) return response;
    return new Response(this.#strikeStream(call, response.body, signal), response);
  }

  #take(call: Call, applies: (kind: string) => boolean, seen?: number): FaultEffect | undefined {
    const struck = (each: ActiveFault) =>
      applies(each.fault.effect.kind) && isAbout(call, each.fault) && each.strike(seen);
    return [...this.#active].find(struck)?.fault.effect;
  }

  #strikeStream(
    call: Call,
    body: ReadableStream<Uint8Array>,
    signal: AbortSignal,
  ): ReadableStream<Uint8Array> {
    const reader = body.getReader();
    const frames = this.#frames(call, reader, signal);
    const encoder = new TextEncoder();
    return new ReadableStream({
      async pull(controller) {
        const { value, done } = await frames.next();
        if (value === BROKEN) controller.error("devcluster: a fault broke a watch off");
        else if (done) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
      cancel: (reason) => reader.cancel(reason),
    });
  }

  /** What is left of a watch's lines, which come whole, several in a chunk. */
  async *#frames(
    call: Call,
    reader: ReadableStreamDefaultReader<Uint8Array>,
    signal: AbortSignal,
  ): AsyncGenerator<string> {
    const decoder = new TextDecoder();
    const take = (sent: number, frame = false) =>
      this.#take(call, (kind) => STREAM_EFFECTS.includes(kind) && (frame || kind !== "garbled"), sent);
    let pending = reader.read();
    for (let sent = 0;;) {
      let effect = take(sent);
      const isHere = effect ? false : await this.#arrives(pending);
      const arrived = isHere ? await pending : undefined;
      if (arrived?.done) return;
      if (arrived) pending = reader.read();
      let out = "";
      for (const line of arrived ? decoder.decode(arrived.value).split("\n").slice(0, -1) : []) {
        effect = take(sent, true);
        if (effect && effect.kind !== "garbled") break;
        out += effect ? `${line.slice(0, -20)}\n` : `${line}\n`;
        effect = undefined;
        sent++;
      }
      if (out) yield out;
      if (!effect) continue;
      await reader.cancel();
      if (effect.kind === "silent") await end(signal);
      else {yield effect.kind === "reset"
          ? BROKEN
          : `{"type":"ERROR","object":${JSON.stringify(statusOf(effect))}}\n`;}
      return;
    }
  }

  /** Waits for the promise, true, or for another fault, false. */
  async #arrives(pending: Promise<unknown>): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const wake = () => resolve(false);
    this.#watching.add(wake);
    pending.then(() => resolve(true), () => resolve(true));
    const isHere = await promise;
    this.#watching.delete(wake);
    return isHere;
  }

  /** The answer to a SelfSubjectAccessReview; denied if an active `deny` matches it. */
  #judged(review: JsonObject): JsonObject {
    const field = (name: string) => String(at(review, "spec", "resourceAttributes", name) ?? "");
    const group = field("group") ? `apis/${field("group")}` : "api";
    const namespace = field("namespace") && `namespaces/${field("namespace")}`;
    const place = [
      group,
      field("version") || "v1",
      namespace,
      field("resource"),
      field("name"),
      field("subresource"),
    ];
    const call = { verb: field("verb"), path: `/${place.filter(Boolean).join("/")}` };
    const denied = [...this.#active].some(({ fault }) =>
      fault.effect.kind === "deny" && isAbout(call, fault)
    );
    return denied ? { ...review, status: { allowed: false } } : review;
  }
}

class ActiveFault implements FaultHandle {
  hits = 0;
  #seen = 0;

  constructor(readonly fault: Fault, readonly remove: () => void) {}

  strike(seen = this.#seen++): boolean {
    if (seen < (this.fault.after ?? 0)) return false;
    if (++this.hits >= (this.fault.times ?? Infinity)) this.remove();
    return true;
  }

  [Symbol.dispose](): void {
    this.remove();
  }
}

/** True for the requests a fault, or a question to the log of requests, is about. */
export function isAbout(call: Call, { verb = call.verb, path = "" }: Pick<Fault, "verb" | "path">): boolean {
  return [verb].flat().includes(call.verb) &&
    (typeof path === "string" ? call.path.includes(path) : path.test(call.path));
}

async function struck(effect: FaultEffect, { verb, path }: Call, signal: AbortSignal): Promise<Response> {
  switch (effect.kind) {
    case "status": {
      const headers = effect.retryAfterSeconds === undefined
        ? {}
        : { "retry-after": String(effect.retryAfterSeconds) };
      return Response.json(statusOf(effect), { status: effect.status, headers });
    }
    case "deny": {
      const message = `${path} is forbidden: User "devcluster-admin" cannot ${verb} it`;
      return Response.json(new StatusError(403, "Forbidden", message).body(), { status: 403 });
    }
    case "error":
    case "gone": {
      const body = statusOf(effect);
      return Response.json(body, { status: Number(at(body, "code")) });
    }
    case "garbled":
      return new Response('{"kind":"', { headers: { "content-type": "application/json" } });
    case "hang":
    case "silent":
      await end(signal);
  }
  // Fewer bytes than announced: the connection closes in the middle of the answer.
  const nothing = new ReadableStream({ start: (controller) => controller.close() });
  return new Response(nothing, { headers: { "content-length": "1" } });
}

function statusOf(effect: FaultEffect): Json {
  if (effect.kind === "gone") return new StatusError(410, "Expired", "too old resource version").body();
  if (effect.kind === "error" && effect.status) return effect.status;
  if (effect.kind !== "status") return new StatusError(500, "InternalError", "an error was injected").body();
  const { status, body, retryAfterSeconds } = effect;
  const details = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return body ??
    new StatusError(status, REASONS[status] ?? "InternalError", "an error was injected", details).body();
}

/** Waits for the end of the server, or of the time, if one is given. */
async function end(signal: AbortSignal, timeoutMs?: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = () => resolve();
  const timer = timeoutMs === undefined ? undefined : setTimeout(wake, timeoutMs);
  signal.addEventListener("abort", wake);
  if (!signal.aborted) await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", wake);
}
