import { assertEquals, assertRejects } from "@std/assert";
import { NetworkError } from "./api.ts";
import { readLines, readText } from "./body.ts";

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

Deno.test("readLines() keeps characters whole whose bytes come in two chunks", async () => {
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
