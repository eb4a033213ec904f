import { assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { isObject } from "../src/model/json.ts";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { OBSERVATIONS } from "../src/store/mod.ts";
import { alert } from "./support/alerts.ts";
import { startTestApp } from "./support/app.ts";
import { statusOf } from "./support/books.ts";
import { eventually } from "./support/eventually.ts";

Deno.test("the storage budget has room again without a scrape of the metrics", async () => {
  await using server = startDevCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "shop"]);
  await using app = await startTestApp({ server: server.url, env: { OBSERVATION_MAX_TOTAL: "4" } });
  const budgetState = async () => {
    const { storage } = await statusOf(app.url);
    return isObject(storage) && isObject(storage.budget) ? storage.budget.state : undefined;
  };
  for (let pod = 0; pod < 5; pod++) {
    assertEquals((await app.post("/falco/webhook", alert("shop", pod))).status, 200);
  }
  await eventually("the budget to be full", async () => await budgetState() === "full");
  for (const { metadata } of (await api.list(OBSERVATIONS)).items.slice(0, 3)) {
    await api.delete(OBSERVATIONS, metadata.name ?? "", { namespace: metadata.namespace ?? "" });
  }
  await eventually("the budget to have room", async () => await budgetState() === "room");
});
