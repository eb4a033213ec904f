import { assert, assertEquals } from "@std/assert";
import { createConditions, readyOf } from "../kube/conditions.ts";
import { isObject } from "../model/json.ts";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import { createExceptions } from "./live.ts";
import { OBSERVATION_EXCEPTIONS } from "./kind.ts";

const { plural } = OBSERVATION_EXCEPTIONS;
const EXPIRES_AT = "2026-03-01T00:00:00.000Z";

class World {
  readonly time = new VirtualTime();
  readonly api = new ScriptedApi();
  readonly #end = new AbortController();
  readonly #running: Promise<unknown>[] = [];

  constructor() {
    this.api.put(plural, {
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: OBSERVATION_EXCEPTIONS.kind,
      metadata: {
        namespace: "zen-system",
        name: "held",
        generation: 1,
        creationTimestamp: "2026-01-01T00:00:00Z",
      },
      spec: {
        match: { rules: ["CVE-1"] },
        reason: "mitigated",
        justification: "x",
        expiresAt: EXPIRES_AT,
      },
    });
  }

  /** The leader of a shard that covers these namespaces ("": what has none), and how many of its findings are accepted. */
  shard(covered: readonly string[], matched: () => number): void {
    const { api, time } = this;
    const common = { api, clock: time, sleep: time.sleep, isLeader: () => true };
    const conditions = createConditions(common);
    const exceptions = createExceptions({
      ...common,
      conditions,
      now: () => time.now(),
      ownNamespace: "zen-system",
      maxDays: 365,
      covers: (namespace) => covered.includes(namespace),
      onChange() {},
      acceptedCounts: () => new Map([[`zen-system/held ${EXPIRES_AT}`, matched()]]),
      watchTuning: { sleep: time.sleep },
    });
    const { signal } = this.#end;
    this.#running.push(conditions.run(signal), exceptions.run(signal));
  }

  async status() {
    const object = await this.api.get(OBSERVATION_EXCEPTIONS, "held", { namespace: "zen-system" });
    const { matched, matchedParts } = isObject(object.status) ? object.status : {};
    return { ready: readyOf(object)?.reason, matched, parts: matchedParts ?? undefined };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.time.advance(0);
    await Promise.all(this.#running);
  }
}

Deno.test("two shards that cover an exception's findings add up what they count, and then write no more", async () => {
  await using world = new World();
  let nodes = 2;
  world.shard(["zen-system", "shop"], () => 3);
  world.shard(["other", ""], () => nodes);
  await world.time.advance(30_000);
  assertEquals(await world.status(), {
    ready: "InForce",
    matched: 5,
    parts: { namespaced: 3, clusterScoped: 2 },
  });
  const written = world.api.patches.length;
  assert(written <= 4, `${written} writes`);
  await world.time.advance(60_000);
  assertEquals(world.api.patches.length, written);
  nodes = 0;
  await world.time.advance(10_000);
  assertEquals((await world.status()).matched, 3);
  assert(world.api.patches.length <= written + 2);
});

Deno.test("a shard that covers all findings of an exception counts them alone", async () => {
  await using world = new World();
  world.shard(["zen-system", ""], () => 3);
  world.shard(["shop"], () => 0);
  await world.time.advance(30_000);
  assertEquals(await world.status(), { ready: "InForce", matched: 3, parts: undefined });
  const written = world.api.patches.length;
  await world.time.advance(60_000);
  assertEquals(world.api.patches.length, written);
});
