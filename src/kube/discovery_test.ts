import { assertEquals, assertRejects } from "@std/assert";
import { apiServer, status } from "../../tests/support/api_server.ts";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import { ApiError, fixedConnection, type KubeApi, NetworkError } from "./api.ts";
import { createDiscovery, type GroupVersion, readServed, type ServedByName } from "./discovery.ts";
import { createKubeClient } from "./client.ts";

/** What a group's version serves; a number is the status that it is answered with. */
type Resources = readonly (readonly [plural: string, kind: string])[] | number;
type World = Record<string, Resources>;

const REPORTS: Resources = [["policyreports", "PolicyReport"], [
  "clusterpolicyreports",
  "ClusterPolicyReport",
]];

/** Answers `/apis/<group>/<version>` and `/api/v1`. */
function answer(world: World) {
  return ({ path }: { path: string }): Response => {
    const found = path === "/api/v1" ? world["v1"] : world[path.replace("/apis/", "")];
    if (found === undefined) return status(404);
    if (typeof found === "number") return status(found);
    return Response.json({
      kind: "APIResourceList",
      resources: found.flatMap(([name, kind]) => [
        { name, kind, namespaced: !name.startsWith("cluster"), verbs: ["get", "list", "watch"] },
        { name: `${name}/status`, kind, namespaced: true, verbs: ["get"] },
        { name: `${name}reviews`, kind, namespaced: true, verbs: ["create"] },
      ]),
    });
  };
}

/** The aggregated form (Kubernetes 1.27); a version without resources is stale. */
function aggregated(world: World): Response {
  const groups = Map.groupBy(
    Object.keys(world).filter((name) => name.includes("/")),
    (name) => name.split("/")[0],
  );
  return Response.json({
    kind: "APIGroupDiscoveryList",
    items: [...groups].map(([group, names]) => ({
      metadata: { name: group },
      versions: names.map((name) => {
        const found = world[name];
        const version = name.split("/")[1];
        if (!Array.isArray(found)) return { version, freshness: "Stale" };
        const resources = found.map(([resource, kind]) => ({
          resource,
          responseKind: { group: "", version: "", kind },
          scope: resource.startsWith("cluster") ? "Cluster" : "Namespaced",
          verbs: ["get", "list", "watch"],
          subresources: [{ subresource: "status", verbs: ["get"] }],
        }));
        return { version, resources };
      }),
    })),
  });
}

function groupVersion(name: string): GroupVersion {
  const [group = "", version] = name.split("/");
  return version === undefined ? { group: "", version: group } : { group, version };
}

/** `served policyreports PolicyReport, …` by name. */
function shown(served: ServedByName): Record<string, string> {
  return Object.fromEntries([...served].map(([name, found]) => {
    if (found.state !== "served") return [name, found.state];
    const resources = found.resources.map(({ plural, kind, namespaced }) =>
      `${plural} ${kind}${namespaced ? "" : " cluster"}`
    );
    return [name, `served ${resources.join(", ")}`];
  }));
}

const WANTED = ["v1", "wgpolicyk8s.io/v1alpha2", "wgpolicyk8s.io/v1", "absent.test/v1", "down.test/v1"]
  .map(groupVersion);
const WORLD: World = {
  "v1": [["configmaps", "ConfigMap"]],
  "wgpolicyk8s.io/v1alpha2": REPORTS,
  "down.test/v1": 503,
  "unasked.test/v1": REPORTS,
};
const FOUND = {
  "v1": "served configmaps ConfigMap",
  "wgpolicyk8s.io/v1alpha2":
    "served policyreports PolicyReport, clusterpolicyreports ClusterPolicyReport cluster",
  "wgpolicyk8s.io/v1": "absent",
  "absent.test/v1": "absent",
  "down.test/v1": "unknown",
};

Deno.test("readServed() reads group by group without aggregated discovery, and continues after failures", async () => {
  await using server = apiServer(answer(WORLD));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  assertEquals(shown(await readServed(api, WANTED)), FOUND);
});

Deno.test("readServed() reads all groups in one request with aggregated discovery, and the core group in another", async () => {
  const asked: string[] = [];
  await using server = apiServer(({ path }) => {
    asked.push(path);
    return path === "/apis" ? aggregated(WORLD) : answer(WORLD)({ path });
  });
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const known = new Map([["wgpolicyk8s.io/v1", ABSENT], ["absent.test/v1", ABSENT]]);
  assertEquals(shown(await readServed(api, WANTED, { known })), FOUND);
  assertEquals(asked, ["/apis", "/api/v1"]);
});

const ABSENT = { state: "absent" } as const;

Deno.test("readServed() requests a group that an aggregated answer lacks, since a starting API server may not know it yet", async () => {
  await using server = apiServer(({ path }) => path === "/apis" ? aggregated({}) : answer(WORLD)({ path }));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  assertEquals(shown(await readServed(api, WANTED)), FOUND);
});

Deno.test("readServed() sends one request, not one for each group, if the API server is unreachable", async () => {
  const asked: string[] = [];
  const api = {
    getPath(path: string) {
      asked.push(path);
      return Promise.reject(new NetworkError("the connection was refused"));
    },
  } as unknown as KubeApi;
  const wanted = ["a.test/v1", "b.test/v1"].map(groupVersion);
  assertEquals(shown(await readServed(api, wanted)), { "a.test/v1": "unknown", "b.test/v1": "unknown" });
  assertEquals(asked, ["/apis"]);
});

Deno.test("readServed() stops when aborted", async () => {
  await using server = apiServer(answer({}));
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const signal = AbortSignal.abort(new Error("enough"));
  await assertRejects(() => readServed(api, WANTED, { signal }), Error, "enough");
});

/** A poll in virtual time of a world that the test changes. */
async function polling(
  world: World,
  test: (it: {
    time: VirtualTime;
    wanted: string[];
    changes: Record<string, string>[];
    requests: string[];
    now(): Record<string, string>;
    refresh(): void;
  }) => Promise<void>,
): Promise<void> {
  const time = new VirtualTime();
  const wanted = Object.keys(world);
  const requests: string[] = [];
  const respond = answer(world);
  const api = {
    async getPath(path: string) {
      requests.push(path);
      const response = respond({ path });
      if (!response.ok) throw new ApiError(`get "${path}"`, response.status, {});
      return await response.json();
    },
  } as unknown as KubeApi;
  const discovery = createDiscovery(api, {
    wanted: () => wanted.map(groupVersion),
    clock: time,
    sleep: time.sleep,
    random: () => 1,
  });
  const now = () => shown(new Map(wanted.map((name) => [name, discovery.served(groupVersion(name))])));
  const changes: Record<string, string>[] = [];
  using _subscription = discovery.subscribe(() => changes.push(now()));
  const stop = new AbortController();
  const running = discovery.run(stop.signal);
  try {
    await test({ time, wanted, changes, requests, now, refresh: () => discovery.refresh() });
  } finally {
    stop.abort();
    await running;
  }
}

Deno.test("discovery reports each change once, and keeps the last result while it cannot be read", async () => {
  const world: World = { "a.test/v1": [["as", "A"]], "b.test/v1": 404 };
  await polling(world, async ({ time, changes, now }) => {
    await settled();
    const first = { "a.test/v1": "served as A", "b.test/v1": "absent" };
    assertEquals(changes.splice(0), [first]);
    await time.advance(60_000);
    assertEquals(changes, []);
    world["b.test/v1"] = [["bs", "B"]];
    await time.advance(30_000);
    assertEquals(changes.splice(0), [{ ...first, "b.test/v1": "served bs B" }]);
    world["a.test/v1"] = 503;
    await time.advance(60_000);
    assertEquals([changes, now()["a.test/v1"]], [[], "served as A"]);
    world["a.test/v1"] = 404;
    await time.advance(60_000);
    assertEquals(changes.splice(0), [{ "a.test/v1": "absent", "b.test/v1": "served bs B" }]);
  });
});

Deno.test("discovery reports a group that could never be read as unknown, not absent, and soon retries", async () => {
  const world: World = { "a.test/v1": 503 };
  await polling(world, async ({ time, changes, requests }) => {
    await settled();
    assertEquals(changes.splice(0), [{ "a.test/v1": "unknown" }]);
    world["a.test/v1"] = [["as", "A"]];
    await time.advance(5_000);
    assertEquals(changes, [{ "a.test/v1": "served as A" }]);
    const polls = requests.length;
    await time.advance(25_000);
    assertEquals(requests.length, polls, "after a complete poll the next one is 30 s later");
  });
});

Deno.test("refresh() polls at once, and a thousand calls cost one poll a second", async () => {
  const world: World = { "a.test/v1": [["as", "A"]] };
  await polling(world, async ({ time, wanted, changes, requests, now, refresh }) => {
    await time.advance(10_000);
    world["late.test/v1"] = [["lates", "Late"]];
    wanted.push("late.test/v1");
    assertEquals(now()["late.test/v1"], "pending");
    refresh();
    await settled();
    assertEquals(changes.at(-1), { "a.test/v1": "served as A", "late.test/v1": "served lates Late" });
    requests.length = 0;
    for (let call = 0; call < 1_000; call++) {
      refresh();
      await time.advance(5);
    }
    const polls = requests.filter((path) => path === "/apis").length;
    assertEquals(polls >= 4 && polls <= 6, true, `${polls} polls in five seconds`);
  });
});
