import { cached, inClusterConnection, NetworkError, readLines, readText, resourcePath } from "./api.ts";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";

function chunks(...parts: (string | Uint8Array)[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  return ReadableStream.from(
    parts.map((part) => typeof part === "string" ? encoder.encode(part) : new Uint8Array(part)),
  );
}

Deno.test("readLines() joins lines over chunks, splits chunks into lines and yields an unfinished last line", async () => {
  const lines = await Array.fromAsync(readLines(chunks("a", "b\nc\n\n", "d\r\ne", "f"), 100));
  assertEquals(lines, ["ab", "c", "d\r", "ef"]);
});

Deno.test("readLines() decodes a character whose bytes are in two chunks", async () => {
  const bytes = new TextEncoder().encode("é€\n😀");
  for (let cut = 1; cut < bytes.length; cut++) {
    const lines = await Array.fromAsync(readLines(chunks(bytes.slice(0, cut), bytes.slice(cut)), 100));
    assertEquals(lines, ["é€", "😀"]);
  }
});

Deno.test("readLines() refuses a line over its bound, finished or not", async () => {
  for (
    const body of [
      chunks("ok\n", "x".repeat(11), "\n"),
      chunks("x".repeat(6), "x".repeat(6)),
      chunks("xxxxxxxxxxx\n"),
    ]
  ) {
    const error = await assertRejects(
      () => Array.fromAsync(readLines(body, 10)),
      NetworkError,
      "over 10 bytes",
    );
    assertEquals(error.fault, "too_large");
  }
});

Deno.test("readText() refuses a body over its bound whether or not its length is announced", async () => {
  const announced = new Response(chunks("0123456789"), { headers: { "content-length": "10" } });
  const silent = new Response(chunks("01234", "56789"));
  assertEquals(await readText(new Response(chunks("01234", "56789")), 10), "0123456789");
  for (const response of [announced, silent]) {
    const error = await assertRejects(() => readText(response, 9), NetworkError, "over 9 bytes");
    assertEquals(error.fault, "too_large");
  }
});

Deno.test("readText() of no body is empty", async () => {
  assertEquals(await readText(new Response(null, { status: 204 }), 10), "");
});

/** A stream that reads into the buffer it is given, at most `most` bytes at a time, as the runtime's own do. */
function byteStream(text: string, most: number) {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  const asked: number[] = [];
  let cancelled = false;
  const body = new ReadableStream({
    type: "bytes",
    pull(controller) {
      const request = controller.byobRequest;
      const view = request?.view;
      if (!request || !view) throw new Error("read without a buffer");
      asked.push(view.byteLength);
      const part = bytes.subarray(at, at + Math.min(most, view.byteLength));
      at += part.length;
      if (part.length === 0) controller.close();
      else new Uint8Array(view.buffer, view.byteOffset).set(part);
      request.respond(part.length);
    },
    cancel: () => void (cancelled = true),
  });
  return { body, asked, cancelled: () => cancelled };
}

Deno.test("readText() and readLines() read a byte stream into one buffer, which grows while it is filled", async () => {
  const text = Array.from({ length: 4_000 }, (_, index) => `line ${index} é`).join("\n");
  const trickle = byteStream(text, 100);
  assertEquals(await readText(new Response(trickle.body), 1_000_000), text);
  assertEquals(new Set(trickle.asked), new Set([8_192]));
  const flood = byteStream(text, Infinity);
  assertEquals(await Array.fromAsync(readLines(flood.body, 100)), text.split("\n"));
  assertEquals(flood.asked.slice(0, 3), [8_192, 16_384, 32_768]);
});

Deno.test("readLines() cancels a byte stream that is left", async () => {
  const { body, cancelled } = byteStream("a\nb\nc\n", 2);
  for await (const line of readLines(body, 100)) if (line === "b") break;
  assertEquals(cancelled(), true);
});

/** A service account's files, and how often each was read. */
function files(contents: Record<string, string>) {
  const reads: Record<string, number> = {};
  const readFile = (path: string): Promise<string> => {
    reads[path] = (reads[path] ?? 0) + 1;
    const text = contents[path];
    return text === undefined
      ? Promise.reject(new Deno.errors.NotFound("no such file"))
      : Promise.resolve(text);
  };
  return { contents, reads, readFile };
}

function ticking(now = 0) {
  return { now: () => now, monotonic: () => now, tick: (ms: number) => void (now += ms) };
}

const MOUNT = { "/sa/token": "one\n", "/sa/ca.crt": "CA", "/sa/namespace": "zen-system\n" };

Deno.test("inClusterConnection() reads token, CA and namespace, and brackets an IPv6 address", async () => {
  const { readFile } = files({ ...MOUNT });
  const connection = await inClusterConnection({ host: "fd00::1", port: "443", folder: "/sa", readFile });
  assertEquals(connection.namespace, "zen-system");
  assertEquals(await connection.endpoint(), {
    server: "https://[fd00::1]:443",
    authorization: "Bearer one",
    caPem: "CA",
  });
});

Deno.test("inClusterConnection() reads the token again after a minute, and at once when it was refused", async () => {
  const { contents, reads, readFile } = files({ ...MOUNT });
  const clock = ticking();
  const connection = await inClusterConnection({
    host: "10.0.0.1",
    port: "443",
    folder: "/sa",
    readFile,
    clock,
  });
  const token = async (fresh = false) => (await connection.endpoint({ fresh })).authorization;
  contents["/sa/token"] = "two";
  clock.tick(59_000);
  assertEquals([await token(), await token(true), await token()], ["Bearer one", "Bearer two", "Bearer two"]);
  contents["/sa/token"] = "three";
  clock.tick(500);
  assertEquals(await token(true), "Bearer two", "a burst of 401 is one read");
  clock.tick(60_000);
  assertEquals(await token(), "Bearer three");
  assertEquals(reads["/sa/token"], 3);
});

Deno.test("inClusterConnection() says which file is missing or empty", async () => {
  const options = { host: "10.0.0.1", port: "443", folder: "/sa" };
  const none = files({});
  await assertRejects(
    () => inClusterConnection({ ...options, readFile: none.readFile }),
    Error,
    'Cannot read "/sa/token": no such file',
  );
  const empty = files({ ...MOUNT, "/sa/token": " \n" });
  await assertRejects(
    () => inClusterConnection({ ...options, readFile: empty.readFile }),
    Error,
    "it is empty",
  );
});

Deno.test("cached() keeps the last value when a routine read fails, and rejects when a fresh one does", async () => {
  const clock = ticking();
  let fails = false;
  const get = cached({
    clock,
    maxAgeMs: 10,
    freshAgeMs: 1,
    read: () => fails ? Promise.reject(new Error("half written")) : Promise.resolve("value"),
  });
  assertEquals(await get(), "value");
  fails = true;
  clock.tick(20);
  assertEquals(await get(), "value");
  await assertRejects(() => get({ fresh: true }), Error, "half written");
});

Deno.test("cached() reads once for concurrent calls", async () => {
  let reads = 0;
  const read = () => Promise.resolve(++reads);
  const get = cached({ clock: ticking(), maxAgeMs: 10, freshAgeMs: 1, read });
  assertEquals(await Promise.all([get(), get({ fresh: true }), get()]), [1, 1, 1]);
});

Deno.test("resourcePath() escapes each word, and refuses those that a URL would leave out", () => {
  const type = { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true };
  assertEquals(resourcePath(type, { namespace: "a/b", name: "..c" }), "/api/v1/namespaces/a%2Fb/pods/..c");
  for (const at of [{ namespace: ".." }, { name: ".." }, { name: "." }, { name: "a", subresource: ".." }]) {
    assertThrows(() => resourcePath(type, at), Error, "nothing has this name");
  }
});
