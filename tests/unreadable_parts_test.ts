/** The answers to requests of which some or very many parts cannot be read. */
import { assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import type { JsonObject } from "../src/model/json.ts";
import { OBSERVATIONS } from "../src/store/mod.ts";
import { startTestApp } from "./support/app.ts";

Deno.test("the answer counts every part that cannot be read, and refuses a body of too many parts whole", async () => {
  await using server = startDevCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  await using app = await startTestApp({ server: server.url });
  const alert = { rule: "R", priority: "Error", output: "o" };
  const zeros = (count: number) => Array.from({ length: count }, () => 0);
  const some = await app.post("/falco/webhook", [...zeros(150), alert]);
  assertEquals([some.status, some.body.received, some.body.errorCount], [200, 1, 150]);
  const many = await app.post("/falco/webhook", [alert, ...zeros(50_000)]);
  assertEquals([many.status, many.body.received], [413, undefined]);
  const lines = await app.post("/falco/webhook", `${JSON.stringify(alert)}\nnot json\n[0]\n`);
  assertEquals([lines.status, lines.body.received, lines.body.errorCount], [200, 1, 2]);
});

/** As a batch of the API server brings it: the patch's body is what the client sent. */
function patchEvent(user: string, requestObject: unknown) {
  return {
    level: "RequestResponse",
    auditID: `id-${user}`,
    stage: "ResponseComplete",
    requestURI: "/apis/rbac.authorization.k8s.io/v1/clusterroles/all",
    verb: "patch",
    user: { username: user },
    objectRef: {
      resource: "clusterroles",
      name: "all",
      apiGroup: "rbac.authorization.k8s.io",
      apiVersion: "v1",
    },
    responseStatus: { code: 200 },
    requestReceivedTimestamp: new Date().toISOString(),
    requestObject,
  };
}

Deno.test("a request's body cannot hide an act or the rest of its batch", async () => {
  await using server = startDevCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  await using app = await startTestApp({ server: server.url });
  let deep: unknown = 1;
  for (let level = 0; level < 200; level++) deep = [deep];
  let key = 0;
  const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, () => [`k${key++}`, 1]));
  const bodies: Readonly<Record<string, unknown>> = {
    deep: { rules: [], junk: deep },
    wide: { rules: [], junk: keys(20_000) },
    many: { rules: [], junk: Array.from({ length: 600_000 }, () => 0) },
    different: { rules: [], junk: Array.from({ length: 1_000 }, () => keys(100)) },
    plain: { rules: [] },
  };
  const items = Object.entries(bodies).map(([user, body]) => patchEvent(user, body));
  const answer = await app.post("/audit/webhook", {
    kind: "EventList",
    apiVersion: "audit.k8s.io/v1",
    items,
  });
  assertEquals([answer.status, answer.body.received, answer.body.created, answer.body.errorCount], [
    200,
    5,
    5,
    4,
  ]);
  const found = await api.list(OBSERVATIONS, {});
  const users = found.items.map((object) => String((object["spec"] as JsonObject)["message"]).split(" ")[0]);
  assertEquals(users.sort(), ["deep", "different", "many", "plain", "wide"]);
});
