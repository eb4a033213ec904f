import { assertEquals, assertRejects } from "@std/assert";
import { apiServer, status } from "../../tests/support/api_server.ts";
import { fixedConnection } from "./auth/connection.ts";
import { type DiscoveryChange, findType, served, type ServedType, watchDiscovery } from "./discovery.ts";
import { createKubeClient } from "./client.ts";

type Group = Record<string, readonly (readonly [plural: string, kind: string])[]>;

/** Answers discovery from groups of versions of types; the first version is preferred; null answers 503. */
function answer(groups: Record<string, Group | null>) {
  return ({ path }: { path: string }): Response => {
    const [root, name = "", version] = path === "/api/v1" ? ["api", "", "v1"] : path.slice(1).split("/");
    const group = groups[name];
    if (group === null) return status(503, { message: "aggregated API is down" });
    if (!group) return status(404);
    const versions = Object.keys(group).map((name) => ({ groupVersion: `${root}/${name}`, version: name }));
    if (version === undefined) {
      return Response.json({ kind: "APIGroup", versions, preferredVersion: versions[0] });
    }
    const types = group[version];
    if (!types) return status(404);
    if (types.length === 0) return status(503);
    return Response.json({
      kind: "APIResourceList",
      resources: types.flatMap(([name, kind]) => [
        { name, kind, singularName: "", namespaced: !name.startsWith("cluster"), verbs: ["list", "watch"] },
        { name: `${name}/status`, kind, namespaced: true, verbs: ["get"] },
      ]),
    });
  };
}

const names = (types: readonly ServedType[]) =>
  types.map(({ group, version, plural }) => `${plural}.${version}.${group}`);

Deno.test("served() tells the types of all versions of the groups that are there", async () => {
  await using server = apiServer(answer({
    "": { v1: [["configmaps", "ConfigMap"]] },
    "wgpolicyk8s.io": {
      v1alpha2: [["policyreports", "PolicyReport"], ["clusterpolicyreports", "ClusterPolicyReport"]],
      v1alpha1: [["policyreports", "PolicyReport"]],
    },
  }));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const { types, failures } = await served(api, ["", "wgpolicyk8s.io", "absent.test", ""]);
  assertEquals(names(types), [
    "configmaps.v1.",
    "policyreports.v1alpha2.wgpolicyk8s.io",
    "clusterpolicyreports.v1alpha2.wgpolicyk8s.io",
    "policyreports.v1alpha1.wgpolicyk8s.io",
  ]);
  assertEquals(types[2], {
    group: "wgpolicyk8s.io",
    version: "v1alpha2",
    plural: "clusterpolicyreports",
    kind: "ClusterPolicyReport",
    singular: "clusterpolicyreport",
    namespaced: false,
    preferred: true,
    verbs: ["list", "watch"],
  });
  assertEquals(failures.size, 0);
});

Deno.test("served() goes on past groups and versions that cannot be read", async () => {
  await using server = apiServer(answer({
    "down.test": null,
    "half.test": { v1: [], v1beta1: [["things", "Thing"]] },
    "up.test": { v1: [["reports", "Report"]] },
  }));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const { types, failures } = await served(api, ["down.test", "half.test", "up.test"]);
  assertEquals(names(types), ["things.v1beta1.half.test", "reports.v1.up.test"]);
  assertEquals([...failures.keys()], ["down.test", "half.test/v1"]);
});

Deno.test("served() stops when aborted", async () => {
  await using server = apiServer(answer({}));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await assertRejects(
    () => served(api, ["a.test"], { signal: AbortSignal.abort(new Error("enough")) }),
    Error,
    "enough",
  );
});

Deno.test("findType() finds by kind, plural or singular, irregular plurals too, in the preferred version", () => {
  const type = (plural: string, kind: string, version: string, preferred: boolean): ServedType => ({
    group: "g.test",
    version,
    plural,
    kind,
    singular: kind.toLowerCase(),
    namespaced: true,
    preferred,
    verbs: [],
  });
  const types = [
    type("policies", "Policy", "v1beta1", false),
    type("policies", "Policy", "v1", true),
    type("indices", "Index", "v1", true),
  ];
  const found = (kind: string, version?: string) =>
    findType(types, { group: "g.test", kind, ...(version ? { version } : {}) });
  assertEquals(found("Policy"), types[1]);
  assertEquals(found("policies", "v1beta1"), types[0]);
  assertEquals(found("index")?.plural, "indices");
  assertEquals(found("Policy", "v2"), undefined);
  assertEquals(findType(types, { group: "other.test", kind: "Policy" }), undefined);
});

Deno.test("watchDiscovery() reports what comes and goes, and keeps what it cannot read", async () => {
  const groups: Record<string, Group | null> = { "a.test": { v1: [["as", "A"]] } };
  await using server = apiServer((seen) => answer(groups)(seen));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  const changes: Pick<DiscoveryChange, "added" | "removed">[] = [];
  const waits: number[] = [];
  const steps = [
    () => groups["b.test"] = { v1: [["bs", "B"]] },
    () => groups["a.test"] = null,
    () => groups["a.test"] = { v1: [] },
    () => delete groups["a.test"],
    () => stop.abort(),
  ];
  const discovery = watchDiscovery(api, {
    groups: () => ["a.test", "b.test"],
    onChange: (change) => changes.push(change),
    random: () => 1,
    sleep(ms) {
      waits.push(ms);
      steps.shift()?.();
      return Promise.resolve();
    },
  });
  await discovery.run(stop.signal);
  assertEquals(changes.map(({ added, removed }) => [names(added), names(removed)]), [
    [["as.v1.a.test"], []],
    [["bs.v1.b.test"], []],
    [[], ["as.v1.a.test"]],
  ]);
  assertEquals(waits, [30_000, 30_000, 250, 500, 30_000]);
  assertEquals(names(discovery.types()), ["bs.v1.b.test"]);
});

Deno.test("watchDiscovery() reports the first poll though nothing is served, and polls at once on refresh", async () => {
  const groups: Record<string, Group> = {};
  const wanted = ["a.test"];
  await using server = apiServer((seen) => answer(groups)(seen));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const stop = new AbortController();
  const added: string[][] = [];
  const discovery = watchDiscovery(api, {
    groups: () => wanted,
    intervalMs: 3_600_000,
    onChange(change) {
      added.push(names(change.added));
      if (added.length === 2) return stop.abort();
      groups["late.test"] = { v1: [["reports", "Report"]] };
      wanted.push("late.test");
      discovery.refresh();
    },
  });
  await discovery.run(stop.signal);
  assertEquals(added, [[], ["reports.v1.late.test"]]);
});

Deno.test("served() takes all groups from one answer where the API server gives it, the core group beside it", async () => {
  const resource = (plural: string, kind: string, scope: string) => ({
    resource: plural,
    responseKind: { group: "", version: "", kind },
    scope,
    singularResource: "",
    verbs: ["list", "watch"],
    subresources: [{ subresource: "status", verbs: ["get"] }],
  });
  const aggregated = {
    kind: "APIGroupDiscoveryList",
    items: [
      {
        metadata: { name: "wgpolicyk8s.io" },
        versions: [
          { version: "v1beta1", resources: [resource("policyreports", "PolicyReport", "Namespaced")] },
          {
            version: "v1alpha2",
            resources: [resource("clusterpolicyreports", "ClusterPolicyReport", "Cluster")],
          },
        ],
      },
      { metadata: { name: "down.test" }, versions: [{ version: "v1", freshness: "Stale" }] },
      {
        metadata: { name: "apps" },
        versions: [{ version: "v1", resources: [resource("x", "X", "Cluster")] }],
      },
    ],
  };
  const asked: string[] = [];
  await using server = apiServer(({ path }) => {
    asked.push(path);
    if (path === "/apis") return Response.json(aggregated);
    return answer({ "": { v1: [["configmaps", "ConfigMap"]] } })({ path });
  });
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const { types, failures } = await served(api, ["wgpolicyk8s.io", "down.test", "absent.test", ""]);
  assertEquals(names(types), [
    "configmaps.v1.",
    "policyreports.v1beta1.wgpolicyk8s.io",
    "clusterpolicyreports.v1alpha2.wgpolicyk8s.io",
  ]);
  assertEquals(types.map(({ namespaced, preferred, singular }) => [namespaced, preferred, singular]), [
    [true, true, "configmap"],
    [true, true, "policyreport"],
    [false, false, "clusterpolicyreport"],
  ]);
  assertEquals([...failures.keys()], ["down.test/v1"]);
  assertEquals(asked, ["/apis", "/api/v1"]);
});
