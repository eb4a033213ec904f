/** Backup and restore, on the embedded API server. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { backup } from "../scripts/backup.ts";
import { restore } from "../scripts/restore.ts";
import { createNamespaces, createOrReplace, installCrds } from "../scripts/support/feed.ts";
import { OBSERVATION_FILTERS } from "../src/filters/observation_filters.ts";
import { isObject, type JsonObject } from "../src/model/json.ts";
import { startTestCluster, type TestCluster } from "./support/test_cluster.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient, type KubeClient } from "../src/kube/client.ts";
import { CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES } from "../src/kube/core_resources.ts";
import { OBSERVATIONS } from "../src/store/mod.ts";
import { startTestApp } from "./support/app.ts";

const FILTERS = { namespace: "zen-system", name: "zen-watcher-filter" };
const ALERT = {
  rule: "Terminal shell in container",
  priority: "Critical",
  output: "A shell was spawned",
  output_fields: { "k8s.ns.name": "shop", "k8s.pod.name": "web-1" },
};

interface World extends AsyncDisposable {
  readonly server: TestCluster;
  readonly api: KubeClient;
}

async function world(namespaces: readonly string[]): Promise<World> {
  const server = startTestCluster();
  const api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  for (const name of namespaces) {
    await api.create(NAMESPACES, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  }
  return {
    server,
    api,
    async [Symbol.asyncDispose]() {
      api.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A cluster that has seen the same alert three times, another once, and has filters of both kinds. */
async function livedIn(): Promise<World> {
  const lived = await world([]);
  const { server, api } = lived;
  await createNamespaces(api, ["zen-system", "shop"]);
  await createOrReplace(api, CONFIG_MAPS, {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: FILTERS,
    data: { "filter.json": '{"sources": {"falco": {"excludeRules": ["Noise"]}}}' },
  });
  await createOrReplace(api, OBSERVATION_FILTERS, {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationFilter",
    metadata: { name: "no-low", namespace: "zen-system" },
    spec: { targetSource: "falco", excludeSeverity: ["LOW"] },
  });
  // Stopping it writes the counts.
  await using app = await startTestApp({ server: server.url, env: { DEDUP_WINDOW_SECONDS: "4000000" } });
  for (const body of [ALERT, ALERT, ALERT, { ...ALERT, rule: "Write below etc" }]) {
    assertEquals((await app.post("/falco/webhook", body)).status, 200);
  }
  return lived;
}

function stored({ server }: World): JsonObject[] {
  return server.objects("observations.zen.kube-zen.io");
}

/** Objects without what only one API server knows of them. */
function lasting(objects: readonly JsonObject[]): unknown[] {
  return objects.map(({ metadata, ...rest }) => {
    const { uid: _u, resourceVersion: _r, creationTimestamp: _c, generation: _g, ...kept } =
      isObject(metadata) ? metadata : {};
    return { metadata: kept, ...rest };
  });
}

Deno.test("a restore brings back Observations with their status, and zen-watcher dedupes into them", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/backup.ndjson.gz`;
    await using before = await livedIn();
    assertEquals(await backup(path, { api: before.api, filters: FILTERS }), {
      ConfigMap: 1,
      ObservationFilter: 1,
      Observation: 2,
    });

    await using after = await world(["zen-system"]);
    assertEquals(await restore(path, { api: after.api, createNamespaces: true }), {
      created: 4,
      existing: 0,
      foreign: 0,
      failed: 0,
    });
    assertEquals(lasting(stored(after)), lasting(stored(before)));
    const filters = after.server.objects("observationfilters.zen.kube-zen.io");
    assertEquals(filters.map(({ spec }) => spec), [{ targetSource: "falco", excludeSeverity: ["LOW"] }]);

    await using app = await startTestApp({
      server: after.server.url,
      env: { DEDUP_WINDOW_SECONDS: "4000000" },
    });
    assertEquals((await app.post("/falco/webhook", ALERT)).body.deduped, 1);
    assertEquals((await app.post("/falco/webhook", { ...ALERT, rule: "Noise" })).body.filtered, 1);
    assertEquals(stored(after).length, 2);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a restore does not change existing objects, and completes an interrupted restore", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/list.json`;
    await using before = await livedIn();
    const { items } = await before.api.list(OBSERVATIONS);
    const head = { apiVersion: "zen.kube-zen.io/v1", kind: "Observation" };
    const foreign = { apiVersion: "v1", kind: "Secret", metadata: { name: "other", namespace: "shop" } };
    // As `kubectl get -o json` prints it.
    const list = {
      apiVersion: "v1",
      kind: "List",
      items: [...items.map((item) => ({ ...item, ...head })), foreign],
    };
    await Deno.writeTextFile(path, JSON.stringify(list, undefined, 4));

    await using after = await world(["zen-system", "shop"]);
    const [first, second] = items;
    assert(first && second);
    const counted = first.status && isObject(first.status) && first.status.occurrences === 3 ? first : second;
    const other = counted === first ? second : first;
    const bare = ({ metadata, spec }: typeof first) => ({ ...head, metadata: born(metadata), spec });
    const born = ({ name, namespace, labels, annotations }: typeof first.metadata) => ({
      ...(name !== undefined && { name }),
      ...(namespace !== undefined && { namespace }),
      ...(labels && { labels }),
      ...(annotations && { annotations }),
    });
    // The first came through, its status did not; the second is another act, made since.
    await after.api.create(OBSERVATIONS, bare(counted), { namespace: "shop" });
    const made = bare(other);
    const annotations = { ...made.metadata.annotations, "zen.kube-zen.io/event-id": "another" };
    await after.api.create(OBSERVATIONS, { ...made, metadata: { ...made.metadata, annotations } }, {
      namespace: "shop",
    });
    const expected = { created: 0, existing: 2, foreign: 1, failed: 0 };
    assertEquals(await restore(path, { api: after.api }), expected);
    const now = await after.api.get(OBSERVATIONS, counted.metadata.name ?? "", { namespace: "shop" });
    assertEquals(now.status, counted.status);
    const untouched = await after.api.get(OBSERVATIONS, other.metadata.name ?? "", { namespace: "shop" });
    assertEquals(isObject(untouched.status) && untouched.status.lastProcessedAt, undefined);

    const revision = after.server.revision;
    assertEquals(await restore(path, { api: after.api }), expected);
    assertEquals(after.server.revision, revision);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a restore reports missing namespaces, an invalid file, and a server that refuses everything", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/backup.ndjson`;
    await using before = await livedIn();
    await backup(path, { api: before.api, filters: FILTERS });
    await using after = await world(["zen-system"]);
    const failures: string[] = [];
    const { failed } = await restore(path, {
      api: after.api,
      onFailure: (what, error) => failures.push(`${what}: ${error}`),
    });
    assertEquals(failed, 2);
    assertStringIncludes(failures.join("\n"), "Observation shop/falco-");
    assertStringIncludes(failures.join("\n"), 'namespaces "shop" not found');

    await Deno.writeTextFile(`${folder}/garbled.ndjson`, '{"metadata":{}}\n{"metadata":\n');
    await assertRejects(
      () => restore(`${folder}/garbled.ndjson`, { api: after.api }),
      Error,
      "garbled.ndjson:2",
    );
    const absent = `${folder}/absent.ndjson`;
    await assertRejects(
      () => restore(absent, { api: after.api }),
      Error,
      `Cannot read backup "${absent}": No such file`,
    );

    const line = (await Deno.readTextFile(path)).trimEnd().split("\n").at(-1) ?? "";
    await Deno.writeTextFile(path, `${line}\n`.repeat(200));
    await assertRejects(() => restore(path, { api: after.api }), Error, "100 objects failed");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a backup that fails leaves no file that looks like one", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using before = await livedIn();
    await before.api.delete(CUSTOM_RESOURCE_DEFINITIONS, "observations.zen.kube-zen.io");
    const { api } = before;
    await assertRejects(() => backup(`${folder}/backup.ndjson.gz`, { api, filters: FILTERS }), Error, "404");
    assertEquals(await Array.fromAsync(Deno.readDir(folder)), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
