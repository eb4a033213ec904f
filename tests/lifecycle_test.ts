/** The whole program resolves findings on complete views only, after a grace, and makes them Active again, over restarts too. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { isObject } from "../src/model/json.ts";
import { evaluationsOf, type TestApp } from "./support/app.ts";
import { accountsOf } from "./support/books.ts";
import { type DevWorld, occurrencesOf, startDevWorld, STORED_TYPE } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { changeReports, VULNERABILITY_REPORTS } from "./support/reports.ts";

const REPORTS = 5;
const FOUND = 3;
const ALL = REPORTS * FOUND;
const QUICK = { RESOLVE_GRACE_SECONDS: "1", EXPIRED_GRACE_SECONDS: "1", RESYNC_INTERVAL: "500ms" };

function phases(world: DevWorld): { readonly active: number; readonly resolved: number } {
  const all = world.observations().map(({ status }) => isObject(status) ? status.phase : undefined);
  const resolved = all.filter((phase) => phase === "Resolved").length;
  return { active: all.length - resolved, resolved };
}

async function until(world: DevWorld, active: number, resolved: number): Promise<void> {
  await eventually(`${active} active and ${resolved} resolved`, () => {
    const now = phases(world);
    if (now.active === active && now.resolved === resolved) return true;
    throw new Error(JSON.stringify(now));
  }, { timeoutMs: 60_000 });
}

async function report(world: DevWorld, reports: readonly [number, number] = [0, REPORTS]): Promise<void> {
  await changeReports(world.api, { namespace: "shop", reports, found: [0, FOUND] });
}

async function remove(world: DevWorld, [from, to]: readonly [number, number]): Promise<void> {
  for (let index = from; index < to; index++) {
    await world.api.delete(VULNERABILITY_REPORTS, `statefulset-app-${index}-main`, { namespace: "shop" });
  }
}

/** Lists of Trivy's resources, each evaluated in full: this many take five resyncs at least. */
const EVALUATIONS = 40;

/** Waits until a grace would have been over more than once. */
async function evaluatedOften(app: TestApp): Promise<void> {
  const before = await evaluationsOf(app, "trivy");
  await eventually(
    "five resyncs",
    async () => await evaluationsOf(app, "trivy") >= before + EVALUATIONS,
    { timeoutMs: 60_000 },
  );
}

Deno.test("a finding that its source no longer reports is Resolved after a grace, and Active again on its return, over restarts too", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await report(world);
  {
    await using _app = await world.replica("zen-watcher-0", { env: QUICK });
    await until(world, ALL, 0);
    await remove(world, [0, 2]);
    await until(world, ALL - 2 * FOUND, 2 * FOUND);
  }
  // Gone while no replica runs.
  await remove(world, [2, 3]);
  {
    await using _app = await world.replica("zen-watcher-0", { env: QUICK });
    await until(world, ALL - 3 * FOUND, 3 * FOUND);
  }
  // Back while no replica runs.
  await report(world, [0, 1]);
  {
    await using _app = await world.replica("zen-watcher-0", { env: QUICK });
    await until(world, ALL - 2 * FOUND, 2 * FOUND);
    await report(world, [1, 3]);
    await until(world, ALL, 0);
  }
  assertEquals(world.server.count(STORED_TYPE), ALL, "the same objects all along");
  assertEquals(occurrencesOf(world.observations()), ALL + 3 * FOUND, "each return counts once");
});

Deno.test("resolved and reopened findings are counted, and announced by one Event about the Lease", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await report(world);
  await using app = await world.replica("zen-watcher-0", { env: QUICK });
  await until(world, ALL, 0);
  assertEquals(await app.metric("findings_resolved_total"), 0);
  assertEquals(await app.metric("findings_resolved_total", { source: "falco" }), 0);
  const scraped = async () => await (await fetch(`${app.metricsUrl}/metrics`)).text();
  const open = 'zen_watcher_active_findings{source="trivy",severity="HIGH",older_than_days="0"}';
  // The page is rendered at most once a second.
  const isOpen = (count: number) =>
    eventually(`${count} to be open`, async () => (await scraped()).split("\n").includes(`${open} ${count}`));
  await isOpen(ALL);
  await remove(world, [0, 2]);
  await until(world, ALL - 2 * FOUND, 2 * FOUND);
  const ended = { source: "trivy", severity: "HIGH", reason: "ReportGone" };
  await eventually(
    "each resolution to be counted",
    async () => await app.metric("findings_resolved_total", ended) === 2 * FOUND,
  );
  await isOpen(ALL - 2 * FOUND);
  await report(world, [0, 2]);
  await until(world, ALL, 0);
  await eventually(
    "each return to be counted",
    async () => await app.metric("findings_reopened_total", { source: "trivy" }) === 2 * FOUND,
  );
  const told = await eventually("both Events", () => {
    const events = world.server.objects("events", "zen-system")
      .filter(({ involvedObject }) => isObject(involvedObject) && involvedObject.kind === "Lease");
    return events.length >= 2 ? events : undefined;
  });
  const reasons = told.map(({ reason }) => reason).sort();
  assertEquals(reasons, ["FindingsReopened", "FindingsResolved"]);
  const resolved = told.find(({ reason }) => reason === "FindingsResolved");
  assert(isObject(resolved?.related));
  assertEquals([resolved.related.kind, resolved.related.namespace], ["Observation", "shop"]);
  assertMatch(String(resolved.message), /^6 findings resolved \(ReportGone 6\): trivy 6; first shop\/trivy-/);
});

Deno.test("a finding that is reported again while its resolution is written ends Active, without a resync", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await report(world, [0, 1]);
  {
    await using _app = await world.replica("zen-watcher-0");
    await until(world, FOUND, 0);
  }
  await remove(world, [0, 1]);
  using slow = world.server.faults.add({
    verb: "patch",
    path: /\/observations\/.*\/status/,
    times: 1,
    effect: { kind: "latency", latencyMs: 3_000 },
  });
  await using _app = await world.replica("zen-watcher-0", {
    env: { RESOLVE_GRACE_SECONDS: "1", EXPIRED_GRACE_SECONDS: "1" },
  });
  await eventually("the first resolution to be under way", () => slow.hits === 1, { timeoutMs: 60_000 });
  await report(world, [0, 1]);
  await eventually("what was resolved to be Active again", () => {
    const { active, resolved } = phases(world);
    return occurrencesOf(world.observations()) > FOUND && active === FOUND && resolved === 0;
  }, { timeoutMs: 60_000 });
});

Deno.test("Observations of a namespace that is taken off a shard's list are left as they are", async () => {
  await using world = await startDevWorld({ namespaces: ["shop", "pay"] });
  await report(world);
  const quick = (list: string, collected: string) => ({
    env: { ...QUICK, WATCH_NAMESPACE: list, OBSERVATION_TTL_SECONDS: "1", GC_INTERVAL: collected },
  });
  {
    await using app = await world.replica("zen-watcher-0", quick("shop", "1h"));
    await until(world, ALL, 0);
    await app.post("/falco/webhook", {
      rule: "A rule",
      priority: "Notice",
      output: "text",
      output_fields: { "k8s.ns.name": "shop", "k8s.pod.name": "web" },
    });
  }
  const before = world.versions();
  assertEquals(before.size, ALL + 1);
  {
    await using app = await world.replica("zen-watcher-0", quick("pay", "1s"));
    await evaluatedOften(app);
    await eventually("a garbage collection", async () => await app.metric("gc_runs_total") >= 3);
  }
  assertEquals(world.versions(), before);
});

Deno.test("Trivy's daily deletion and rebuild of every report leaves every Observation as it was", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await report(world);
  await using app = await world.replica("a");
  await until(world, ALL, 0);
  await eventually("nothing to be under way", async () => (await accountsOf(app.url)).trivy?.inFlight === 0);
  const versions = world.versions();
  world.server.requests.clear();
  for (let day = 1; day <= 2; day++) {
    await remove(world, [0, REPORTS]);
    await report(world);
    await eventually("the rebuilt reports to be read", async () => {
      return ((await accountsOf(app.url)).trivy?.events ?? 0) >= (1 + day) * ALL;
    });
  }
  assertEquals(world.writes(), 0);
  assertEquals(world.versions(), versions);
});

Deno.test("a finding of a report that Trivy deleted since it was old is not Resolved with what else is gone", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await report(world);
  const expiring = "statefulset-app-0-main";
  const annotations = { "trivy-operator.aquasecurity.github.io/report-ttl": "0h0m1s" };
  await world.api.patch(VULNERABILITY_REPORTS, expiring, { metadata: { annotations } }, {
    namespace: "shop",
    type: "merge",
  });
  const slow = { RESOLVE_GRACE_SECONDS: "1", RESYNC_INTERVAL: "500ms" };
  await using app = await world.replica("zen-watcher-0", { env: slow });
  await until(world, ALL, 0);
  await remove(world, [0, 2]);
  await until(world, ALL - FOUND, FOUND);
  await evaluatedOften(app);
  assertEquals(phases(world), { active: ALL - FOUND, resolved: FOUND });
  const active = world.observations().filter(({ status }) => isObject(status) && status.phase !== "Resolved");
  assert(
    active.some(({ spec }) => isObject(spec) && isObject(spec.resource) && spec.resource.name === "app-0"),
  );
});

Deno.test("a view that is forbidden, failing or cut short resolves nothing", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await report(world);
  {
    await using _app = await world.replica("zen-watcher-0");
    await until(world, ALL, 0);
  }
  const path = /\/vulnerabilityreports/;
  for (const effect of [{ kind: "deny" }, { kind: "status", status: 500 }, { kind: "garbled" }] as const) {
    using fault = world.server.faults.add({ verb: ["list", "watch"], path, effect });
    await using app = await world.replica("zen-watcher-0", { env: QUICK });
    await eventually("the source to be asked for, in vain", () => fault.hits >= 3);
    // The grace is over several times; the other resources of Trivy are read in full, and say nothing of these.
    await evaluatedOften(app);
    assertEquals(phases(world), { active: ALL, resolved: 0 }, effect.kind);
  }
  // What is gone meanwhile is only found out by a view that is whole.
  await remove(world, [0, 1]);
  await using app = await world.replica("zen-watcher-0", { env: QUICK });
  await until(world, ALL - FOUND, FOUND);
  assert(app.health.live().ok);
});
