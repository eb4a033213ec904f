/** Namespaces whose quota or policy refuses Observations, on a real API server with the chart's rights. */
import { assert, assertEquals } from "@std/assert";
import { alert } from "../support/alerts.ts";
import { startTestApp } from "../support/app.ts";
import { valueIn } from "../support/chart.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { installChart, UNFILTERED } from "../support/installed.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { connectionTo } from "./watching.ts";
import { OWN_CRDS } from "../support/crds.ts";

const NAMESPACE = "zen-system";
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const REFUSED_BY = "zen.kube-zen.io/refused-by-namespace";
const ADMISSION = "/apis/admissionregistration.k8s.io/v1";

Deno.test("alerts for namespaces with a quota of 0 and a denying policy are stored in the controller's own", async () => {
  await using cluster = await startEnvtest({ controllerManager: true });
  await cluster.applyCrds(OWN_CRDS);
  await ensureNamespaces(cluster, [NAMESPACE, "shop", "pay", "team-a"]);
  const installed = await installChart(cluster, { namespace: NAMESPACE, values: { filters: UNFILTERED } });
  await cluster.expect("POST", "/api/v1/namespaces/shop/resourcequotas", {
    body: { metadata: { name: "none" }, spec: { hard: { "count/observations.zen.kube-zen.io": "0" } } },
  });
  await cluster.expect("POST", `${ADMISSION}/validatingadmissionpolicies`, {
    body: {
      metadata: { name: "no-observations" },
      spec: {
        matchConstraints: {
          resourceRules: [{
            apiGroups: ["zen.kube-zen.io"],
            apiVersions: ["*"],
            operations: ["CREATE"],
            resources: ["observations"],
          }],
        },
        validations: [{ expression: "object.metadata.namespace != 'pay'", message: "not here" }],
      },
    },
  });
  await cluster.expect("POST", `${ADMISSION}/validatingadmissionpolicybindings`, {
    body: {
      metadata: { name: "no-observations" },
      spec: { policyName: "no-observations", validationActions: ["Deny"] },
    },
  });
  const { WEBHOOK_AUTH_TOKEN_FILE: _, ...env } = installed.env;
  await using app = await startTestApp({ server: connectionTo(cluster, installed), env });
  const storedFor = async (namespace: string) =>
    (await listAll(cluster, OBSERVATIONS)).filter(({ spec }) =>
      valueIn(spec, "resource", "namespace") === namespace
    );
  let probe = 0;
  for (const namespace of ["shop", "pay"]) {
    await eventually(`${namespace} to refuse`, async () => {
      const { status, body } = await app.post("/falco/webhook", alert(namespace, 1_000 + probe++));
      assertEquals([status, body.error], [200, undefined]);
      return (await storedFor(namespace)).some(({ metadata }) =>
        valueIn(metadata, "namespace") === NAMESPACE
      );
    }, { timeoutMs: 60_000 });
  }

  const flood = ["shop", "pay"].flatMap((namespace) =>
    Array.from({ length: 110 }, (_, index) => app.post("/falco/webhook", alert(namespace, index)))
  );
  const startedAt = performance.now();
  assertEquals((await app.post("/falco/webhook", alert("team-a", 1))).status, 200);
  assert(performance.now() - startedAt < 10_000, "it waits for no other namespace");
  assertEquals((await Promise.all(flood)).filter(({ status }) => status !== 200), []);
  for (const namespace of ["shop", "pay"]) {
    const names = new Set<unknown>();
    for (const { metadata } of await storedFor(namespace)) {
      names.add(valueIn(metadata, "name"));
      if (valueIn(metadata, "namespace") !== NAMESPACE) continue;
      assertEquals(valueIn(metadata, "annotations", REFUSED_BY), namespace);
    }
    const stored = await storedFor(namespace);
    assert(stored.length >= 111, `${stored.length} stored for ${namespace}`);
    assertEquals(names.size, stored.length, "none of them twice");
  }
  const again = await app.post("/falco/webhook", alert("shop", 5));
  assertEquals([again.body.created, again.body.deduped], [0, 1]);
});
