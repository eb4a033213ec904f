/** Streams of pushed events: how many acts there are in them, whatever was repeated or sent again. */
import { assertEquals } from "@std/assert";
import type { NormalEvent } from "../src/model/event.ts";
import type { Json, JsonObject } from "../src/model/json.ts";
import { audit } from "../src/sources/audit/mod.ts";
import { falco } from "../src/sources/falco/mod.ts";
import type { Source } from "../src/sources/source.ts";
import { loadDocuments, pushedPayload } from "./support/load_fixture.ts";
import { runtimeFor } from "./support/source_runtime.ts";

/** The events of each body, as they are compared. */
function eventsOf(source: Source, bodies: readonly Json[]): NormalEvent[] {
  const runtime = runtimeFor(source);
  return bodies.flatMap((body) => {
    const payload = pushedPayload(body);
    return [...runtime.draw(payload)].map((drawn) => {
      if ("error" in drawn) throw new Error(`${drawn.error.path}: ${drawn.error.message}`);
      return runtime.normalize(drawn.event, payload);
    });
  });
}

const distinct = (events: readonly NormalEvent[]) =>
  new Set(events.map(({ fingerprint }) => fingerprint)).size;

Deno.test("falco distinguishes the acts of a stream by rule, pod, container and node", async () => {
  const bodies = await loadDocuments("sources/falco/stream-500.ndjson.gz");
  const acts = new Set(bodies.map((body) => {
    const { rule, hostname, output_fields } = body as {
      rule: string;
      hostname: string;
      output_fields: JsonObject;
    };
    const place = ["k8s.ns.name", "k8s.pod.name", "container.id"].map((key) => output_fields[key] ?? null);
    return JSON.stringify([rule, hostname, place]);
  }));
  const events = eventsOf(falco, bodies);
  assertEquals(events.length, 500);
  assertEquals(acts.size, 154);
  assertEquals(distinct(events), acts.size);
});

/** `acts` acts, each repeated `repeats` times with all that varies between repeats. */
function generated(acts: number, repeats: number): JsonObject[] {
  const bodies: JsonObject[] = [];
  for (let index = 0; index < acts * repeats; index++) {
    const act = index % acts;
    const at = `2026-11-01T00:00:${String(index % 60).padStart(2, "0")}.000000001Z`;
    const onHost = act % 5 === 0;
    bodies.push({
      rule: `Rule ${act % 7}`,
      priority: ["Warning", "Notice", "Critical"][act % 3] ?? "",
      source: "syscall",
      hostname: `node-${act % 4}`,
      time: at,
      output: `${at}: Warning seen by pid ${index}`,
      output_fields: {
        "evt.time": 1_793_491_201_686_701_548 + index,
        "evt.num": index,
        "proc.pid": index,
        "proc.ppid": index + 1,
        "proc.apid[1]": index + 2,
        "container.start_ts": index,
        "proc.cmdline": `cat /etc/secret-${act}`,
        "fd.name": `10.0.0.1:${40_000 + index}->10.0.0.2:443`,
        "k8s.ns.name": onHost ? null : "shop",
        ...(onHost ? {} : { "k8s.pod.name": `web-${act}` }),
      },
    });
  }
  return bodies;
}

Deno.test("falco takes every repeat of a generated stream for the act it repeats", () => {
  const events = eventsOf(falco, generated(210, 6));
  assertEquals(events.length, 1_260);
  assertEquals(distinct(events), 210);
});

Deno.test("audit draws each decisive request once, however its stages are spread and batches sent again", () => {
  const item = (id: number, stage: string): JsonObject => ({
    auditID: `id-${id}`,
    stage,
    verb: id % 3 === 0 ? "get" : "delete",
    user: { username: "jane" },
    objectRef: {
      resource: "pods",
      namespace: "shop",
      name: `p-${id}`,
      ...(id % 3 === 0 ? { subresource: "exec" } : {}),
    },
    ...(stage === "RequestReceived" ? {} : { responseStatus: { code: id % 3 === 0 ? 101 : 200 } }),
  });
  const stages = ["RequestReceived", "ResponseStarted", "ResponseComplete"];
  const all = stages.flatMap((stage) => Array.from({ length: 90 }, (_, id) => item(id, stage)));
  const batches: Json[] = [];
  for (let start = 0; start < all.length; start += 40) {
    batches.push({ kind: "EventList", apiVersion: "audit.k8s.io/v1", items: all.slice(start, start + 40) });
  }
  const events = eventsOf(audit, [...batches, ...batches.slice(2, 5)]);
  assertEquals(distinct(events), 90);
  assertEquals(new Set(events.map(({ eventType }) => eventType)), new Set(["pod-exec", "resource-deletion"]));
  assertEquals(events.every(({ windowMs, countRepeats }) => windowMs === Infinity && !countRepeats), true);
});
