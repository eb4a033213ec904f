/** `diff` and `why`: what changed, and what decided. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { OBSERVATION_EXCEPTIONS } from "../src/exceptions/kind.ts";
import { ANNOTATIONS } from "../src/model/observation.ts";
import { kubeBench } from "../src/sources/kube_bench/mod.ts";
import { trivy } from "../src/sources/trivy/mod.ts";
import type { Source } from "../src/sources/source.ts";
import { OBSERVATIONS } from "../src/store/observations.ts";
import { CONFIG_MAPS } from "../src/kube/core_resources.ts";
import type { KubeObject } from "../src/kube/api.ts";
import type { Payload } from "../src/model/event.ts";
import type { JsonObject } from "../src/model/json.ts";
import { loadObjects, reportPayload } from "./support/load_fixture.ts";
import { VULNERABILITY_REPORTS, vulnerabilityReport } from "./support/reports.ts";
import { runtimeFor } from "./support/source_runtime.ts";
import type { DevWorld } from "./support/dev_world.ts";
import { apiServer, status } from "./support/api_server.ts";
import { storedObservation } from "./support/observation.ts";
import { ago, create, kubeconfigOf, startWorld, zen } from "./support/readers.ts";

Deno.test("diff shows new and resolved findings of a time span, worst first", async () => {
  await using world = await startWorld();
  const rules = async (...args: string[]) => {
    const { code, out } = await zen(["diff", "-o", "json", ...args], world);
    assertEquals(code, 0, args.join(" "));
    const { new: found, resolved } = JSON.parse(out);
    const names = (rows: readonly Record<string, string>[]) => rows.map(({ resource }) => resource);
    return [names(found), names(resolved)];
  };
  assertEquals(await rules(), [["web-7d4b9c6f5b-x2x4z"], ["api"]]);
  assertEquals(await rules("--since", "7d"), [["api", "web", "pay", "web-7d4b9c6f5b-x2x4z"], ["api"]]);
  assertEquals(await rules("--from", "49h", "--to", "24h"), [["web", "pay"], []]);
  assertEquals(await rules("--since", "7d", "-n", "pay"), [["pay"], []]);
  // A span has its begin in it and not its end.
  assertEquals(await rules("--from", ago(30), "--to", ago(2)), [["pay"], ["api"]]);
  assertEquals(await rules("--from", ago(2)), [["web-7d4b9c6f5b-x2x4z"], []]);
  const { out } = await zen(["diff", "--since", "1h"], world);
  assertEquals(out, `${ago(1)} to ${ago(0)}: 0 new, 0 resolved\n`);
  assertEquals((await zen(["diff", "--from", "1h", "--to", "2h"], world)).code, 2);
  assertEquals((await zen(["diff", "--from", "1h", "--since", "2h"], world)).code, 2);
});

Deno.test("diff and workload show what was reported again, and why what is resolved was", async () => {
  await using world = await startWorld();
  const resource = { apiVersion: "apps/v1", kind: "Deployment", name: "pool", namespace: "shop" };
  const stored = { namespace: "shop", resource, source: "trivy" };
  const seen = { firstSeenAt: ago(90), lastSeenAt: ago(1) };
  await create(world, { ...stored, id: "open", rule: "CVE-1", status: { ...seen, reopenedAt: ago(5) } });
  await create(world, {
    ...stored,
    id: "gone",
    rule: "CVE-2",
    status: {
      ...seen,
      phase: "Resolved",
      reopenedAt: ago(6),
      resolvedAt: ago(4),
      resolvedReason: "ReportGone",
    },
  });
  await create(world, { ...stored, id: "before", rule: "CVE-3", status: { ...seen, reopenedAt: ago(80) } });
  const rulesOf = (rows: readonly Record<string, string>[]) => rows.map(({ rule }) => rule);
  const { out } = await zen(["diff", "-o", "json"], world);
  const { new: found, reopened, resolved } = JSON.parse(out);
  assertEquals(rulesOf(found).includes("CVE-1"), false);
  assertEquals([rulesOf(reopened), rulesOf(resolved)], [["CVE-1", "CVE-2"], ["CVE-2024-3094", "CVE-2"]]);
  const printed = (await zen(["diff"], world)).out;
  assertStringIncludes(printed.split("\n")[0] ?? "", "1 (1 LOW) new, 2 (2 HIGH) reopened, 2 ");
  assertMatch(printed, /^resolved: ReportGone +2026-11-22 02:00:00 .* CVE-2 /m);
  const story = (await zen(["workload", "pool", "-n", "shop"], world)).out.split("\n").slice(2);
  const happened = story.map((line) => line.split(/ {2,}/)).map((
    [time, , what, , , rule],
  ) => [time, what, rule]);
  assertEquals(happened.slice(3, -1), [
    ["2026-11-18 22:00:00", "reopened", "CVE-3"],
    ["2026-11-22 00:00:00", "reopened", "CVE-2"],
    ["2026-11-22 01:00:00", "reopened", "CVE-1"],
    ["2026-11-22 02:00:00", "resolved: ReportGone", "CVE-2"],
  ]);
});

const DAY_HOURS = 24;

Deno.test("why tells when an Observation is deleted as the garbage collector does, and names the setting", async () => {
  const stored = { namespace: "shop", createdAt: Date.parse(ago(21 * DAY_HOURS)), ttlSeconds: 604_800 };
  const seen = { firstSeenAt: ago(21 * DAY_HOURS), lastSeenAt: ago(3 * DAY_HOURS) };
  const gone = {
    ...seen,
    phase: "Resolved",
    resolvedAt: ago(2 * DAY_HOURS),
    resolvedReason: "NotReported",
  } as const;
  const pushed = { door: "Ingester zen-system/push", status: seen };
  const rows = [
    [
      { status: gone },
      "(NotReported). Its source no longer reports it. ",
      `deleted after ${ago(-28 * DAY_HOURS)} (RESOLVED_TTL_SECONDS=2592000 since it was resolved)`,
    ],
    // Trivy deletes such reports for their age.
    [{ status: seen }, "for RESOLVE_GRACE_SECONDS=600, or for EXPIRED_GRACE_SECONDS=86400 where"],
    [
      { status: seen, eventType: "misconfiguration" },
      "for RESOLVE_GRACE_SECONDS=600, and deleted RESOLVED_TTL",
    ],
    [
      { kind: "occurrence", generation: 1, status: seen },
      `no end but its age. It is deleted after ${ago(14 * DAY_HOURS)} (ttlSecondsAfterCreation=604800).`,
    ],
    [
      pushed,
      `deleted after ${
        ago(-4 * DAY_HOURS)
      } (ttlSecondsAfterCreation=604800 since it was last seen): each repeat moves that`,
      "It was sent to a webhook, so that no report is kept.",
    ],
    [{ ...pushed, ttlSeconds: 30 * 86_400 }, `deleted after ${ago(-27 * DAY_HOURS)} (`],
  ] as const;
  for (const [fields, ...told] of rows) {
    const { metadata, ...rest } = storedObservation({ ...stored, ...fields, rule: "CVE-1" });
    const door = "door" in fields ? { [ANNOTATIONS.pushedThrough]: fields.door } : {};
    const observation = {
      ...rest,
      metadata: { ...metadata, annotations: { ...metadata.annotations, ...door } },
    };
    await using server = apiServer(({ path }) =>
      path.endsWith("/observations")
        ? Response.json({ metadata: {}, items: [observation] })
        : status(404, { reason: "NotFound", message: "not served" })
    );
    await using file = await kubeconfigOf(server.url);
    const { code, out } = await zen(["why", "--rule", "CVE-1"], { kubeconfig: file.path });
    assertEquals(code, 0);
    for (const words of told) assertStringIncludes(out, words);
  }
});

/** Stores the first finding that a source draws. */
async function storeFirst(world: DevWorld, source: Source, payload: Payload): Promise<string> {
  const { draw, normalize } = runtimeFor(source);
  const [event] = [...draw(payload)].flatMap((drawn) =>
    "event" in drawn ? [normalize(drawn.event, payload)] : []
  );
  assert(event);
  await create(world, { ...event, namespace: event.resource?.namespace ?? "zen-system" });
  const { items } = await world.api.list(OBSERVATIONS);
  const stored = items.find(({ metadata: { annotations } }) =>
    annotations?.[ANNOTATIONS.fingerprint] === event.fingerprint
  );
  return stored?.metadata.name ?? "";
}

Deno.test("why names the report that a finding is in and its time, and says where none names it or it may not look", async () => {
  await using world = await startWorld();
  const updateTimestamp = "2026-11-21T06:00:00Z";
  const reports = [0, 1].map((index) => {
    const made = vulnerabilityReport("shop", index, 1) as KubeObject & { readonly report: JsonObject };
    return { ...made, report: { ...made.report, updateTimestamp } };
  });
  for (const report of reports) await world.api.create(VULNERABILITY_REPORTS, report);
  const [node] = await loadObjects("sources/kube-bench/real/kube-bench/configmap-node-1.json");
  await world.namespaces(["kube-bench"]);
  const { metadata: { name, labels }, data } = node as unknown as KubeObject;
  await world.api.create(
    CONFIG_MAPS,
    { metadata: { name, labels, namespace: "kube-bench" }, data } as KubeObject,
  );
  const ofTrivy = await storeFirst(world, trivy, reportPayload(reports[1] as never));
  const origin = { confined: false, namespace: "kube-bench", name: name ?? "" };
  const ofNode = await storeFirst(world, kubeBench, { body: node!, origin, receivedAt: Date.parse(ago(1)) });
  const told = async (name: string) => (await zen(["why", name], world)).out;
  const resource = "vulnerabilityreports.aquasecurity.github.io";
  const reportName = reports[1]?.metadata.name ?? "";
  assertStringIncludes(
    await told(ofTrivy),
    `Its report is ${resource} shop/${reportName}, made at ${updateTimestamp}.`,
  );
  assertMatch(await told(ofNode), /Its report is configmaps kube-bench\/kube-bench-node-1, made at 20/);
  {
    using _fault = world.server.faults.add({
      path: `/${VULNERABILITY_REPORTS.plural}`,
      effect: { kind: "deny" },
    });
    assertStringIncludes(await told(ofTrivy), `Its report is not looked for: you may not list ${resource}.`);
  }
  await world.api.delete(VULNERABILITY_REPORTS, reportName, { namespace: "shop" });
  assertStringIncludes(await told(ofTrivy), "No report of trivy that is there now names it.");
});

Deno.test("why tells of exceptions that name a finding and accept nothing, and why", async () => {
  await using world = await startWorld();
  const exception = (name: string, fields: Record<string, unknown>, ready?: Record<string, string>) =>
    world.create([{
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: "ObservationException",
      metadata: { name, namespace: "shop" },
      spec: {
        match: { rules: ["CVE-2024-3094"] },
        reason: "mitigated",
        justification: "unreachable",
        expiresAt: ago(-DAY_HOURS),
        ...fields,
      } as never,
      ...(ready &&
        {
          status: {
            conditions: [{ type: "Ready", status: "False", lastTransitionTime: ago(1), ...ready }],
          } as never,
        }),
    }]);
  await exception("typo", { match: { rules: ["CVE-2024-3094"], workload: ["web"] } }, {
    reason: "Invalid",
    message: "at spec.match.workload: unknown key, did you mean workloads?",
  });
  await exception("crowded", {}, { reason: "LimitExceeded", message: "there are too many older ones" });
  await exception("over", { expiresAt: ago(1) });
  await exception("fresh", { ticket: "T-1", acceptedBy: "mia" });
  await exception("other", { match: { rules: ["CVE-1"] } });
  const { out } = await zen(["why", "--rule", "CVE-2024-3094", "--workload", "web", "-n", "shop"], world);
  const names = "ObservationException shop/";
  assertStringIncludes(
    out,
    `${names}typo names it, but accepts nothing: at spec.match.workload: unknown key`,
  );
  assertStringIncludes(out, `${names}crowded names it, but accepts nothing: there are too many older ones`);
  assertStringIncludes(out, `${names}over names it, but expired at ${ago(1)}.`);
  assertStringIncludes(out, `${names}fresh covers it: the controller has not written that yet.`);
  assertStringIncludes(out, "mitigated: unreachable (T-1, accepted by mia)");
  assertEquals(out.includes("shop/other"), false);
  const [api] = JSON.parse(
    (await zen(["why", "--rule", "CVE-2024-3094", "--workload", "api", "-n", "shop", "-o", "json"], world))
      .out,
  ).observations;
  assertEquals(api.exceptions, [], "a Resolved finding is not accepted");
  assertEquals(await world.api.list(OBSERVATION_EXCEPTIONS).then(({ items }) => items.length), 5);
});

Deno.test("why -n finds by name what belongs to the namespace and is stored elsewhere", async () => {
  await using world = await startWorld();
  await create(world, {
    id: "moved",
    namespace: "zen-system",
    resource: { apiVersion: "v1", kind: "Pod", name: "gone", namespace: "shop" },
    source: "falco",
  });
  const { items } = await world.api.list(OBSERVATIONS, { namespace: "zen-system" });
  const name = items[0]?.metadata.name ?? "";
  assertStringIncludes((await zen(["why", name, "-n", "shop"], world)).out, `${name} in zen-system: `);
  assertStringIncludes((await zen(["why", name, "-n", "pay"], world)).out, `no Observation "${name}"`);
});

Deno.test("why shows an Observation, the verdict of the active filters and when it ends", async () => {
  await using world = await startWorld();
  await world.api.create(
    { group: "", version: "v1", plural: "configmaps", kind: "ConfigMap", namespaced: true },
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "zen-watcher-filter", namespace: "zen-system" },
      data: { "filter.json": JSON.stringify({ sources: { falco: { minSeverity: "HIGH" } } }) },
    } as never,
  );
  const { items } = await world.api.list(OBSERVATIONS, { fieldSelector: "spec.source=falco" });
  const name = items[0]?.metadata.name ?? "";
  const told = (await zen(["why", name], world)).out;
  assertStringIncludes(
    told,
    `${name} in shop: LOW Terminal shell in container on Pod/web-7d4b9c6f5b-x2x4z\n`,
  );
  assertStringIncludes(told, `First seen at ${ago(2)}, last at ${ago(2)}, 1 time.`);
  assertStringIncludes(told, "ConfigMap zen-system/zen-watcher-filter sources.falco: drop: ");
  const resolved =
    (await zen(["why", "--rule", "CVE-2024-3094", "--workload", "api", "-n", "shop"], world)).out;
  assertStringIncludes(resolved, `Phase Resolved since ${ago(3)}. Its source no longer reports it.`);
  assertStringIncludes(resolved, "No filter of a ConfigMap or an ObservationFilter applies to it.");

  // Without the right to read filters, why shows the rest and names the right.
  using _fault = world.server.faults.add({ path: "/configmaps", effect: { kind: "deny" } });
  const { code, out } = await zen(["why", name], world);
  assertEquals(code, 0);
  assertStringIncludes(out, `First seen at ${ago(2)}`);
  assertStringIncludes(out, "Filters cannot be read: you may not. Missing right: ");
  assertStringIncludes(out, "configmaps");
});

Deno.test("why shows for a missing Observation the same rule elsewhere and the state of its sources", async () => {
  await using world = await startWorld();
  const ask = async (...args: string[]) => (await zen(["why", ...args], world)).out;
  const missing = await ask("--rule", "CVE-2024-3094", "--workload", "pay", "-n", "pay");
  assertEquals(missing.split("\n").slice(0, 6), [
    'No Observation has the rule "CVE-2024-3094" on the workload "pay" in "pay".',
    "  It is found on 2 other workloads: shop/api, shop/web",
    `  kyverno reports 1 other finding on this workload, the latest seen at ${ago(1)}.`,
    "  It is not among the last events that a filter or the storage budget left out.",
    '  Not looked at: the ConfigMap "zen-system/zen-watcher-filter-status" does not exist, so that nothing says what the ' +
    "filters of the ConfigMap left out.",
    "  No filter of a ConfigMap or an ObservationFilter is in force.",
  ]);
  assertStringIncludes(await ask("--rule", "CVE-0", "--workload", "new"), "may not have scanned it yet");
  assertStringIncludes(await ask("gone", "-n", "shop"), 'no Observation "gone" in the namespace "shop"');
  await create(world, { id: "many", namespace: "shop", rule: "CVE-2024-3094", source: "trivy" });
  assertEquals((await zen(["why"], world)).code, 2);
  assertEquals((await zen(["why", "a", "--rule", "b"], world)).code, 2);
});
