import { assert, assertEquals } from "@std/assert";
import { ApiError, type KubeObject, type PatchOptions, type ResourceType } from "../kube/api.ts";
import { createConditions, readyOf } from "../kube/conditions.ts";
import { isObject, type Json } from "../model/json.ts";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import { createExceptions } from "./live.ts";
import { OBSERVATION_EXCEPTIONS } from "./kind.ts";

const { plural } = OBSERVATION_EXCEPTIONS;
const EXPIRES_AT = "2026-03-01T00:00:00.000Z";

/** Refuses status writes in one namespace, as its admission policy would. */
class RefusingApi extends ScriptedApi {
  refusing = "";

  override patch<T extends KubeObject>(
    type: ResourceType,
    name: string,
    patch: Json,
    options: PatchOptions,
  ): Promise<T> {
    if (options.namespace !== this.refusing) return super.patch<T>(type, name, patch, options);
    return Promise.reject(new ApiError(`patch "${name}"`, 403, { reason: "Forbidden" }));
  }
}

class World {
  readonly time = new VirtualTime();
  readonly api = new RefusingApi();
  readonly #end = new AbortController();
  readonly #running: Promise<unknown>[] = [];

  constructor() {
    this.write("zen-system", "held");
  }

  write(namespace: string, name: string): void {
    this.api.put(plural, {
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: OBSERVATION_EXCEPTIONS.kind,
      metadata: { namespace, name, generation: 1, creationTimestamp: "2026-01-01T00:00:00Z" },
      spec: {
        match: { rules: ["CVE-1"] },
        reason: "mitigated",
        justification: "x",
        expiresAt: EXPIRES_AT,
      },
    });
  }

  /** The leader of a shard that covers these namespaces ("": what has none, "*": all), and how many of its findings are accepted. */
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
      covers: (namespace) => covered.includes(namespace) || covered.includes("*"),
      watchTuning: { sleep: time.sleep },
    });
    const findings = {
      judgeAgain() {},
      acceptedCounts: () => new Map([[`zen-system/held ${EXPIRES_AT}`, matched()]]),
    };
    const { signal } = this.#end;
    this.#running.push(conditions.run(signal), exceptions.run(signal, { findings }));
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

for (
  const [what, count, refusing] of [
    ["refuses their statuses", 600, "evil"],
    ["has thousands of them", 3_000, ""],
  ] as const
) {
  Deno.test(`exceptions of a namespace that ${what} do not keep others from their statuses`, async () => {
    await using world = new World();
    for (let number = 0; number < count; number++) world.write("evil", `e-${number}`);
    world.write("shop", "late");
    world.api.refusing = refusing;
    world.shard(["*"], () => 0);
    await world.time.advance(60_000);
    const late = await world.api.get(OBSERVATION_EXCEPTIONS, "late", { namespace: "shop" });
    assertEquals(readyOf(late)?.reason, "InForce");
    assertEquals((await world.status()).ready, "InForce");
  });
}
