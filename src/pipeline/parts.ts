/** The parts of a text as payloads: parsed one by one, within the memory there is for parsed values. */
import type { Payload } from "../model/event.ts";
import { JSON_LIMITS, type JsonPart } from "../text/json.ts";
import type { PayloadParts } from "./intake.ts";

/** Memory for the parsed parts of texts. A part keeps its share until its last event is drawn. */
export interface ParseRoom {
  /** Resolves with what gives the share back, in order of arrival; with undefined where `signal` aborted first. */
  take(part: Pick<JsonPart, "bytes" | "values">, signal: AbortSignal): Promise<Disposable | undefined>;
}

/** What a parsed value takes: measured 96 bytes for `{"a":1}`, which are two. */
const VALUE_BYTES = 96;
/** The text of a part is there as one string, and its strings once more: two bytes a character where one is not Latin. */
const COPIES = 4;
/** Parts that take less need no share: a request of ordinary alerts never waits for others. */
const SMALL_BYTES = 64 * 1024;
const NO_SHARE: Disposable = { [Symbol.dispose]() {} };

/** Creates the room of `capacity` bytes; a part that needs more is let in alone. */
export function createParseRoom(capacity: number): ParseRoom {
  const waiting = new Set<() => boolean>();
  let used = 0;

  function letIn(): void {
    for (const enter of waiting) if (!enter()) return;
  }

  function share(bytes: number): Disposable {
    used += bytes;
    return {
      [Symbol.dispose]() {
        used -= bytes;
        letIn();
      },
    };
  }

  return {
    take({ bytes: textBytes, values }, signal) {
      const bytes = COPIES * textBytes + VALUE_BYTES * values;
      if (bytes <= SMALL_BYTES) return Promise.resolve(NO_SHARE);
      const { promise, resolve } = Promise.withResolvers<Disposable | undefined>();
      const leave = () => {
        waiting.delete(enter);
        signal.removeEventListener("abort", giveUp);
      };
      const enter = () => {
        if (used > 0 && used + bytes > capacity) return false;
        leave();
        resolve(share(bytes));
        return true;
      };
      const giveUp = () => {
        leave();
        resolve(undefined);
        letIn();
      };
      if (signal.aborted) resolve(undefined);
      else {
        waiting.add(enter);
        signal.addEventListener("abort", giveUp, { once: true });
        letIn();
      }
      return promise;
    },
  };
}

/** Bounds of the texts of a kind of feed. */
export interface TextLimits {
  readonly maxBytes: number;
  /** Most values of a document, or of an item of a list. */
  readonly maxValues: number;
  readonly room: ParseRoom;
}

const MIB = 2 ** 20;
/** What the bounds are made for: more memory changes nothing. */
export const FULL_MEMORY_BYTES = 512 * MIB;
/** Shares of the memory limit: at 512 MiB, 16 MiB a text and 64 MiB of parsed values. */
const TEXT_SHARE = 1 / 32;
const PARSED_SHARE = 1 / 8;

/** The bounds for texts of up to `maxBytes` under a memory limit; each has a room of its own. */
export function createTextLimits(
  { maxBytes, memoryBytes }: { readonly maxBytes: number; readonly memoryBytes: number },
): TextLimits {
  const memory = Math.min(memoryBytes, FULL_MEMORY_BYTES);
  return {
    maxBytes: Math.floor(Math.min(maxBytes, memoryBytes * TEXT_SHARE)),
    maxValues: Math.floor(JSON_LIMITS.values * memory / FULL_MEMORY_BYTES),
    room: createParseRoom(memory * PARSED_SHARE),
  };
}

/** What the payloads of a text have in common, and how they are read. */
export interface PartsOptions extends Pick<Payload, "origin" | "receivedAt"> {
  readonly room: ParseRoom;
  /** Parts that wait for room when it aborts are not read. */
  readonly signal: AbortSignal;
}

/** The payloads of the parts of a text; `isCutShort` once one of them got no room. */
export function readInTurn(
  parts: readonly JsonPart[],
  { room, signal, ...common }: PartsOptions,
): { readonly payloads: PayloadParts; readonly isCutShort: boolean } {
  let isCutShort = false;
  async function* payloads(): AsyncGenerator<Payload> {
    for (const part of parts) {
      const share = await room.take(part, signal);
      if (!share) {
        isCutShort = true;
        return;
      }
      // Not `using`: esbuild 0.25 leaves out a declaration whose name the next statement alone reads.
      try {
        yield { body: part.read(), path: part.path, ...common };
      } finally {
        share[Symbol.dispose]();
      }
    }
  }
  return {
    payloads: payloads(),
    get isCutShort() {
      return isCutShort;
    },
  };
}
