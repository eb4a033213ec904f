/** What the API server stores and gives back has the content hash of the event it was made of. */
import { assertEquals } from "@std/assert";
import type { DrawnEvent } from "../../src/model/event.ts";
import type { JsonObject } from "../../src/model/json.ts";
import type { Observation } from "../../src/model/observation.ts";
import {
  contentHashOf,
  normalize,
  type NormalizeOptions,
  toObservation,
} from "../../src/pipeline/normalize.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { EVENT_SETTINGS } from "../support/source_runtime.ts";

const CRD = new URL("../../crds/observation.yaml", import.meta.url);
const cluster = await sharedEnvtest();
await cluster.applyCrds([CRD]);

const OPTIONS: NormalizeOptions = {
  source: { name: "trivy", kind: "finding", volatileDetails: ["score"] },
  feed: { type: "watch" },
  settings: EVENT_SETTINGS,
};

/** Values that a server in Go may read or print otherwise than JavaScript. */
const DETAILS: Readonly<Record<string, JsonObject>> = {
  numbers: {
    list: [0, -0, 1.0, 1e21, 1e300, 5e-324, 0.1, 123456789012345680000, 9007199254740993, -1.5, 1e15],
    nested: { big: 2 ** 63, small: -(2 ** 63) },
  },
  texts: { html: "<b>&amp;</b>", script: "漢字 é 😀", quote: '"\\/', replaced: "\ud800", line: "a\u2028b" },
  shapes: { empty: {}, none: [], null: null, list: [null, [[]], { a: {} }], yes: true, constructor: "x" },
  cut: { output: "é".repeat(20_000), score: 9.8 },
};

Deno.test("content hashes survive being stored", async () => {
  const namespace = await cluster.createNamespace("hash");
  for (const [name, details] of Object.entries(DETAILS)) {
    const drawn: DrawnEvent = {
      category: "security",
      severity: "HIGH",
      eventType: "vulnerability",
      message: `About ${name}`,
      rules: [],
      resource: { kind: "Pod", name: "web", namespace },
      details,
      identity: { name },
    };
    const payload = { origin: { namespace, confined: true }, receivedAt: Date.UTC(2026, 0, 2) };
    const event = normalize(drawn, payload, OPTIONS);
    const object = toObservation(event, 0, { instance: "default", eventId: "e" });
    const path = `/apis/zen.kube-zen.io/v1/namespaces/${namespace}/observations`;
    await cluster.expect("POST", path, { body: JSON.parse(JSON.stringify(object)) });
    const { body } = await cluster.expect("GET", `${path}/${object.metadata.name}`);
    const stored: Observation = JSON.parse(JSON.stringify(body));
    assertEquals(stored.spec, JSON.parse(JSON.stringify(object.spec)), name);
    assertEquals(contentHashOf(stored, ["score"]), event.contentHash, name);
  }
});
