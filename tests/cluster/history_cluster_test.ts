/** examples/history: its manifests, its rights and its export, with the permissions and the credentials of its Pod. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { podPermissions } from "../../scripts/support/permissions.ts";
import { EXPORT_FOLDER } from "../../src/cli/read/export_file.ts";
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import { applyObject, one, type Rendered, valueIn } from "../support/chart.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { ensureNamespaces } from "../support/objects.ts";
import { isAllowed } from "../support/rights.ts";
import { OWN_CRDS } from "../support/crds.ts";

const NAMESPACE = "zen-history";
const USER = `system:serviceaccount:${NAMESPACE}:zen-history`;
const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const OBSERVATIONS = 3;

Deno.test("the CronJob's account may get and list findings and nothing else, and its command writes the file of the day", async () => {
  await using cluster = await startEnvtest();
  await cluster.applyCrds(OWN_CRDS);
  const text = await Deno.readTextFile(new URL("../../examples/history/cronjob.yaml", import.meta.url));
  const objects: Rendered[] = parseAllDocuments(text).map((document) => document.toJS());
  for (const object of objects) assertEquals(await applyObject(cluster, object), [], object.kind);
  const template = valueIn(one(objects, "CronJob"), "spec", "jobTemplate", "spec", "template");
  assert(isObject(template));
  // As the Job's controller would create it: the namespace enforces PSS restricted.
  const pod = await cluster.expect("POST", `/api/v1/namespaces/${NAMESPACE}/pods?dryRun=All`, {
    body: { ...template, metadata: { name: "export" } },
  });
  assertEquals(pod.warnings, []);

  const allowed = (verb: string, group: string, resource: string) =>
    isAllowed(cluster, USER, { verb, group, resource });
  await eventually("the rights to count", () => allowed("list", "zen.kube-zen.io", "observations"));
  const kinds: readonly [string, string][] = [
    ...["observations", "observationexceptions", "observationfilters", "ingesters"].map((resource) =>
      ["zen.kube-zen.io", resource] as [string, string]
    ),
    ["", "secrets"],
    ["", "configmaps"],
    ["", "pods"],
  ];
  const may: string[] = [];
  for (const [group, resource] of kinds) {
    for (const verb of ["get", "list", "watch", "create", "update", "patch", "delete"]) {
      if (await allowed(verb, group, resource)) may.push(`${verb} ${resource}`);
    }
  }
  assertEquals(may, [
    "get observations",
    "list observations",
    "get observationexceptions",
    "list observationexceptions",
  ]);

  await ensureNamespaces(cluster, ["shop"]);
  for (let index = 0; index < OBSERVATIONS; index++) {
    await cluster.expect("POST", "/apis/zen.kube-zen.io/v1/namespaces/shop/observations", {
      body: observation(index),
    });
  }
  const account = join(cluster.folder, "account");
  const volume = join(cluster.folder, "volume");
  for (const folder of [account, volume]) await Deno.mkdir(folder);
  const token = await cluster.serviceAccountToken(NAMESPACE, "zen-history");
  for (
    const [name, content] of [["token", token], ["ca.crt", cluster.caPem], ["namespace", NAMESPACE]] as const
  ) {
    await Deno.writeTextFile(join(account, name), content);
  }
  const container = valueIn(template, "spec", "containers", 0);
  assertEquals(valueIn(container, "volumeMounts", 0, "mountPath"), EXPORT_FOLDER);
  const { hostname, port } = new URL(cluster.url);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      ...podPermissions([account]).map((permission) => permission.replace(EXPORT_FOLDER, volume)),
      MAIN,
      ...texts(valueIn(container, "args")).map((word) => word === EXPORT_FOLDER ? volume : word),
    ],
    env: {
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
      SERVICE_ACCOUNT_FOLDER: account,
    },
    stdin: "null",
  }).output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assertEquals(code, 0, said);
  const [file, ...others] = await Array.fromAsync(Deno.readDir(volume));
  assertEquals(others, []);
  assert(file && /^observations-\d{4}-\d{2}-\d{2}\.csv$/.test(file.name), file?.name);
  assertStringIncludes(said, `Wrote ${join(volume, file.name)}`);
  const written = await Deno.readTextFile(join(volume, file.name));
  assertStringIncludes(written, `# ${OBSERVATIONS} records, sha256 `);
});

function observation(index: number): JsonObject {
  return {
    apiVersion: "zen.kube-zen.io/v1",
    kind: "Observation",
    metadata: { name: `one-${index}` },
    spec: {
      source: "trivy",
      category: "security",
      severity: "HIGH",
      eventType: "vulnerability",
      rule: `CVE-${index}`,
    },
  };
}

function texts(value: Json | undefined): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
