/** An API group whose discovery fails is not an uninstalled tool: its findings are neither resolved nor deleted. */
import { assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { startTestApp } from "./support/app.ts";
import { eventually } from "./support/eventually.ts";
import { changeReports } from "./support/reports.ts";
import { startTestCluster } from "./support/test_cluster.ts";

const OBSERVATIONS = "observations.zen.kube-zen.io";

Deno.test("a group that discovery cannot be asked for at the start is failing, not absent, and no finding expires for it", async () => {
  await using server = startTestCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  const env = { DISCOVERY_INTERVAL: "100ms", OBSERVATION_TTL_SECONDS: "1" };
  {
    await using _app = await startTestApp({ server: server.url, env });
    await changeReports(api, { namespace: "shop", reports: [0, 1], found: [0, 2] });
    await eventually("the reports to be read", () => server.count(OBSERVATIONS) === 2);
  }
  using _fault = server.faults.add({
    verb: "get",
    path: "/apis/aquasecurity.github.io",
    effect: { kind: "status", status: 503 },
  });
  await using app = await startTestApp({ server: server.url, env: { ...env, GC_INTERVAL: "100ms" } });
  const runs = async () => await app.metric("gc_runs_total");
  // Old enough, by the TTL it was written with, and no view says that it is reported.
  await eventually(
    "the findings to be old",
    () =>
      server.objects(OBSERVATIONS).every(({ metadata }) =>
        Date.now() - Date.parse(String((metadata as Record<string, unknown>).creationTimestamp)) > 2_000
      ),
  );
  const before = await runs();
  await eventually("two more collections", async () => await runs() >= before + 2);
  assertEquals(server.count(OBSERVATIONS), 2);
});
