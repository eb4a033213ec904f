import { assertEquals, assertRejects } from "@std/assert";
import { NetworkError, readLines, readText } from "./api.ts";

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
