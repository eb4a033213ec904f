/** etcd restored from a snapshot under the running program, by the commands of docs/day-two.md. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname } from "node:path";
import { ensureBinaries } from "../../scripts/envtest/build.ts";
import { alert } from "../support/alerts.ts";
import { startTestApp } from "../support/app.ts";
import { valueIn } from "../support/chart.ts";
import { readPage } from "../support/docs.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { installChart, UNFILTERED } from "../support/installed.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { changeReports } from "../support/reports.ts";
import { Shell } from "../support/shell.ts";
import { connectionTo, transportTo } from "./watching.ts";
import { CRDS } from "../support/crds.ts";

const NAMESPACE = "zen-system";
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";

/** The blocks of docs/day-two.md marked `sh etcd`. */
const [SAVE = "", RESTORE = ""] = (await readPage("docs/day-two.md")).blocks
  .filter(({ role }) => role === "sh etcd").map(({ text }) => text);
const RAISED = " --bump-revision=1000000000 --mark-compacted";
const binaries = await ensureBinaries(["etcdctl", "etcdutl"]);

Deno.test("nothing that a source reports is missing after etcd was restored under load as the page says, without a restart", async () => {
  await restoreUnderLoad(RESTORE);
});

Deno.test("nor after a restore without the flags that raise the resource versions, which go back", async () => {
  assert(RESTORE.includes(RAISED));
  await restoreUnderLoad(RESTORE.replace(RAISED, ""));
});

async function restoreUnderLoad(restore: string): Promise<void> {
  await using cluster = await startEnvtest();
  await cluster.applyCrds(CRDS);
  await ensureNamespaces(cluster, [NAMESPACE, "shop"]);
  const installed = await installChart(cluster, { namespace: NAMESPACE, values: { filters: UNFILTERED } });
  const { WEBHOOK_AUTH_TOKEN_FILE: _, ...env } = installed.env;
  using api = transportTo(cluster);
  const path = [dirname(binaries.etcdctl), dirname(binaries.etcdutl), Deno.env.get("PATH")].join(":");
  await using shell = new Shell({
    cwd: cluster.folder,
    env: { PATH: path, ETCDCTL_ENDPOINTS: cluster.etcdUrl },
  });
  // Two reports of three findings are there before the snapshot; none of them is stored in it.
  await changeReports(api, { namespace: "shop", reports: [0, 2], found: [0, 3] });
  assertMatch(await shell.run(SAVE), /etcd\.db/);
  await using app = await startTestApp({ server: connectionTo(cluster, installed), env });
  const names = async () =>
    (await listAll(cluster, OBSERVATIONS)).map(({ metadata }) => String(valueIn(metadata, "name"))).sort();
  for (let index = 0; index < 50; index++) {
    assertEquals((await app.post("/falco/webhook", alert("shop", index))).status, 200);
  }
  await eventually("every finding", async () => (await names()).length === 56);
  const findings = (await names()).filter((name) => name.startsWith("trivy-"));

  await cluster.killApiServer();
  await cluster.killEtcd();
  await shell.run(restore);
  await Deno.remove(`${cluster.folder}/etcd`, { recursive: true });
  await Deno.rename(`${cluster.folder}/etcd-restored`, `${cluster.folder}/etcd`);
  await cluster.startEtcd();
  await cluster.startApiServer();
  await eventually("every finding to be stored again", async () => {
    const stored = await names().catch((): string[] => []);
    return findings.every((name) => stored.includes(name));
  }, { timeoutMs: 120_000 });
  await eventually("the program to know that the alerts are gone", async () => {
    const status = await (await fetch(`${app.url}/tools/status`)).json();
    return status.storage.observations === findings.length;
  }, { timeoutMs: 60_000 });
  assertEquals((await app.post("/falco/webhook", alert("shop", 0))).body.created, 1, "its window is closed");
}
