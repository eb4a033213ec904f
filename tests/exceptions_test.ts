/** The stories of ObservationExceptions on the embedded API server, with one replica. */
import { assertEquals } from "@std/assert";
import { OBSERVATION_EXCEPTIONS } from "../src/exceptions/kind.ts";
import { readyOf } from "../src/kube/conditions.ts";
import { isObject } from "../src/model/json.ts";
import { exceptionObject } from "../src/read/accept.ts";
import type { TestApp } from "./support/app.ts";
import { type DevWorld, startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { VULNERABILITY_REPORTS } from "./support/reports.ts";
import { EXCEPTION_STORIES, vulnerabilityReportOf } from "./support/exception_stories.ts";

for (const { name, play } of EXCEPTION_STORIES) {
  Deno.test(name, async () => {
    await using world = await startDevWorld({ namespaces: ["shop"] });
    await play({
      api: world.api,
      namespace: "shop",
      async start(env = {}, clock) {
        const app = await world.replica("one", { env, ...(clock && { clock }) });
        return { apps: [app], [Symbol.asyncDispose]: () => app[Symbol.asyncDispose]() };
      },
    });
  });
}

/** A kubectl-like view: `name reason` of each exception. */
async function reasons(world: DevWorld, namespace: string): Promise<string[]> {
  const { items } = await world.api.list(OBSERVATION_EXCEPTIONS, { namespace });
  return items.map((item) => `${item.metadata.name} ${readyOf(item)?.reason ?? "?"}`);
}

async function write(
  world: DevWorld,
  namespace: string,
  name: string,
  rules: readonly string[],
): Promise<void> {
  const object = exceptionObject({
    ...{ namespace, name, match: { rules }, reason: "mitigated", justification: "x" },
    expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
  });
  await world.api.create(OBSERVATION_EXCEPTIONS, object, { namespace });
}

Deno.test("an exception in a namespace that no shard watches gets a condition, which a shard that watches it replaces", async () => {
  await using world = await startDevWorld({ namespaces: ["shop", "pay"] });
  for (const namespace of ["shop", "pay", "zen-system"]) await write(world, namespace, "held", ["CVE-1"]);
  {
    await using _shard = await world.replica("one", { env: { WATCH_NAMESPACE: "shop", INSTANCE: "a" } });
    await eventually(
      "shop's to be in force",
      async () => `${await reasons(world, "shop")}` === "held InForce",
    );
    for (const namespace of ["pay", "zen-system"]) {
      await eventually(
        `${namespace}'s to be told`,
        async () => `${await reasons(world, namespace)}` === "held NamespaceNotWatched",
      );
    }
  }
  await using _other = await world.replica("two", { env: { WATCH_NAMESPACE: "pay", INSTANCE: "b" } });
  await eventually("pay's to be in force", async () => `${await reasons(world, "pay")}` === "held InForce");
  assertEquals(await reasons(world, "shop"), ["held InForce"]);
});

Deno.test("a namespace has at most 1,000 active exceptions: the oldest, and the next one when one is deleted", async () => {
  await using world = await startDevWorld({ namespaces: ["shop", "pay"] });
  for (let number = 0; number < 1_000; number++) {
    await write(world, "shop", `e-${String(number).padStart(4, "0")}`, [`CVE-${number}`]);
  }
  await using app = await world.replica("one");
  const inForce = async () => (await (await fetch(`${app.url}/tools/status`)).json()).exceptions.inForce;
  await eventually("a thousand in force", async () => await inForce() === 1_000);
  await write(world, "shop", "z", ["CVE-z"]);
  await write(world, "pay", "other", ["CVE-z"]);
  await eventually("the one too many to be told", async () => {
    const stored = await world.api.get(OBSERVATION_EXCEPTIONS, "z", { namespace: "shop" });
    return readyOf(stored)?.reason === "LimitExceeded";
  }, { timeoutMs: 120_000 });
  assertEquals(await inForce(), 1_001);
  await world.api.delete(OBSERVATION_EXCEPTIONS, "e-0000", { namespace: "shop" });
  await world.api.delete(OBSERVATION_EXCEPTIONS, "other", { namespace: "pay" });
  await eventually("it to come in force", async () => await inForce() === 1_000);
});

Deno.test("Accepted findings stay Accepted, also in metrics, while the exceptions cannot be read", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const severity = { category: "security", severity: "CRITICAL" };
  {
    await using app = await world.replica("one");
    await world.api.create(VULNERABILITY_REPORTS, vulnerabilityReportOf("shop"), { namespace: "shop" });
    await write(world, "shop", "held", ["CVE-2024-3094"]);
    await eventually("it to be Accepted", () => phases(world)[0] === "Accepted");
    await eventually("none to be active", async () => await activeOf(app, severity) === 0);
  }
  using _fault = world.server.faults.add({ path: "/observationexceptions", effect: { kind: "deny" } });
  await using app = await world.replica("two", { env: { GC_INTERVAL: "1s" } });
  await eventually(
    "the index to be read",
    async () => (await (await fetch(`${app.url}/tools/status`)).json()).storage.observations === 1,
  );
  await eventually(
    "the leader to have worked for a while",
    async () => await app.metric("gc_runs_total") >= 4,
  );
  assertEquals(phases(world), ["Accepted"]);
  assertEquals(await activeOf(app, severity), 0);
});

function phases(world: DevWorld): unknown[] {
  return world.observations().map(({ status }) => isObject(status) ? status.phase : undefined);
}

async function activeOf(app: TestApp, labels: Readonly<Record<string, string>>): Promise<number> {
  await (await fetch(`${app.metricsUrl}/metrics`)).body?.cancel();
  return await app.metric("active_events", labels);
}
