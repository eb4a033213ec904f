import { assertEquals } from "@std/assert";
import { severityOf } from "./severity.ts";

Deno.test("severityOf() knows every word of the table in any case", () => {
  const table = {
    CRITICAL: "critical fatal emergency alert",
    HIGH: "high error danger important",
    MEDIUM: "medium moderate warning warn",
    LOW: "low info informational notice negligible debug none",
    UNKNOWN: "unknown severe constructor __proto__ 7",
  };
  for (const [severity, words] of Object.entries(table)) {
    for (const word of words.split(" ")) {
      for (const form of [word, word.toUpperCase(), ` ${word[0]?.toUpperCase()}${word.slice(1)} `]) {
        assertEquals(severityOf(form), severity, form);
      }
    }
  }
  for (const none of [null, undefined, ""]) assertEquals(severityOf(none), "UNKNOWN");
});

Deno.test("severityOf() puts a source's own table above the general one", () => {
  assertEquals(severityOf("Error", { error: "LOW" }), "LOW");
  assertEquals(severityOf("high", { error: "LOW" }), "HIGH");
  assertEquals(severityOf("toString", {}), "UNKNOWN");
});
