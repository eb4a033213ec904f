import { assertEquals } from "@std/assert";
import { createBooks, createMetrics } from "../src/telemetry/metrics.ts";
import { normalEvent } from "./support/normal_event.ts";

Deno.test("createBooks() counts beyond 100 sources as other, but the built-in ones always by name", () => {
  const books = createBooks(createMetrics(), { now: () => 0 }, { known: ["falco"] });
  for (let i = 0; i < 150; i++) {
    books.open(normalEvent({ source: `tool-${i}` }), "").settle({ kind: "created" });
  }
  books.open(normalEvent({ source: "falco" }), "").settle({ kind: "deduped" });
  const accounts = books.accounts();
  assertEquals(Object.keys(accounts).length, 101);
  assertEquals([accounts["other"]?.created, accounts["falco"]?.deduped], [51, 1]);
});

Deno.test("createBooks() tells when the last event of a source got its outcome, and how long it took", () => {
  let now = 5_000;
  const books = createBooks(createMetrics(), { now: () => now });
  const ticket = books.open(normalEvent({ source: "falco", receivedAt: 4_000 }), "");
  assertEquals(books.lastEvent("falco"), undefined);
  now = 7_500;
  ticket.settle({ kind: "created" });
  assertEquals(books.lastEvent("falco"), { atMs: 7_500, lagMs: 3_500 });
});

Deno.test("createBooks() counts an event as one of its own source, whose reports ever carried it", () => {
  const books = createBooks(createMetrics(), { now: () => 0 });
  books.open(normalEvent({ source: "kubewarden" }), "").settle({ kind: "created" });
  assertEquals(Object.keys(books.accounts()), ["kubewarden"]);
});
