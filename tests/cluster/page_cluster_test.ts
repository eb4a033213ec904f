/** The page in a real Chromium on a real API server: the rights of two users, accepting and undoing as the controller judges it. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import { assertEquals, assertStringIncludes } from "@std/assert";
import { installCrds } from "../../scripts/support/feed.ts";
import { OBSERVATION_EXCEPTIONS } from "../../src/exceptions/kind.ts";
import { OBSERVATIONS, type StoredObservation } from "../../src/store/mod.ts";
import { startTestApp } from "../support/app.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { changeReports } from "../support/reports.ts";
import { ownAccount } from "../support/rights.ts";
import { openUi } from "../support/ui.ts";
import { openTabOf } from "../ui/support/tab.ts";
import { connectionTo, transportTo } from "./watching.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const GROUP = "zen.kube-zen.io";

const cluster = await sharedEnvtest();
{
  using api = transportTo(cluster);
  await installCrds(api);
}
const { token: own } = await ownAccount(cluster);

/** A ServiceAccount of a namespace that may do this to these resources there, and nothing elsewhere: its token. */
async function userOf(
  namespace: string,
  rules: Readonly<Record<string, readonly string[]>>,
): Promise<string> {
  const name = "reader";
  const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name } };
  await cluster.expect("POST", `/api/v1/namespaces/${namespace}/serviceaccounts`, { body: account });
  const role = {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "Role",
    metadata: { name },
    rules: Object.entries(rules).map(([resource, verbs]) => ({
      apiGroups: [GROUP],
      resources: [resource],
      verbs: [...verbs],
    })),
  };
  await cluster.expect("POST", `${RBAC}/namespaces/${namespace}/roles`, { body: role });
  const binding = {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
    subjects: [{ kind: "ServiceAccount", name, namespace }],
  };
  await cluster.expect("POST", `${RBAC}/namespaces/${namespace}/rolebindings`, { body: binding });
  return await cluster.serviceAccountToken(namespace, name);
}

/** The page of such a user, in that namespace. */
async function uiOf(namespace: string, rules: Readonly<Record<string, readonly string[]>>) {
  const token = await userOf(namespace, rules);
  return await openUi(cluster.url, { now: Date.now, token, caPem: cluster.caPem, inNamespace: namespace });
}

const READ = ["get", "list", "watch"];
const WRITE = [...READ, "create", "delete"];

Deno.test("page: a user of one namespace sees that one, accepts a risk in it, and takes it back", async () => {
  using api = transportTo(cluster);
  const namespace = await cluster.createNamespace("page");
  const other = await cluster.createNamespace("page-other");
  await using _app = await startTestApp({ server: connectionTo(cluster, { token: own }) });
  for (const each of [namespace, other]) {
    await changeReports(api, { namespace: each, reports: [0, 2], found: [0, 3] });
  }
  const stored = async () => (await api.list<StoredObservation>(OBSERVATIONS, { namespace })).items;
  await eventually(
    "six findings in each",
    async () =>
      (await stored()).length === 6 &&
      (await api.list(OBSERVATIONS, { namespace: other })).items.length === 6,
  );
  const ui = await uiOf(namespace, { observations: READ, observationexceptions: WRITE });
  await using tab = await openTabOf(ui);
  const { page } = tab;
  await tab.visit("/?view=findings");
  await tab.counted(6);
  assertStringIncludes(await page.locator(".notes").innerText(), namespace);
  await page.locator(".window .cell.rule a").first().click();
  await page.locator("dl.facts").first().waitFor();
  const rule = await page.locator("#view-title .break").innerText();
  await page.getByRole("link", { name: "Accept this risk…" }).click();
  await page.locator(".preview", { hasText: "1 open finding" }).waitFor();
  await page.getByLabel("Reason").selectOption("accepted_risk");
  await page.getByLabel("Justification").fill("the risk is small");
  await page.getByRole("button", { name: "Accept until then" }).click();
  await tab.headed("Exceptions");
  // The controller judges it: Ready, and the finding leaves the open ones.
  await page.locator("table.exceptions tbody tr", { hasText: "Yes" }).waitFor();
  await eventually(
    "the finding is Accepted",
    async () => (await stored()).filter(({ status }) => status?.phase === "Accepted").length === 1,
  );
  await tab.visit("/?view=findings");
  await tab.counted(5);
  await tab.visit("/?view=findings&phase=Accepted");
  await tab.counted(1);
  assertEquals(await page.locator(".window .cell.rule a").innerText(), rule);
  await tab.visit("/?view=exceptions");
  await page.getByRole("button", { name: /^Undo/ }).click();
  await page.getByRole("button", { name: "Delete the exception" }).click();
  await page.getByText("Nothing is accepted").waitFor();
  await tab.visit("/?view=findings");
  await tab.counted(6);
  tab.assertQuiet();
});

Deno.test("page: a user who may only read is offered nothing to write", async () => {
  using api = transportTo(cluster);
  const namespace = await cluster.createNamespace("page-reader");
  await using _app = await startTestApp({ server: connectionTo(cluster, { token: own }) });
  await changeReports(api, { namespace, reports: [0, 1], found: [0, 2] });
  const ui = await uiOf(namespace, { observations: READ, observationexceptions: READ });
  await using tab = await openTabOf(ui);
  await tab.visit("/?view=findings");
  await tab.counted(2);
  await tab.page.locator(".window .cell.rule a").first().click();
  await tab.page.getByRole("button", { name: "Print" }).waitFor();
  assertEquals(await tab.page.getByRole("link", { name: /Accept/ }).count(), 0);
  // By hand it is refused all the same.
  await tab.visit(`/?view=accept&namespace=${namespace}&rule=CVE-2026-1000`);
  await tab.page.getByLabel("Reason").selectOption("accepted_risk");
  await tab.page.getByLabel("Justification").fill("x");
  await tab.page.getByRole("button", { name: "Accept until then" }).click();
  const problem = tab.page.locator(".problem", { hasText: "forbidden" });
  await problem.first().waitFor();
  assertEquals((await api.list(OBSERVATION_EXCEPTIONS, { namespace })).items, []);
});
