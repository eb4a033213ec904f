/**
 * Every example as its page says, on a real API server: the chart with the values in the head of the manifest and nothing
 * else, the manifest, and what the tool writes or posts. Its Observations are stored.
 */
import { assert, assertEquals } from "@std/assert";
import { createHmac } from "node:crypto";
import { parse } from "yaml";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import type { RealCluster } from "../support/cluster.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { loadExamples } from "../support/examples.ts";
import { installChart, UNFILTERED } from "../support/installed.ts";
import { loadDocuments, loadObjects } from "../support/load_fixture.ts";
import { applyObjects, ensureNamespaces, listAll } from "../support/objects.ts";
import { OWN_CRDS } from "../support/crds.ts";

const NAMESPACE = "zen-system";
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const TOKEN = "token-of-a-webhook";

/** A case of tests/fixtures/sources/mapped-<example>, and how it gets to the program. */
interface Example {
  readonly name: string;
  readonly input: string;
  readonly deliver: (world: World, input: string) => Promise<void>;
  /** Another example that reads the same objects. */
  readonly insteadOf?: string;
}

interface World {
  readonly cluster: RealCluster;
  readonly controller: Controller;
}

const applied = async ({ cluster }: World, input: string) => {
  const objects = await loadObjects(input);
  await applyObjects(cluster, objects);
};

const EXAMPLES: readonly Example[] = [
  { name: "cert-manager", input: "renewal-fails/input.yaml", deliver: withStatus },
  { name: "gatekeeper", input: "documented-audit/input.yaml", deliver: applied },
  { name: "kubescape", input: "daemonset/input.json", deliver: applied },
  { name: "kubernetes-events", input: "list/input.json", deliver: applied },
  {
    name: "kubernetes-events-k8s-io",
    input: "list/input.json",
    deliver: applied,
    insteadOf: "kubernetes-events",
  },
  {
    name: "polaris",
    input: "one-failure/input.json",
    async deliver({ cluster }, input) {
      const [report = null] = await loadDocuments(input);
      const metadata = { name: "polaris", namespace: NAMESPACE, labels: { app: "polaris" } };
      const data = { "results.json": JSON.stringify(report) };
      await applyObjects(cluster, [{ apiVersion: "v1", kind: "ConfigMap", metadata, data }]);
    },
  },
  {
    name: "alertmanager",
    input: "firing-pods/input.json",
    deliver: (world, input) =>
      posted(world, {
        path: "/ingest/alertmanager",
        input,
        sign: () => ({ authorization: `Bearer ${TOKEN}` }),
      }),
  },
  {
    name: "github-dependabot",
    input: "created/input.json",
    deliver: (world, input) =>
      posted(world, {
        path: "/ingest/github",
        input,
        sign: (body) => ({
          "x-hub-signature-256": `sha256=${createHmac("sha256", TOKEN).update(body).digest("hex")}`,
        }),
      }),
  },
];

/** The Secrets of `kubectl create secret` in the heads. */
const SECRETS: Readonly<Record<string, string>> = {
  alertmanager: "alertmanager-webhook",
  "github-dependabot": "github-webhook",
};

Deno.test("every example is installed as its page says, with the chart's rights, and stores what its tool reports", async (t) => {
  assertEquals(EXAMPLES.map(({ name }) => `${name}.yaml`).sort(), await manifests());
  await using cluster = await startEnvtest();
  await cluster.applyCrds([
    ...OWN_CRDS,
    new URL("../fixtures/foreign-crds/cert-manager.io_certificates.yaml", import.meta.url),
  ]);
  await applyObjects(cluster, [
    openCrd({
      group: "constraints.gatekeeper.sh",
      plural: "k8srequiredlabels",
      kind: "K8sRequiredLabels",
      scope: "Cluster",
    }),
    openCrd({
      group: "spdx.softwarecomposition.kubescape.io",
      plural: "workloadconfigurationscans",
      kind: "WorkloadConfigurationScan",
      scope: "Namespaced",
    }),
  ]);
  await ensureNamespaces(cluster, [NAMESPACE]);
  const heads = await Promise.all(EXAMPLES.map(({ name }) => valuesInHead(name)));
  const { token, env } = await installChart(cluster, { namespace: NAMESPACE, values: merged(heads) });
  const kubeconfig = `${cluster.folder}/controller.kubeconfig`;
  await Deno.writeTextFile(kubeconfig, cluster.kubeconfig({ as: { token } }), { mode: 0o600 });
  await using controller = await startController({
    kubeconfig,
    env: { ...env, WATCHER_PORT: "0", METRICS_PORT: "0", DISCOVERY_INTERVAL: "2s" },
  });

  for (const example of EXAMPLES) {
    await t.step(example.name, async () => {
      const folder = `sources/mapped-${example.name}`;
      const [manifest] = await loadExamples(`${example.name}.yaml`);
      assert(manifest);
      const secret = SECRETS[example.name];
      if (secret !== undefined) await applyObjects(cluster, [secretOf(secret)]);
      if (example.insteadOf !== undefined) await remove(cluster, example.insteadOf);
      await applyObjects(cluster, [manifest as unknown as JsonObject]);
      await eventually(`${example.name} in force`, async () => {
        const { body } = await cluster.expect("GET", pathOf(manifest.kind, example.name));
        const said = JSON.stringify(body.status ?? {});
        if (!said.includes('"InForce"')) throw new Error(said);
        return true;
      }, { timeoutMs: 90_000 });
      await example.deliver({ cluster, controller }, `${folder}/${example.input}`);
      const wanted = await fingerprintsOf(`${folder}/${example.input}`);
      assert(wanted.size > 0);
      await eventually(`the Observations of ${example.name}`, async () => {
        const stored = new Set((await listAll(cluster, OBSERVATIONS)).map(fingerprintOf));
        const missing = [...wanted].filter((fingerprint) => !stored.has(fingerprint));
        if (missing.length > 0) throw new Error(`${missing.length} of ${wanted.size} are missing`);
        return true;
      }, { timeoutMs: 90_000 });
    });
  }
});

async function manifests(): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(new URL("../../examples/", import.meta.url))) {
    if (name.endsWith(".yaml")) names.push(name);
  }
  return names.sort();
}

/** What stands below "Helm value" in the head of a manifest, until a line that is not indented. */
async function valuesInHead(name: string): Promise<JsonObject> {
  const text = await Deno.readTextFile(new URL(`../../examples/${name}.yaml`, import.meta.url));
  const lines = text.split("\n").filter((line) => line.startsWith("#"));
  const start = lines.findIndex((line) => line.startsWith("# Helm value"));
  if (start < 0) throw new Error(`Cannot install "${name}": its head names no Helm value`);
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => !line.startsWith("#   "));
  const values = parse(rest.slice(0, end < 0 ? rest.length : end).map((line) => line.slice(4)).join("\n"));
  if (!isObject(values)) throw new Error(`Cannot install "${name}": its Helm value is no object`);
  return values;
}

/** The values of all heads in one installation. */
function merged(heads: readonly JsonObject[]): JsonObject {
  const rules = heads.flatMap(({ extraSourceRules }) =>
    Array.isArray(extraSourceRules) ? extraSourceRules : []
  );
  const secrets = heads.flatMap(({ webhooks }) =>
    isObject(webhooks) && Array.isArray(webhooks.ingesterSecrets) ? webhooks.ingesterSecrets : []
  );
  // No example takes the chart's own token, which only a Pod can mount.
  const webhooks = { auth: { mode: "none" }, ingesterSecrets: secrets };
  return { filters: UNFILTERED, extraSourceRules: rules, webhooks };
}

interface Kind {
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
  readonly scope: "Cluster" | "Namespaced";
}

/** A CRD that takes any object of the kind: the tool's own is made at run time, or served by an API server of its own. */
function openCrd({ group, plural, kind, scope }: Kind): JsonObject {
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope,
      names: { plural, kind, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [{ name: "v1beta1", served: true, storage: true, schema }],
    },
  };
}

function secretOf(name: string): JsonObject {
  const metadata = { name, namespace: NAMESPACE, labels: { "zen.kube-zen.io/webhook-auth": "true" } };
  return { apiVersion: "v1", kind: "Secret", metadata, data: { token: btoa(TOKEN) } };
}

function pathOf(kind: string | undefined, name: string): string {
  const plural = kind === "ObservationMapping" ? "observationmappings" : "ingesters";
  return `/apis/zen.kube-zen.io/v1alpha1/namespaces/${NAMESPACE}/${plural}/${name}`;
}

async function remove(cluster: RealCluster, name: string): Promise<void> {
  await cluster.expect("DELETE", pathOf("Ingester", name));
}

/** Certificates have a status subresource, which a tool writes by itself. */
async function withStatus({ cluster }: World, input: string): Promise<void> {
  const objects = await loadObjects(input);
  await applyObjects(cluster, objects);
  for (const { metadata, status } of objects) {
    if (!isObject(metadata)) continue;
    const path =
      `/apis/cert-manager.io/v1/namespaces/${metadata.namespace}/certificates/${metadata.name}/status`;
    await cluster.expect("PATCH", path, {
      body: { status: status ?? {} },
      contentType: "application/merge-patch+json",
    });
  }
}

interface Request {
  readonly path: string;
  readonly input: string;
  readonly sign: (body: string) => Record<string, string>;
}

async function posted({ controller }: World, { path, input, sign }: Request): Promise<void> {
  for (const document of await loadDocuments(input)) {
    const body = JSON.stringify(document);
    await eventually(`${path} to take what is posted`, async () => {
      const headers = { "content-type": "application/json", ...sign(body) };
      const response = await fetch(controller.url + path, { method: "POST", body, headers });
      const text = await response.text();
      if (response.status !== 200) throw new Error(`${response.status} ${text}`);
      return true;
    }, { timeoutMs: 90_000 });
  }
}

async function fingerprintsOf(input: string): Promise<ReadonlySet<string>> {
  const url = new URL(`../fixtures/${input.slice(0, input.lastIndexOf("/"))}/expected.json`, import.meta.url);
  const expected = JSON.parse(await Deno.readTextFile(url)) as { observations: JsonObject[] };
  return new Set(expected.observations.map(fingerprintOf));
}

function fingerprintOf({ metadata }: JsonObject): string {
  const annotations = isObject(metadata) && isObject(metadata.annotations) ? metadata.annotations : {};
  return String(annotations["zen.kube-zen.io/fingerprint"]);
}
