import { assert, assertEquals } from "@std/assert";
import { createConditions, readyOf } from "../kube/conditions.ts";
import { BUILT_IN } from "../sources/registry.ts";
import type { SourceState } from "../sources/status.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import { INGESTERS } from "./kinds.ts";
// MappedSources imports it with the first object; loaded here, so that virtual time need not wait for it.
import "./plan.ts";
import { MappedSources } from "./runtime.ts";

const MINUTE_MS = 60_000;

class World {
  readonly time = new VirtualTime();
  readonly api = new ScriptedApi();
  readonly #end = new AbortController();
  readonly #running: Promise<unknown>[] = [];

  constructor() {
    this.api.put(INGESTERS.plural, {
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: INGESTERS.kind,
      metadata: {
        namespace: "zen-system",
        name: "scans",
        generation: 1,
        creationTimestamp: "2026-01-01T00:00:00Z",
      },
      spec: {
        source: "scanner",
        type: "configmap",
        configmap: { namespace: "zen-system", labelSelector: "app=scanner", key: "result.json" },
        mapping: { message: ".message", eventType: "scan", severity: "HIGH" },
      },
    });
  }

  /** The leader of a shard, its own namespace and how the feed is doing there. */
  shard(ownNamespace: string, stateOf: () => SourceState): void {
    const { api, time } = this;
    const common = { api, clock: time, sleep: time.sleep };
    const conditions = createConditions({ ...common, isLeader: () => true });
    const mapped = new MappedSources({
      ...common,
      conditions,
      discovery: {
        served: () => ({ state: "pending" }),
        subscribe: () => ({ [Symbol.dispose]() {} }),
        refresh() {},
        want() {},
      },
      builtins: BUILT_IN,
      trust: { ownNamespace, trustedNamespaces: [], configMapNamespaces: ["kube-bench"], reportEngines: [] },
      stateOf,
      metrics: createMetrics(),
      watchTuning: { sleep: time.sleep },
    });
    const { signal } = this.#end;
    this.#running.push(conditions.run(signal), mapped.run(signal));
  }

  async reason(): Promise<unknown> {
    return readyOf(await this.api.get(INGESTERS, "scans", { namespace: "zen-system" }))?.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.time.advance(0);
    await Promise.all(this.#running);
  }
}

Deno.test("a feed that fails in one of two shards shows in the Ingester's condition, which the shards do not write in turns", async () => {
  await using world = new World();
  let state: SourceState = "forbidden";
  world.shard("zen-system", () => "synced");
  world.shard("zen-system", () => state);
  await world.time.advance(MINUTE_MS);
  assertEquals(await world.reason(), "Forbidden");
  const written = world.api.patches.length;
  assert(written <= 4, `${written} writes in a minute`);
  await world.time.advance(60 * MINUTE_MS);
  assertEquals(await world.reason(), "Forbidden");
  assert(world.api.patches.length <= written + 14, `${world.api.patches.length} writes in an hour`);
  state = "synced";
  await world.time.advance(10_000);
  assertEquals(await world.reason(), "InForce");
});

Deno.test("the shard that obeys an Ingester's namespace says how it is, whatever other shards say", async () => {
  await using world = new World();
  world.shard("zen-payments", () => "standby");
  world.shard("zen-system", () => "synced");
  await world.time.advance(MINUTE_MS);
  assertEquals(await world.reason(), "InForce");
  await world.time.advance(60 * MINUTE_MS);
  assertEquals(await world.reason(), "InForce");
  assert(world.api.patches.length <= 18, `${world.api.patches.length} writes in an hour`);
});

Deno.test("a condition follows the state of its feed at once where one shard writes it", async () => {
  await using world = new World();
  let state: SourceState = "synced";
  world.shard("zen-system", () => state);
  for (
    const [next, reason] of [["synced", "InForce"], ["forbidden", "Forbidden"], [
      "synced",
      "InForce",
    ]] as const
  ) {
    state = next;
    await world.time.advance(5_000);
    assertEquals(await world.reason(), reason);
  }
});
