import { assertEquals } from "@std/assert";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { eventually } from "../../tests/support/eventually.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import type { KubeObject } from "../kube/api.ts";
import type { Conditions } from "../kube/conditions.ts";
import { NO_BEAT } from "../model/beat.ts";
import { sayTenantsOff } from "./tenants_off.ts";

/** Conditions that are written when the test says so. */
class Held implements Pick<Conditions, "set" | "forget" | "waiting"> {
  readonly #waiting = new Set<string>();
  readonly said = new Map<string, string>();

  set(_type: unknown, { metadata }: KubeObject, { reason }: { readonly reason: string }): void {
    this.#waiting.add(metadata.name ?? "");
    this.said.set(`${metadata.namespace}/${metadata.name}`, reason);
  }

  forget(): void {}

  get waiting(): number {
    return this.#waiting.size;
  }

  write(): void {
    this.#waiting.clear();
  }
}

Deno.test("sayTenantsOff() tells every ObservationFilter of tenants, and leaves room for the conditions of others", async () => {
  const api = new ScriptedApi();
  const spec = { targetSource: "falco" };
  api.put("observationfilters", { metadata: { name: "own", namespace: "zen-system" }, spec });
  for (let index = 0; index < 1_500; index++) {
    api.put("observationfilters", { metadata: { name: `f-${index}`, namespace: "shop" }, spec });
  }
  const time = new VirtualTime();
  const conditions = new Held();
  const stop = new AbortController();
  const running = sayTenantsOff(
    { api, conditions, ownNamespace: "zen-system", namespaces: [""], watchTuning: { sleep: time.sleep } },
    { signal: stop.signal, beat: NO_BEAT },
  );
  try {
    await eventually("the first ones", () => conditions.said.size >= 1_000);
    await time.advance(10_000);
    assertEquals(conditions.said.size, 1_000);
    conditions.write();
    await time.advance(1_000);
    await eventually("the others", () => conditions.said.size === 1_500);
    assertEquals([...new Set(conditions.said.values())], ["NamespaceNotTrusted"]);
    assertEquals(conditions.said.has("zen-system/own"), false);
  } finally {
    stop.abort();
    await running;
  }
});
