import { assertEquals, assertThrows } from "@std/assert";
import { readSettings } from "../../settings.ts";
import { CommandError } from "../io.ts";
import { chooseSource } from "./chosen_source.ts";

Deno.test("chooseSource() names a cluster's Ingester that has a mistake as the controller's log does", () => {
  const ingester = (spec: Record<string, unknown>) => ({
    kind: "Ingester",
    metadata: { name: "door", namespace: "shop" },
    spec: { source: "another", type: "webhook", webhook: { path: "/ingest/another" }, ...spec },
  });
  const errors = [{}, { enabled: "yes" }].map((spec) =>
    assertThrows(
      () =>
        chooseSource("another", {
          named: [],
          live: [ingester(spec)],
          settings: readSettings(() => undefined),
        }),
      CommandError,
    ).message.split(": ")[0]
  );
  assertEquals(errors, ['Cannot load ingester "shop/door"', 'Cannot load ingester "shop/door"']);
});
