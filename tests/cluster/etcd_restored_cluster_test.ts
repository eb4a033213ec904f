/** etcd restored from an older copy under the running program. */
import { assertEquals } from "@std/assert";
import { alert } from "../support/alerts.ts";
import { startTestApp } from "../support/app.ts";
import { at } from "../support/chart.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { installChart, UNFILTERED } from "../support/installed.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { changeReports } from "../support/reports.ts";
import { connectionTo, transportTo } from "./watching.ts";

const NAMESPACE = "zen-system";
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";

Deno.test("nothing that a source reports is missing after etcd was restored under load, without a restart", async () => {
  await using cluster = await startEnvtest();
  await cluster.applyCrds([
    ...["observation", "observationexception", "observationfilter", "ingester", "observationmapping"].map((
      name,
    ) => new URL(`../../crds/${name}.yaml`, import.meta.url)),
    new URL("../../scripts/samples/crds/aquasecurity.github.io_vulnerabilityreports.yaml", import.meta.url),
  ]);
  await ensureNamespaces(cluster, [NAMESPACE, "shop"]);
  const installed = await installChart(cluster, { namespace: NAMESPACE, values: { filters: UNFILTERED } });
  const { WEBHOOK_AUTH_TOKEN_FILE: _, ...env } = installed.env;
  using api = transportTo(cluster);
  // Two reports of three findings are there before the copy; none of them is stored in it.
  await changeReports(api, { namespace: "shop", reports: [0, 2], found: [0, 3] });
  const [data, copy] = [`${cluster.folder}/etcd`, `${cluster.folder}/etcd-copy`];
  const offline = async (change: () => Promise<void>) => {
    await cluster.killApiServer();
    await cluster.killEtcd();
    await change();
    await cluster.startEtcd();
    await cluster.startApiServer();
  };
  await offline(() => copyFolder(data, copy));
  await using app = await startTestApp({ server: connectionTo(cluster, installed), env });
  const names = async () =>
    (await listAll(cluster, OBSERVATIONS)).map(({ metadata }) => String(at(metadata, "name"))).sort();
  for (let index = 0; index < 50; index++) {
    assertEquals((await app.post("/falco/webhook", alert("shop", index))).status, 200);
  }
  await eventually("every finding", async () => (await names()).length === 56);
  const findings = (await names()).filter((name) => name.startsWith("trivy-"));

  await offline(async () => {
    await Deno.remove(data, { recursive: true });
    await Deno.rename(copy, data);
  });
  await eventually("every finding to be stored again", async () => {
    const stored = await names().catch((): string[] => []);
    return findings.every((name) => stored.includes(name));
  }, { timeoutMs: 120_000 });
  await eventually("the program to know that the alerts are gone", async () => {
    const status = await (await fetch(`${app.url}/tools/status`)).json();
    return status.storage.observations === findings.length;
  }, { timeoutMs: 60_000 });
  assertEquals((await app.post("/falco/webhook", alert("shop", 0))).body.created, 1, "its window is closed");
});

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
