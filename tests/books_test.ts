import { assertEquals } from "@std/assert";
import { createBooks, createMetrics } from "../src/telemetry/metrics.ts";
import { normalEvent } from "./support/normal_event.ts";

Deno.test("createBooks() counts beyond 100 sources as other, but the built-in ones always by name", () => {
  const books = createBooks(createMetrics(), { now: () => 0 }, { known: ["falco"] });
  for (let i = 0; i < 150; i++) {
    books.open(normalEvent(), { source: `tool-${i}`, correlationId: "" }).settle({ kind: "created" });
  }
  books.open(normalEvent(), { source: "falco", correlationId: "" }).settle({ kind: "deduped" });
  const accounts = books.accounts();
  assertEquals(Object.keys(accounts).length, 101);
  assertEquals([accounts["other"]?.created, accounts["falco"]?.deduped], [51, 1]);
});
