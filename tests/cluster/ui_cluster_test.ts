/** The page's server part with the rights of users of a real API server. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { ResourceType } from "../../src/kube/api.ts";
import type { ExceptionList, FindingPage } from "../../src/ui/protocol.ts";
import { OWN_CRDS } from "../support/crds.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { ensureNamespaces } from "../support/objects.ts";
import { storedObservation } from "../support/observation.ts";
import { grant } from "../support/rights.ts";
import { openUi, type Ui } from "../support/ui.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import { transportTo } from "./watching.ts";

const GROUP = "zen.kube-zen.io";
const EXCEPTIONS: ResourceType = {
  group: GROUP,
  version: "v1alpha1",
  plural: "observationexceptions",
  kind: "ObservationException",
  namespaced: true,
};
const READ = {
  apiGroups: [GROUP],
  resources: ["observations", "observationexceptions"],
  verbs: ["get", "list", "watch"],
};
const ACCEPT = { apiGroups: [GROUP], resources: ["observationexceptions"], verbs: ["create", "delete"] };
const [SHOP, PAY] = ["ui-shop", "ui-pay"];
const DRAFT = {
  match: { rules: ["CVE-2024-3094"] },
  reason: "mitigated",
  justification: "The port is closed",
  expiresAt: "2027-01-31T00:00:00Z",
};

const cluster = await sharedEnvtest();
await cluster.applyCrds(OWN_CRDS);
await ensureNamespaces(cluster, [SHOP, PAY]);
{
  using admin = transportTo(cluster);
  for (const [index, namespace] of [SHOP, PAY, PAY].entries()) {
    const {
      status: _,
      metadata: { uid: _uid, resourceVersion: _version, creationTimestamp: _created, ...metadata },
      ...object
    } = storedObservation({ id: `ui-${index}`, namespace, rule: "CVE-2024-3094" });
    await admin.create(OBSERVATIONS, { ...object, metadata });
  }
}

/** The page of a ServiceAccount that has these rules in each namespace, or everywhere ("*"). */
async function uiOf(
  name: string,
  rights: Readonly<Record<string, readonly typeof READ[]>>,
  inNamespace?: string,
): Promise<Ui> {
  await cluster.expect("PATCH", `/api/v1/namespaces/${SHOP}/serviceaccounts/${name}?fieldManager=test`, {
    body: { apiVersion: "v1", kind: "ServiceAccount", metadata: { name } },
    contentType: "application/apply-patch+yaml",
  });
  for (const [namespace, rules] of Object.entries(rights)) {
    await grant(cluster, `system:serviceaccount:${SHOP}:${name}`, {
      rules: rules.map((rule) => ({ ...rule })),
      ...(namespace !== "*" && { namespace }),
    });
  }
  const token = await cluster.serviceAccountToken(SHOP, name);
  const ui = await openUi(cluster.url, {
    token,
    caPem: cluster.caPem,
    now: () => Date.now(),
    ...(inNamespace !== undefined && { inNamespace }),
  });
  await ui.listed();
  return ui;
}

const namespacesOf = async (ui: Ui) =>
  [
    ...new Set(
      ((await ui.call("/api/findings?rule=CVE-2024-3094")) as FindingPage).rows.map(({ namespace }) =>
        namespace
      ),
    ),
  ].filter((namespace) => namespace === PAY || namespace === SHOP).sort();

/** What other tests of this cluster left is not counted. */
const exceptionsOf = async (ui: Ui) =>
  ((await ui.call("/api/exceptions")) as ExceptionList).rows.filter(({ namespace }) => namespace === PAY);

Deno.test("ui shows all namespaces to a user who may list them, and one to a user who may list that one", async () => {
  await using all = await uiOf("auditor", { "*": [READ] });
  assertEquals(await namespacesOf(all), [PAY, SHOP]);
  assertEquals((await all.state()).onlyNamespace, undefined);
  await using one = await uiOf("pays", { [PAY]: [READ] }, PAY);
  assertEquals(await namespacesOf(one), [PAY]);
  const { onlyNamespace, notes } = await one.state();
  assertEquals(onlyNamespace, PAY);
  assertStringIncludes(notes.join("\n"), `Only what is stored in the namespace "${PAY}" is shown`);
  const { rows: [row] }: FindingPage = await all.call(`/api/findings?namespace=${SHOP}`);
  assertMatch(
    (await one.call(`/api/findings/${SHOP}/${row?.name}`, {}, 403)).error,
    /forbidden/,
    "a finding elsewhere is not theirs to read",
  );
});

Deno.test("ui lets a user accept and undo where their rights allow it, and repeats the API server's refusal elsewhere", async () => {
  await using ui = await uiOf("owner", { "*": [READ], [PAY]: [ACCEPT] });
  await eventually("the rights", async () => (await ui.state()).mayAccept.join() === PAY);
  const post = (namespace: string, status: number, draft: object = DRAFT) =>
    ui.call("/api/exceptions", { method: "POST", body: { ...draft, namespace } }, status);
  const { error } = await post(SHOP, 403);
  assertMatch(error, /^Cannot create observationexception.*forbidden.*HTTP 403/);
  assertMatch((await post(PAY, 422, { ...DRAFT, name: "No Name" })).error, /metadata\.name.*HTTP 422/);
  const { name } = await post(PAY, 201);
  const list = await eventually("the exception", async () => {
    const rows = await exceptionsOf(ui);
    return rows.length === 1 && rows;
  });
  assert(list[0]?.mayDelete);
  {
    using admin = transportTo(cluster);
    const { metadata } = await admin.get(EXCEPTIONS, name, { namespace: PAY });
    assert(metadata.uid);
  }
  await using other = await uiOf("reader", { "*": [READ] });
  await eventually(
    "the exception",
    async () => (await exceptionsOf(other)).length === 1,
  );
  assertEquals((await other.state()).mayAccept, []);
  assertMatch(
    (await other.call(`/api/exceptions/${PAY}/${name}`, { method: "DELETE" }, 403)).error,
    /forbidden/,
  );
  await ui.call(`/api/exceptions/${PAY}/${name}`, { method: "DELETE" });
  await eventually(
    "it to be gone",
    async () => (await exceptionsOf(ui)).length === 0,
  );
});
