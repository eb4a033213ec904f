import { assertEquals } from "@std/assert";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import { isObject, type JsonObject } from "../model/json.ts";
import type { KubeObject, ResourceType } from "./api.ts";
import { type Conditions, createConditions, type ReadyCondition } from "./conditions.ts";

const THINGS: ResourceType = {
  group: "zen.kube-zen.io",
  version: "v1alpha1",
  plural: "things",
  kind: "Thing",
  namespaced: true,
};
const LOADED: ReadyCondition = {
  status: "True",
  reason: "Loaded",
  message: "In force",
  observedGeneration: 1,
};
const INVALID: ReadyCondition = {
  ...LOADED,
  status: "False",
  reason: "Invalid",
  message: "at spec.a: expected b",
};

interface World {
  readonly time: VirtualTime;
  readonly api: ScriptedApi;
  readonly conditions: Conditions;
  lead(leads: boolean): void;
  put(fields?: { generation?: number; status?: JsonObject; name?: string }): KubeObject;
  /** The stored conditions. */
  stored(): Promise<unknown>;
}

async function play(test: (world: World) => Promise<void>): Promise<void> {
  const time = new VirtualTime();
  const api = new ScriptedApi();
  let leads = true;
  const conditions = createConditions({ api, clock: time, sleep: time.sleep, isLeader: () => leads });
  const stop = new AbortController();
  const running = conditions.run(stop.signal);
  try {
    await test({
      time,
      api,
      conditions,
      lead: (now) => leads = now,
      put: ({ generation = 1, status, name = "a" } = {}) =>
        api.put("things", {
          metadata: { name, namespace: "zen-system", generation },
          ...(status === undefined ? {} : { status }),
        }),
      async stored() {
        const { status } = await api.get<KubeObject>(THINGS, "a", { namespace: "zen-system" });
        return isObject(status) ? status.conditions : undefined;
      },
    });
  } finally {
    stop.abort();
    await running;
  }
}

const ready = (condition: ReadyCondition, lastTransitionTime: string) => ({
  type: "Ready",
  ...condition,
  lastTransitionTime,
});

Deno.test("set() writes the condition, and changes lastTransitionTime only with the status", async () => {
  await play(async ({ time, api, conditions, put, stored }) => {
    conditions.set(THINGS, put({ generation: 2 }), LOADED);
    await time.advance(60_000);
    assertEquals(await stored(), [ready(LOADED, "2026-01-01T00:00:00Z")]);
    const second = { ...LOADED, observedGeneration: 2 };
    conditions.set(THINGS, await api.get(THINGS, "a", { namespace: "zen-system" }), second);
    await time.advance(60_000);
    assertEquals(await stored(), [ready(second, "2026-01-01T00:00:00Z")]);
    conditions.set(THINGS, await api.get(THINGS, "a", { namespace: "zen-system" }), INVALID);
    await time.advance(60_000);
    assertEquals(await stored(), [ready(second, "2026-01-01T00:00:00Z")], "an older generation's verdict");
    const turned = { ...INVALID, observedGeneration: 2 };
    conditions.set(THINGS, await api.get(THINGS, "a", { namespace: "zen-system" }), turned);
    await time.advance(60_000);
    assertEquals(await stored(), [ready(turned, "2026-01-01T00:03:00Z")]);
  });
});

Deno.test("set() leaves the other conditions and fields of a status as they are", async () => {
  await play(async ({ time, api, conditions, put, stored }) => {
    const other = { type: "Seen", status: "True", reason: "Seen", message: "by others" };
    conditions.set(THINGS, put({ status: { eventsTotal: 3, conditions: [other] } }), LOADED);
    await time.advance(1_000);
    assertEquals(await stored(), [other, ready(LOADED, "2026-01-01T00:00:00Z")]);
    const { status } = await api.get<KubeObject>(THINGS, "a", { namespace: "zen-system" });
    assertEquals(isObject(status) && status.eventsTotal, 3);
  });
});

Deno.test("set() writes nothing if the object has the condition already, on a follower, or after losing the lease", async () => {
  await play(async ({ time, api, conditions, lead, put }) => {
    const said = put({ generation: 1, status: { conditions: [ready(LOADED, "2026-01-01T00:00:00Z")] } });
    conditions.set(THINGS, said, LOADED);
    lead(false);
    conditions.set(THINGS, said, INVALID);
    await time.advance(10_000);
    lead(true);
    conditions.set(THINGS, said, INVALID);
    lead(false);
    await time.advance(10_000);
    assertEquals(api.patches, []);
  });
});

Deno.test("set() writes an object at most once a second, with the last condition set", async () => {
  await play(async ({ time, api, conditions, put, stored }) => {
    const object = put();
    for (let turn = 0; turn < 100; turn++) {
      const condition = turn % 2 === 0 ? LOADED : INVALID;
      conditions.set(THINGS, object, { ...condition, message: `decision ${turn}` });
      await time.advance(50);
    }
    assertEquals(api.patches.length >= 4 && api.patches.length <= 6, true, `${api.patches.length} in 5 s`);
    await time.advance(1_500);
    const [last] = await stored() as JsonObject[];
    assertEquals(last?.message, "decision 99");
  });
});

Deno.test("set() writes a new decision at once, also where the last one was refused", async () => {
  await play(async ({ time, api, conditions, put, stored }) => {
    const object = put();
    api.deny("things", 403);
    conditions.set(THINGS, object, LOADED);
    await time.advance(600_000);
    api.deny("things", 0);
    conditions.set(THINGS, object, INVALID);
    await time.advance(200);
    assertEquals(await stored(), [ready(INVALID, "2026-01-01T00:10:00Z")]);
  });
});

Deno.test("set() retries a refused condition, and forget() ends that", async () => {
  await play(async ({ time, api, conditions, put, stored }) => {
    const [object, gone] = [put(), put({ name: "gone" })];
    api.deny("things", 403);
    conditions.set(THINGS, object, LOADED);
    conditions.set(THINGS, gone, LOADED);
    await time.advance(300_000);
    conditions.forget(THINGS, gone);
    api.deny("things", 0);
    await time.advance(120_000);
    assertEquals(api.patches.map(({ name }) => name), ["a"]);
    assertEquals(await stored() !== undefined, true);
    await settled();
  });
});

Deno.test("set() drops a waiting condition also where the decision that replaces it is contested", () =>
  play(async ({ time, conditions, put, stored }) => {
    const object = put();
    conditions.set(THINGS, object, LOADED);
    await time.advance(300);
    const theirs = { ...ready(INVALID, "2026-01-01T00:00:00Z"), message: "another shard refuses it" };
    const contested = put({ status: { conditions: [theirs] } });
    conditions.set(THINGS, contested, INVALID);
    conditions.set(THINGS, contested, LOADED);
    await time.advance(5_000);
    assertEquals(await stored(), [theirs]);
  }));

Deno.test("set() does not contest what another replica of the shard wrote while it led", () =>
  play(async ({ time, conditions, put, lead, stored }) => {
    conditions.set(THINGS, put(), LOADED);
    await time.advance(300);
    lead(false);
    const object = put({ status: { conditions: [ready(INVALID, "2026-01-01T00:00:00Z")] } });
    conditions.set(THINGS, object, INVALID);
    lead(true);
    conditions.set(THINGS, object, LOADED);
    await time.advance(5_000);
    const [last] = await stored() as JsonObject[];
    assertEquals(last?.reason, "Loaded");
  }));

Deno.test("set() does not take a condition for replaced that was never written", () =>
  play(async ({ time, api, conditions, put, stored }) => {
    const older = { ...ready(INVALID, "2026-01-01T00:00:00Z"), observedGeneration: 1 };
    const object = put({ generation: 2, status: { conditions: [older] } });
    const loaded = { ...LOADED, observedGeneration: 2 };
    api.deny("things", 403);
    conditions.set(THINGS, object, loaded, { matched: 1 });
    await time.advance(60_000);
    api.deny("things", 0);
    conditions.set(THINGS, object, loaded, { matched: 2 });
    await time.advance(1_000);
    assertEquals(await stored(), [ready(loaded, "2026-01-01T00:01:00Z")]);
  }));
