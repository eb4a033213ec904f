import { assert, assertEquals } from "@std/assert";
import { normalEvent } from "../../tests/support/normal_event.ts";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import { isObject, type JsonObject } from "../model/json.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { addDrop, addedDrops, emptyShare, mergeShares, type Share } from "./drops.ts";
import { createFilterStatus } from "./filter_status.ts";
import { CONFIG_MAPS } from "../kube/core_resources.ts";
import { LiveFilters } from "./filter.ts";
import { OBSERVATION_FILTERS } from "./observation_filters.ts";

const HOUR_MS = 3_600_000;
const NOW = Date.parse("2026-11-22T06:30:00Z");

/** A share of some rules, each at its time. */
function shareOf(isShadow: boolean, ...rules: readonly (readonly [rule: string, atMs: number])[]): Share {
  const share = emptyShare(isShadow);
  for (const [rule, atMs] of rules) {
    addDrop(share, { event: normalEvent({ rule }), reason: "min_severity", atMs, sampled: true });
  }
  return share;
}

const apply = (stored: JsonObject, share: Share, now = NOW): JsonObject => ({
  ...stored,
  ...addedDrops(stored, share, now),
});
const rulesOf = (drops: unknown) =>
  Array.isArray(drops) ? drops.map((drop) => isObject(drop) && drop.rule) : [];

Deno.test("addedDrops() adds up the shares of replicas and keeps the ten newest different drops", () => {
  const first = apply(
    {},
    shareOf(false, ...Array.from({ length: 12 }, (_, index) => [`r${index}`, NOW + index * 1_000] as const)),
  );
  assertEquals(first.dropped, 12);
  assertEquals(rulesOf(first.lastDrops), ["r11", "r10", "r9", "r8", "r7", "r6", "r5", "r4", "r3", "r2"]);
  const second = apply(first, shareOf(false, ["late", NOW + 60_000], ["r5", NOW + 61_000]));
  assertEquals(second.dropped, 14);
  assertEquals(rulesOf(second.lastDrops), ["r5", "late", "r11", "r10", "r9", "r8", "r7", "r6", "r4", "r3"]);
  assertEquals(addedDrops(second, emptyShare(false), NOW), undefined);
});

Deno.test("addedDrops() counts what a Shadow document would have dropped in the last day alone", () => {
  const old = NOW - 30 * HOUR_MS;
  const stored = apply({}, shareOf(true, ["old", old], ["old too", old]), old);
  assertEquals(isObject(stored.wouldDrop) && stored.wouldDrop.lastDay, 2);
  const later = apply(stored, shareOf(true, ["a", NOW - 2 * HOUR_MS], ["b", NOW], ["c", NOW]));
  assertEquals(later.wouldDrop, {
    lastDay: 3,
    hours: [{ hour: "2026-11-22T04:00:00Z", count: 1 }, { hour: "2026-11-22T06:00:00Z", count: 2 }],
    samples: isObject(later.wouldDrop) ? later.wouldDrop.samples ?? null : null,
  });
  assertEquals(rulesOf(isObject(later.wouldDrop) && later.wouldDrop.samples).sort(), ["a", "b", "c"]);
  assertEquals(later.dropped, undefined);
  assertEquals(apply(later, emptyShare(true), NOW + 40 * HOUR_MS).wouldDrop, null);
  // The document was turned on.
  const enforced = apply(later, shareOf(false, ["d", NOW]));
  assertEquals([enforced.wouldDrop, enforced.dropped], [null, 1]);
});

Deno.test("mergeShares() adds two shares of one mode, and drops the older one of another", () => {
  const merged = mergeShares(shareOf(false, ["a", NOW], ["b", NOW]), shareOf(false, ["a", NOW + HOUR_MS]));
  assertEquals([...merged.hours.values()], [2, 1]);
  assertEquals(merged.drops.map(({ rule }) => rule), ["a", "b"]);
  const newer = shareOf(true, ["c", NOW]);
  assertEquals(mergeShares(merged, newer), newer);
});

Deno.test("the status of the ConfigMap's filters stays within 200 KiB, takes 30 s between writes, and forgets removed entries", async () => {
  const time = new VirtualTime();
  const api = new ScriptedApi();
  const NAME = "zen-watcher-filter-status";
  api.put("configmaps", { metadata: { name: NAME, namespace: "zen-system" } });
  const filters = new LiveFilters({ metrics: createMetrics(), clock: time });
  const status = createFilterStatus({
    api,
    clock: time,
    sleep: time.sleep,
    filters,
    configMap: { namespace: "zen-system", name: "zen-watcher-filter", key: "filter.json" },
    statusName: NAME,
    isLeader: () => true,
  });
  const documents = Array.from({ length: 200 }, (_, index) => ({
    name: `ConfigMap sources.s${index}`,
    source: `s${index}`,
    block: { enabled: false },
  }));
  filters.replace("configMap", documents);
  const long = "x".repeat(300);
  const drop = (source: string, rule: string) =>
    filters.filter(
      normalEvent({ source, rule: `${rule}${long}`, resource: { kind: "Pod", name: long, namespace: long } }),
    );
  for (const { source } of documents) for (let rule = 0; rule < 12; rule++) drop(source, `r${rule}`);
  status.noteBudget(normalEvent({ source: "falco" }));
  const stop = new AbortController();
  const running = status.run(stop.signal);
  const stored = async (): Promise<JsonObject> => {
    const { data } = await api.get(CONFIG_MAPS, NAME, { namespace: "zen-system" });
    return isObject(data) && typeof data["drops.json"] === "string" ? JSON.parse(data["drops.json"]) : {};
  };
  try {
    await time.advance(5_000);
    const { sources, budget } = await stored();
    assert(isObject(sources) && isObject(budget));
    assertEquals(Object.keys(sources).length, 200);
    assertEquals(isObject(sources.s7) && sources.s7.dropped, 12);
    assertEquals(budget.dropped, 1);
    assert(JSON.stringify(await stored()).length <= 200 * 1024);

    filters.replace("configMap", documents.slice(0, 2));
    drop("s0", "again");
    await time.advance(20_000);
    assertEquals(api.patches.length, 1);
    drop("s1", "again");
    await time.advance(12_000);
    assertEquals(api.patches.length, 2);
    const after = (await stored()).sources;
    assert(isObject(after) && isObject(after.s0) && isObject(after.s1));
    assertEquals([Object.keys(after), after.s0.dropped, after.s1.dropped], [["s0", "s1"], 13, 13]);

    // What no status shows yet is written at the end.
    drop("s1", "last");
  } finally {
    stop.abort();
    await settled();
    await running;
  }
  const last = (await stored()).sources;
  assertEquals(isObject(last) && isObject(last.s1) && last.s1.dropped, 14);
});

Deno.test("LiveFilters counts for an object of another namespace all drops, and shows those of that namespace alone", () => {
  const time = new VirtualTime();
  const filters = new LiveFilters({ metrics: createMetrics(), clock: time, ownNamespace: "zen-system" });
  const document = (namespace: string) => ({
    name: `Ingester ${namespace}/x spec.filters`,
    source: "x",
    block: { mode: "Shadow" as const, enabled: false },
    owner: { type: CONFIG_MAPS, namespace, name: "x", uid: "u" },
  });
  filters.replace("ingesters", [document("zen-system"), document("team")]);
  for (const namespace of ["team", "shop"]) {
    filters.filter(
      normalEvent({ source: "x", rule: namespace, resource: { kind: "Pod", name: "p", namespace } }),
    );
  }
  filters.filter(normalEvent({ source: "x", rule: "node", resource: { kind: "Node", name: "n" } }));
  const shares = filters.takeShares().map(({ document: { owner }, share: { hours, drops } }) => [
    owner?.namespace,
    [...hours.values()],
    drops.map(({ rule }) => rule),
  ]);
  assertEquals(shares, [
    ["team", [3], ["team"]],
    ["zen-system", [3], ["node", "shop", "team"]],
  ]);
  assertEquals(filters.takeShares(), []);
});

Deno.test("what a Shadow document would have dropped leaves its status after a day without any", async () => {
  const time = new VirtualTime();
  const api = new ScriptedApi();
  const object = { metadata: { name: "f", namespace: "zen-system" } };
  api.put("observationfilters", object);
  const filters = new LiveFilters({ metrics: createMetrics(), clock: time, ownNamespace: "zen-system" });
  const owner = { type: OBSERVATION_FILTERS, namespace: "zen-system", name: "f", uid: "uid-f" };
  filters.replace("observationFilters", [
    { name: "ObservationFilter zen-system/f", source: "*", block: { enabled: false, mode: "Shadow" }, owner },
  ]);
  const status = createFilterStatus({
    api,
    clock: time,
    sleep: time.sleep,
    filters,
    configMap: { namespace: "zen-system", name: "zen-watcher-filter", key: "filter.json" },
    statusName: "zen-watcher-filter-status",
    isLeader: () => true,
  });
  const lastDay = async () => {
    const { status } = await api.get(OBSERVATION_FILTERS, "f", { namespace: "zen-system" });
    return isObject(status) && isObject(status.wouldDrop) ? status.wouldDrop.lastDay : undefined;
  };
  const stop = new AbortController();
  const running = status.run(stop.signal);
  filters.filter(normalEvent({ rule: "r" }));
  await time.advance(5_000);
  assertEquals(await lastDay(), 1);
  await time.advance(20 * HOUR_MS);
  assertEquals(await lastDay(), 1);
  await time.advance(7 * HOUR_MS);
  assertEquals(await lastDay(), undefined);
  stop.abort();
  await running;
});

Deno.test("a drop shows no part of a secret where a name is cut", () => {
  const token = ["ghp_", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6"].join("");
  for (let before = 1; before < 300; before++) {
    const share = shareOf(false, [`${"x".repeat(before)} ${token}`, NOW]);
    assertEquals(JSON.stringify(apply({}, share)).includes("ghp_a"), false, `after ${before} characters`);
  }
});

Deno.test("a Shadow document's counts start at 0 for each reason that it can have, and each source that it acts on", async () => {
  const metrics = createMetrics();
  const filters = new LiveFilters({ metrics, clock: new VirtualTime(), sources: () => ["falco", "trivy"] });
  filters.replace("observationFilters", [
    { name: "a", source: "falco", block: { mode: "Shadow", minSeverity: "HIGH", excludeEventTypes: ["x"] } },
    { name: "b", source: "*", block: { mode: "Shadow", enabled: false } },
    { name: "c", source: "trivy", block: { excludeKinds: ["Pod"] } },
    { name: "d", source: "no-source", block: { mode: "Shadow", excludeKinds: ["Pod"] } },
  ]);
  const { values } = await metrics.filterDecisions.get();
  assertEquals(
    values.map(({ labels: { source, action, reason }, value }) => [source, action, reason, value]),
    [
      ["falco", "shadow", "min_severity", 0],
      ["falco", "shadow", "exclude_event_types", 0],
      ["falco", "shadow", "disabled", 0],
      ["trivy", "shadow", "disabled", 0],
    ],
  );
});
