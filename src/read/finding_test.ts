import { assertEquals } from "@std/assert";
import type { JsonObject } from "../model/json.ts";
import { toFinding } from "./finding.ts";

/** The link of an Observation with these details. */
function linkOf(details: JsonObject): string {
  const observation = {
    metadata: { name: "x", namespace: "shop" },
    spec: { source: "falco", category: "security", severity: "HIGH", eventType: "runtime-threat", details },
  } as const;
  return toFinding(observation, { now: 0, exceptions: new Map() }).link;
}

Deno.test("toFinding() takes as link only a text that is an https address as a whole", () => {
  // Details of Falco hold the fields of users' rules under any name.
  const others = [
    "https://example.org [more](javascript:alert(1))",
    "https://",
    `https://${"a".repeat(3_000)}`,
    "javascript:alert(1)",
    "data:text/html,<script>",
    "http://example.org",
  ];
  for (const primaryLink of others) {
    assertEquals([primaryLink, linkOf({ primaryLink })], [primaryLink, ""]);
    assertEquals(linkOf({ primaryLink, url: "https://example.org/a" }), "https://example.org/a");
  }
});
