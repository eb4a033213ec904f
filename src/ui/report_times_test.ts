import { assertEquals, assertMatch } from "@std/assert";
import { startDevWorld } from "../../tests/support/dev_world.ts";
import { eventually } from "../../tests/support/eventually.ts";
import { ChangeSignal } from "../model/change_signal.ts";
import { readSettings } from "../settings.ts";
import { ReportTimes } from "./report_times.ts";

const NOW = Date.parse("2026-11-22T06:00:00Z");
const HOUR_MS = 3_600_000;
const POLICY_REPORTS = "policyreports.wgpolicyk8s.io";

/** A cluster, the times of its reports, and a clock that the test moves. */
async function startReportTimes() {
  const world = await startDevWorld({ namespaces: ["shop"] });
  const clock = { ms: 0 };
  const times = new ReportTimes({
    api: world.api,
    settings: readSettings(() => undefined),
    changed: new ChangeSignal(),
    now: () => NOW + clock.ms,
    monotonic: () => clock.ms,
  });
  const { signal } = new AbortController();
  return {
    world,
    times,
    clock,
    /** How many lists of policy reports the overview on a page leads to. */
    async look(): Promise<number> {
      world.server.requests.clear();
      times.shown();
      await times.refresh(undefined, signal);
      return world.server.requests.count({ verb: "list", path: "/policyreports" });
    },
    /** The same while no page shows them. */
    async pass(): Promise<number> {
      world.server.requests.clear();
      await times.refresh(undefined, signal);
      return world.server.requests.count({ verb: "list" });
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

function policyReport(name: string, timeMs: number) {
  return {
    apiVersion: "wgpolicyk8s.io/v1alpha2",
    kind: "PolicyReport",
    metadata: { name, namespace: "shop" },
    results: [{ policy: "p", result: "pass", timestamp: { seconds: timeMs / 1_000, nanos: 0 } }],
  };
}

Deno.test("ReportTimes reads while a page shows the times, at most once an hour", async () => {
  await using reports = await startReportTimes();
  const { world, times, clock } = reports;
  await world.create([policyReport("web", NOW)]);
  assertEquals(await reports.pass(), 0, "no page shows them");
  assertEquals(await reports.look() > 0, true);
  assertEquals(times.known.newest, { kyverno: "2026-11-22T06:00:00.000Z" });
  await world.create([policyReport("api", NOW + HOUR_MS)]);
  clock.ms = HOUR_MS - 1;
  assertEquals(await reports.look(), 0, "they are fresh");
  clock.ms = HOUR_MS;
  assertEquals(await reports.look() > 0, true);
  assertEquals(times.known.newest, { kyverno: "2026-11-22T07:00:00.000Z" });
  assertEquals([times.known.read, times.known.readAt], [2, "2026-11-22T07:00:00.000Z"]);
  times.shown();
  clock.ms = 2 * HOUR_MS;
  assertEquals(await reports.pass(), 0, "that was an hour ago");
});

Deno.test("ReportTimes says why reports could not be read, keeps what it has, and tries again after a minute", async () => {
  await using reports = await startReportTimes();
  const { world, times, clock } = reports;
  await world.create([policyReport("web", NOW)]);
  await reports.look();
  clock.ms = HOUR_MS;
  const broken = world.server.faults.add({
    verb: "list",
    path: "/policyreports",
    effect: { kind: "status", status: 500 },
  });
  await reports.look();
  assertMatch(times.known.problem ?? "", /^Cannot list policyreports.*HTTP 500/);
  assertEquals(times.known.newest, { kyverno: "2026-11-22T06:00:00.000Z" });
  broken.remove();
  clock.ms += 59_999;
  assertEquals(await reports.look(), 0);
  clock.ms += 1;
  await reports.look();
  assertEquals(times.known.problem, undefined);
});

Deno.test("ReportTimes reads a limited number of reports of a kind, and says of which sources there are more", async () => {
  await using reports = await startReportTimes();
  const { world, times } = reports;
  const { objects } = world.server.cluster.resources.get(POLICY_REPORTS) ?? {};
  for (let index = 0; index <= 2_000; index++) {
    const name = `report-${String(index).padStart(4, "0")}`;
    objects?.put(`shop/${name}`, policyReport(name, NOW + index * 1_000));
  }
  await reports.look();
  assertEquals([times.known.read, times.known.cut], [2_000, ["kyverno"]]);
  assertEquals(times.known.newest, { kyverno: new Date(NOW + 1_999_000).toISOString() });
});

Deno.test("ReportTimes stops in the middle of a list when the page ends", async () => {
  await using world = await startDevWorld();
  const hanging = world.server.faults.add({
    verb: "list",
    path: "/policyreports",
    effect: { kind: "hang" },
  });
  const stop = new AbortController();
  const times = new ReportTimes({
    api: world.api,
    settings: readSettings(() => undefined),
    changed: new ChangeSignal(),
    now: () => NOW,
  });
  times.shown();
  const reading = times.refresh(undefined, stop.signal);
  await eventually("the list", () => hanging.hits > 0);
  stop.abort();
  await reading;
  assertEquals([times.known.readAt, times.known.problem], ["", undefined]);
});
