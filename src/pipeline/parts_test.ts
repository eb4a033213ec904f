import { assert, assertEquals } from "@std/assert";
import { scanJson } from "../text/json.ts";
import { createParseRoom, createTextLimits, type ParseRoom, readInTurn } from "./parts.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const NEVER = new AbortController().signal;

/** Whether a promise is settled once everything that can go on has. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(() => settled = true);
  await new Promise((resolve) => setTimeout(resolve, 0));
  return settled;
}

/** A part that takes `bytes` of the room. */
function part(bytes: number) {
  return { bytes: bytes / 4, values: 0 };
}

Deno.test("createParseRoom() lets parts in by arrival, within its capacity", async () => {
  const room = createParseRoom(MIB);
  const first = await room.take(part(600 * KIB), NEVER);
  const second = room.take(part(600 * KIB), NEVER);
  const third = room.take(part(100 * KIB), NEVER);
  assertEquals([await isSettled(second), await isSettled(third)], [false, false]);
  first?.[Symbol.dispose]();
  assertEquals([await isSettled(second), await isSettled(third)], [true, true]);
});

Deno.test("createParseRoom() lets a part of ordinary size in at once, and one that is larger than the room alone", async () => {
  const room = createParseRoom(MIB);
  const large = await room.take(part(5 * MIB), NEVER);
  const other = room.take(part(5 * MIB), NEVER);
  assert(await room.take({ bytes: KIB, values: 100 }, NEVER));
  assertEquals(await isSettled(other), false);
  large?.[Symbol.dispose]();
  assert(await other);
});

Deno.test("createParseRoom() forgets who gives up, and lets in who waited behind", async () => {
  const room = createParseRoom(MIB);
  await room.take(part(600 * KIB), NEVER);
  const deadline = new AbortController();
  const large = room.take(part(900 * KIB), deadline.signal);
  const small = room.take(part(300 * KIB), NEVER);
  assertEquals(await isSettled(small), false);
  deadline.abort();
  assertEquals(await large, undefined);
  assert(await small);
  assertEquals(await room.take(part(600 * KIB), deadline.signal), undefined);
});

Deno.test("readInTurn() parses a part when it is asked for, and gives its share back before the next", async () => {
  const log: string[] = [];
  const room: ParseRoom = {
    take({ bytes }) {
      log.push(`take ${bytes}`);
      return Promise.resolve({ [Symbol.dispose]: () => void log.push(`give back ${bytes}`) });
    },
  };
  const { parts } = scanJson('[{"a":1},"xyz",2]', { lists: "elements" });
  const reading = readInTurn(parts, { origin: { confined: false }, receivedAt: 7, room, signal: NEVER });
  const read: unknown[] = [];
  for await (const { body, path, receivedAt } of reading.payloads) {
    log.push(`read ${path}`);
    read.push({ body, path });
    assertEquals(receivedAt, 7);
    if (path === "[1]") break;
  }
  assertEquals(read, [{ body: { a: 1 }, path: "[0]" }, { body: "xyz", path: "[1]" }]);
  assertEquals(log, ["take 7", "read [0]", "give back 7", "take 5", "read [1]", "give back 5"]);
  assertEquals(reading.isCutShort, false);
});

Deno.test("readInTurn() ends where a part gets no room before the deadline, and says so", async () => {
  const room: ParseRoom = { take: () => Promise.resolve(undefined) };
  const { parts } = scanJson("{}");
  const reading = readInTurn(parts, { origin: { confined: false }, receivedAt: 0, room, signal: NEVER });
  for await (const _ of reading.payloads) assert(false, "a part was read");
  assertEquals(reading.isCutShort, true);
});

Deno.test("createTextLimits() takes a 32nd of a small memory limit for a text, and fewer values", () => {
  const sizes = (memoryBytes: number) => {
    const { maxBytes, maxValues } = createTextLimits({ maxBytes: 16 * MIB, memoryBytes });
    return [maxBytes, maxValues];
  };
  assertEquals(sizes(Infinity), [16 * MIB, 500_000]);
  assertEquals(sizes(512 * MIB), [16 * MIB, 500_000]);
  assertEquals(sizes(128 * MIB), [4 * MIB, 125_000]);
});
