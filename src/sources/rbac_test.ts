import { assert, assertEquals } from "@std/assert";
import { readSettings } from "../settings.ts";
import { SOURCES } from "./registry.ts";
import { accessesOf, type Grant, leaseName, placedRules, rbacRules } from "./rbac.ts";

function grantsFor(env: Readonly<Record<string, string>> = {}): Grant[] {
  return rbacRules(readSettings((name) => env[name]));
}

function resourcesIn(grants: readonly Grant[], namespace: string): string[] {
  const grant = grants.find((each) => each.namespace === namespace);
  return (grant?.rules ?? []).flatMap(({ resources }) => resources);
}

Deno.test("rbacRules() never grants a wildcard, and no Secret or ConfigMap for the whole cluster", () => {
  for (const env of [{}, { WATCH_NAMESPACE: "a,b" }]) {
    const grants = grantsFor(env);
    for (const { rules } of grants) {
      for (const { apiGroups, resources, verbs } of rules) {
        for (const word of [...apiGroups, ...resources, ...verbs]) assert(!word.includes("*"), word);
      }
    }
    const cluster = resourcesIn(grants, "");
    for (const resource of ["secrets", "configmaps", "events", "leases"]) {
      assert(!cluster.includes(resource), resource);
    }
  }
});

Deno.test("rbacRules() reads every resource of every built-in source", () => {
  const grants = grantsFor();
  for (const { name, feeds } of SOURCES) {
    const rules = grants.flatMap((grant) => grant.rules.filter(({ by }) => by === `source ${name}`));
    const wanted = feeds.flatMap((feed) =>
      feed.type === "watch"
        ? feed.resources.map(({ plural }) => plural)
        : feed.type === "configmap"
        ? ["configmaps"]
        : []
    );
    assertEquals(new Set(rules.flatMap(({ resources }) => resources)), new Set(wanted), name);
  }
});

Deno.test("rbacRules() follows WATCH_NAMESPACE: reports by namespace, nothing of the cluster's, Observations everywhere", () => {
  const grants = grantsFor({ WATCH_NAMESPACE: "a,b" });
  const cluster = resourcesIn(grants, "");
  assert(cluster.includes("observations"));
  assert(!cluster.includes("vulnerabilityreports") && !cluster.includes("clusterpolicyreports"));
  for (const namespace of ["a", "b"]) {
    assert(resourcesIn(grants, namespace).includes("vulnerabilityreports"));
    assert(!resourcesIn(grants, namespace).includes("clustervulnerabilityreports"));
  }
  const both = grantsFor({ WATCH_NAMESPACE: "a", WATCH_CLUSTER_SCOPED: "true" });
  assert(resourcesIn(both, "").includes("clusterpolicyreports"));
});

Deno.test("rbacRules() places what settings move: own, filter, kube-bench and Checkov namespaces, instance, tenants", () => {
  const grants = grantsFor({
    POD_NAMESPACE: "own",
    FILTER_CONFIGMAP_NAMESPACE: "filters",
    FILTER_CONFIGMAP_NAME: "mine",
    KUBE_BENCH_NAMESPACE: "bench",
    CHECKOV_NAMESPACE: "iac",
    INSTANCE: "east",
  });
  const places = new Set(grants.map(({ namespace }) => namespace));
  assert(places.isSupersetOf(new Set(["", "own", "filters", "bench", "iac"])));
  assert(!places.has("kube-bench") && !places.has("checkov"));
  const named = grants.flatMap(({ rules }) => rules.flatMap(({ resourceNames }) => resourceNames ?? []));
  assertEquals(named.toSorted(), [
    "mine",
    "zen-watcher-filter-status-east",
    "zen-watcher-leader-election-east",
  ]);
  assert(resourcesIn(grants, "").includes("observationfilters/status"));
  const sharded = grantsFor({ POD_NAMESPACE: "own", WATCH_NAMESPACE: "a" });
  for (const namespace of ["own", "a"]) {
    assert(resourcesIn(sharded, namespace).includes("observationfilters/status"), namespace);
  }
});

Deno.test("rbacRules() names no rule twice where two places are one namespace", () => {
  for (const { rules } of grantsFor()) {
    const texts = rules.map(({ by: _by, ...rule }) => JSON.stringify(rule));
    assertEquals(texts.length, new Set(texts).size);
  }
});

Deno.test("accessesOf() asks for each verb on each resource, and for subresources as such", () => {
  const accesses = accessesOf(grantsFor());
  const count = grantsFor().flatMap(({ rules }) => rules)
    .reduce((sum, { resources, verbs }) => sum + resources.length * verbs.length, 0);
  assertEquals(accesses.length, count);
  assert(
    accesses.some(({ resource, subresource, verb }) =>
      resource === "observations" && subresource === "status" && verb === "patch"
    ),
  );
  assert(!accesses.some(({ resource }) => resource.includes("/")));
});

Deno.test("leaseName() names the instance where it is not the default one", () => {
  assertEquals(leaseName("default"), "zen-watcher-leader-election");
  assertEquals(leaseName("east"), "zen-watcher-leader-election-east");
});

Deno.test("placedRules() gives a reason for each rule", () => {
  for (const { by, verbs } of placedRules()) assert(by !== "" && verbs.length > 0);
});
