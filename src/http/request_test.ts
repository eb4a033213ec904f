import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  addressSet,
  ByteBudget,
  clientAddress,
  createWaitingRooms,
  readBody,
  Refusal,
  type Seat,
} from "./request.ts";

const ROOM = { name: "falco", size: 10 };

Deno.test("clientAddress() reads the last 32 addresses that were forwarded, however many there are", () => {
  const trusted = addressSet(["10.0.0.0/8"]);
  const behind = (proxies: number) =>
    clientAddress("10.0.0.1", ["203.0.113.7", ...Array(proxies).fill("10.0.0.2")].join(", "), trusted);
  assertEquals([behind(0), behind(31), behind(32), behind(1_500)], [
    "203.0.113.7",
    "203.0.113.7",
    "10.0.0.1",
    "10.0.0.1",
  ]);
});

Deno.test("a room takes as many requests as its size, and the other rooms go on", () => {
  const rooms = createWaitingRooms();
  const seats = Array.from({ length: 12 }, (_, index) => rooms.enter(ROOM, `10.0.0.${index % 4}`));
  assertEquals(seats.filter(Boolean).length, 10);
  assert(rooms.enter({ name: "audit", size: 1 }, "10.0.0.0"));
  seats[0]?.leave();
  assert(rooms.enter(ROOM, "10.0.0.0"));
});

Deno.test("one sender takes no more than half of a room", () => {
  const rooms = createWaitingRooms();
  const seats = Array.from({ length: 10 }, () => rooms.enter(ROOM, "10.0.0.1")).filter((seat) => seat);
  assertEquals(seats.length, 5);
  assert(rooms.enter(ROOM, "10.0.0.2"));
  seats[0]?.leave();
  assert(rooms.enter(ROOM, "10.0.0.1"));
});

Deno.test("requests whose events are all of one namespace take no more than half of a room", () => {
  const rooms = createWaitingRooms();
  const seats = Array.from({ length: 10 }, (_, index) => rooms.enter(ROOM, `10.0.0.${index}`) as Seat);
  assertEquals(seats.map((seat) => seat.only("shop")), seats.map((_, index) => index < 5));
  for (const seat of seats.slice(5)) seat.leave();
  const other = rooms.enter(ROOM, "10.0.0.1");
  assert(other?.only("pay"));
  assert(seats[0]?.only(undefined), "it has events of several namespaces now");
  assert(other?.only("shop"));
});

Deno.test("requests of one sender whose events are all of one namespace leave room for its other requests", () => {
  const rooms = createWaitingRooms();
  const seats = Array.from({ length: 5 }, () => rooms.enter(ROOM, "10.0.0.1") as Seat);
  assertEquals(seats.map((seat) => seat.only("shop")), [true, true, true, false, false]);
  for (const seat of seats.slice(3)) seat.leave();
  assert(rooms.enter(ROOM, "10.0.0.1")?.only("pay"));
  assert(rooms.enter(ROOM, "10.0.0.2")?.only("shop"), "another sender");
});

function post(body: BodyInit, length?: number): Request {
  const headers = length === undefined ? {} : { "content-length": String(length) };
  return new Request("http://localhost/", { method: "POST", body, headers });
}

const options = (budget = new ByteBudget(1_000_000)) => ({
  maxBytes: 500_000,
  bound: "WEBHOOK_MAX_BYTES",
  budget,
  timeoutMs: 60_000,
});

Deno.test("readBody() reads announced and unannounced bodies alike and gives their bytes back", async () => {
  const text = "é".repeat(30_000);
  for (const length of [undefined, 60_000]) {
    const budget = new ByteBudget(1_000_000);
    {
      using body = await readBody(post(text, length), options(budget));
      assertEquals(new TextDecoder().decode(body.bytes), text);
      assertEquals(budget.used, 60_000);
    }
    assertEquals(budget.used, 0);
  }
});

Deno.test("readBody() keeps no more memory than arrived, and frees it with the body", async () => {
  const MIB = 2 ** 20;
  const pieces = (count: number) =>
    new ReadableStream({
      pull: (stream) => count-- > 0 ? stream.enqueue(new Uint8Array(MIB / 16).fill(32)) : stream.close(),
    });
  const limits = { maxBytes: 16 * MIB, bound: "", budget: new ByteBudget(16 * MIB), timeoutMs: 60_000 };
  for (const length of [undefined, 5 * MIB]) {
    const body = await readBody(post(pieces(80), length), limits);
    const { buffer } = body.bytes;
    assertEquals([body.bytes.length, buffer.byteLength], [5 * MIB, 5 * MIB]);
    body[Symbol.dispose]();
    assertEquals([buffer.detached, limits.budget.used], [true, 0]);
  }
});

Deno.test("readBody() answers 408 to a body that does not arrive, announced or not", async () => {
  for (const length of [undefined, 100]) {
    const budget = new ByteBudget(1_000_000);
    const silent = new ReadableStream({ pull: () => new Promise(() => {}) });
    const error = await assertRejects(
      () => readBody(post(silent, length), { ...options(budget), timeoutMs: 1 }),
      Refusal,
      "did not arrive",
    );
    assertEquals([error.status, budget.used], [408, 0]);
  }
});

Deno.test("readBody() answers 400 to a body that is cut off, announced or not", async () => {
  for (const length of [undefined, 100]) {
    const budget = new ByteBudget(1_000_000);
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error("reset")) });
    const error = await assertRejects(
      () => readBody(post(broken, length), options(budget)),
      Refusal,
      "cut off",
    );
    assertEquals([error.status, budget.used], [400, 0]);
  }
});

Deno.test("readBody() answers 503 where other bodies fill the budget", async () => {
  const budget = new ByteBudget(100);
  budget.tryTake(60);
  const error = await assertRejects(
    () => readBody(post("x".repeat(50), 50), options(budget)),
    Refusal,
    "too many",
  );
  assertEquals([error.status, budget.used], [503, 60]);
});

Deno.test("readBody() keeps its budget whatever length is announced", async () => {
  for (const length of ["5, 5", "-5", "x", "1e400"]) {
    const budget = new ByteBudget(100);
    const headers = { "content-length": length };
    const request = new Request("http://localhost/", { method: "POST", body: '{"a":1}', headers });
    {
      using body = await readBody(request, { ...options(budget), maxBytes: 1_000 });
      assertEquals(body.bytes.byteLength, 7);
    }
    assertEquals(budget.used, 0, length);
    assertEquals([budget.tryTake(60), budget.tryTake(60)], [true, false]);
  }
});

Deno.test("readBody() answers 503 once requests under way must end, announced or not", async () => {
  for (const headers of [{}, { "content-length": "100" }, { "content-length": "100000" }]) {
    const stop = new AbortController();
    const budget = new ByteBudget(1_000_000);
    const body = new ReadableStream({ start: (stream) => stream.enqueue(new Uint8Array([123])) });
    const request = new Request("http://localhost/", { method: "POST", body, headers });
    const read = readBody(request, { ...options(budget), signal: stop.signal });
    stop.abort();
    const error = await assertRejects(() => read, Refusal);
    assertEquals([error.status, budget.used], [503, 0]);
  }
});

Deno.test("ByteBudget keeps one sender from holding more than its share, unless it is alone", () => {
  const all = new ByteBudget(100);
  const some = new ByteBudget(60, { perSender: 30, within: all });
  assertEquals([some.tryTake(50, "a"), some.tryTake(1, "a"), some.tryTake(5, "b")], [true, false, true]);
  assertEquals([some.tryTake(10, "c"), some.used, all.used], [false, 55, 55]);
  assertEquals(some.leave(50, "a"), all);
  assertEquals([some.used, all.used, all.tryTake(50, "d")], [5, 55, false]);
  all.release(50, "a");
  some.release(5, "b");
  assertEquals([some.used, all.used], [0, 0]);
});

Deno.test("readBody() hands the bytes on as they arrive, and holds no more of the budget than it received", async () => {
  for (const length of [undefined, 200_000]) {
    const budget = new ByteBudget(1_000_000);
    const sent = new Uint8Array(200_000).map((_, index) => index % 251);
    const seen: number[] = [];
    const stream = new ReadableStream({
      pull(controller) {
        const at = seen.reduce((sum, size) => sum + size, 0);
        assertEquals(budget.used, at);
        if (at >= sent.length) return controller.close();
        controller.enqueue(sent.slice(at, at + 50_000));
      },
    }, { highWaterMark: 0 });
    using body = await readBody(post(stream, length), {
      ...options(budget),
      onBytes: (bytes) => void seen.push(bytes.length),
    });
    assertEquals([seen, body.bytes], [[50_000, 50_000, 50_000, 50_000], sent]);
  }
});

Deno.test("readBody() frees a body's memory when it is disposed of", async () => {
  const body = await readBody(post("x".repeat(200_000)), options());
  const { bytes } = body;
  body[Symbol.dispose]();
  assertEquals(bytes.length, 0);
});

Deno.test("readBody() moves a body whose sender proved itself to the larger budget", async () => {
  const all = new ByteBudget(1_000);
  const unproven = new ByteBudget(500, { within: all });
  {
    using body = await readBody(post("x".repeat(100), 100), options(unproven));
    assertEquals([unproven.used, all.used], [100, 100]);
    body.leaveBudget();
    assertEquals([unproven.used, all.used], [0, 100]);
  }
  assertEquals([unproven.used, all.used], [0, 0]);
});

Deno.test("readBody() lets few large bodies in at a time, announced or not, and any number of small ones", async () => {
  const large = new ByteBudget(4_000_000, { perSender: 2_000_000, from: 1_000_000 });
  const body = (megabytes: number, announced: boolean) =>
    post(new Uint8Array(megabytes * 1_000_000), announced ? megabytes * 1_000_000 : undefined);
  const read = (request: Request, sender: string) =>
    readBody(request, { ...options(new ByteBudget(1e8)), maxBytes: 1e7, large, sender });
  {
    using first = await read(body(2, false), "a");
    using other = await read(body(1, false), "a");
    assertEquals([first.bytes.length, other.bytes.length, large.used], [2_000_000, 1_000_000, 2_000_000]);
    for (const announced of [true, false]) {
      const error = await assertRejects(() => read(body(2, announced), "a"), Refusal, "too many large");
      assertEquals([error.status, large.used], [503, 2_000_000]);
    }
    using second = await read(body(2, true), "b");
    assertEquals([second.bytes.length, large.used], [2_000_000, 4_000_000]);
  }
  assertEquals(large.used, 0);
});
