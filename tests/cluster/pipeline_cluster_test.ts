/** The program end to end on a real API server: behaviour that the embedded one lacks or is more lenient about. */
import { assert, assertEquals } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { alert, alertedPods, wantedPods } from "../support/alerts.ts";
import type { TestApp } from "../support/app.ts";
import { closedBooks, statusOf } from "../support/books.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { changeReports, findingsOf, wantedFindings } from "../support/reports.ts";
import { grant } from "../support/rights.ts";
import { CRDS } from "../support/crds.ts";
import { shardsOf } from "./shard.ts";
import { transportTo } from "./watching.ts";

const ADMISSION = "/apis/admissionregistration.k8s.io/v1";
const VULNERABILITY_REPORTS = "vulnerabilityreports.aquasecurity.github.io";
const cluster = await sharedEnvtest();
await cluster.applyCrds(CRDS);
const { place, start, stored } = shardsOf(cluster);

async function versions(namespace: string): Promise<string[]> {
  return (await stored(namespace)).map(({ metadata }) =>
    isObject(metadata) ? `${metadata.name}@${metadata.resourceVersion}` : ""
  );
}

Deno.test("real API server: an alert posted twice is one Observation with two occurrences, found by its fields", async () => {
  const at = await place("twice");
  await using app = await start(at);
  const body = alert(at.namespace, 1);
  const first = await app.post("/falco/webhook", body);
  assertEquals([first.status, first.body["created"]], [200, 1]);
  const [fresh] = await stored(at.namespace);
  assert(fresh && isObject(fresh.status), "stored before the answer");
  assertEquals([fresh.status.phase, fresh.status.occurrences], ["Active", 1]);
  const second = await app.post("/falco/webhook", body);
  assertEquals([second.status, second.body["deduped"]], [200, 1]);
  await eventually("the repeat to be counted", async () => {
    const [counted] = await stored(at.namespace);
    return counted && isObject(counted.status) && counted.status.occurrences === 2;
  });
  // Kubernetes selects by them from 1.31 on.
  if (await cluster.minorVersion() < 31) return;
  const path = `/apis/zen.kube-zen.io/v1/namespaces/${at.namespace}/observations`;
  const found = async (selector: string) => {
    const { body } = await cluster.expect("GET", `${path}?fieldSelector=${encodeURIComponent(selector)}`);
    return Array.isArray(body.items) ? body.items.length : -1;
  };
  assertEquals(await found("spec.severity=LOW,spec.resource.kind=Pod"), 1);
  assertEquals(await found("status.phase=Resolved"), 0);
});

Deno.test("real API server: a restart adds nothing and writes nothing, not even a status", async () => {
  const at = await place("again");
  using api = transportTo(cluster);
  await changeReports(api, { namespace: at.namespace, reports: [0, 5], found: [0, 4] });
  {
    await using app = await start(at);
    await eventually("every finding", async () => (await stored(at.namespace)).length === 20);
    await closedBooks(app.url);
  }
  const before = await versions(at.namespace);
  {
    await using app = await start(at);
    await eventually("every finding to be recognised", async () => {
      return await app.metric("observations_deduped_total", { source: "trivy" }) === 20;
    });
    assertEquals(await app.metric("observations_created_total"), 0);
  }
  assertEquals(await versions(at.namespace), before);
});

Deno.test("real API server: it takes what becomes of hostile alerts", async () => {
  const at = await place("hostile");
  await using app = await start(at);
  const plain = alert(at.namespace, 0);
  const long = "x".repeat(20_000);
  const deep = JSON.parse('{"a":'.repeat(40) + "1" + "}".repeat(40));
  const fields = (extra: JsonObject) => ({ ...plain.output_fields as JsonObject, ...extra });
  const hostile: JsonObject[] = [
    { ...plain, rule: "\u001b[31mred\u001b[0m \u202Egnp.exe\u0000" },
    { ...plain, rule: long, output: long },
    { ...plain, rule: "half a pair \ud800 and \udfff" },
    { ...plain, rule: "-_.é😀/..%2f".repeat(20) },
    { ...plain, rule: "   " },
    { ...plain, rule: "deep", output_fields: fields({ deep, "__proto__x": 1 }) },
    {
      ...plain,
      rule: "many",
      output_fields: fields(
        Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, long.slice(0, 99)])),
      ),
    },
    { ...plain, rule: "name", output_fields: fields({ "k8s.pod.name": "UPPER_case name\n../../etc" }) },
    { ...plain, rule: "namespace", output_fields: fields({ "k8s.ns.name": "no/such namespace" }) },
    { ...plain, rule: "time", time: "0000-13-45T99:99:99Z" },
    { ...plain, rule: "numbers", output_fields: fields({ a: 1e308, b: -0, c: 12345678901234567000 }) },
    { ...plain, rule: "tags", tags: ["", long, "\u0000", "T1059"], priority: "cRiTiCaL" },
  ];
  for (const body of hostile) {
    const { status, body: answer } = await app.post("/falco/webhook", body);
    // A namespace that is no namespace is in no shard; a name of blanks alone is no rule.
    const { created, filtered } = answer;
    assert(status === 200 || status === 400, JSON.stringify([body.rule, status, answer]).slice(0, 500));
    if (status === 200) {
      assertEquals([created, filtered].filter((count) => count === 1).length, 1, JSON.stringify(answer));
    }
  }
  const { falco } = await closedBooks(app.url);
  assert(falco && falco.created >= 10, JSON.stringify(falco));
  assertEquals(falco.failed, 0);
});

Deno.test("real API server: a namespace that is gone or going gives its Observations to the program's own", async () => {
  const at = await place("going");
  const gone = `${at.namespace}-gone`;
  await using app = await start(at, { env: { WATCH_NAMESPACE: [at.own, at.namespace, gone].join() } });
  // Without the namespace controller it stays Terminating for ever.
  await cluster.expect("DELETE", `/api/v1/namespaces/${at.namespace}`);
  for (const namespace of [at.namespace, gone]) {
    const { status, body } = await app.post("/falco/webhook", alert(namespace, 1));
    assertEquals([status, body["created"]], [200, 1]);
  }
  const resources = (await stored(at.own)).flatMap(({ spec }) => isObject(spec) ? [spec.resource] : []);
  const namespaces = resources.map((resource) => isObject(resource) ? String(resource.namespace) : "").sort();
  assertEquals(namespaces, [at.namespace, gone].sort());
});

Deno.test("real API server: missing rights show as a state, and reports are read once the rights are granted", async () => {
  const at = await place("rights");
  // The rights of other users stay as they are.
  await cluster.expect("POST", `/api/v1/namespaces/${at.own}/serviceaccounts`, {
    body: { metadata: { name: "zen-watcher" } },
  });
  const name = `system:serviceaccount:${at.own}:zen-watcher`;
  const user = { token: await cluster.serviceAccountToken(at.own, "zen-watcher") };
  const read = ["get", "list", "watch"];
  await grant(cluster, name, {
    name: `${at.own}-base`,
    rules: [
      { apiGroups: ["zen.kube-zen.io"], resources: ["*"], verbs: read },
      {
        apiGroups: ["coordination.k8s.io"],
        resources: ["leases"],
        verbs: [...read, "create", "update", "patch"],
      },
      { apiGroups: [""], resources: ["configmaps"], verbs: read },
    ],
  });
  await eventually("the rights to be known", async () => {
    return (await cluster.ask("GET", "/apis/zen.kube-zen.io/v1/observations", { as: user })).status === 200;
  });
  await using app = await start(at, { as: user, env: { FALCO_ACK_TIMEOUT: "1s" } });
  using api = transportTo(cluster);
  await changeReports(api, { namespace: at.namespace, reports: [0, 2], found: [0, 2] });
  await eventually("the state forbidden", async () => await trivyState(app) === "forbidden");
  assert(app.health.ready().ok, "a source it may not read is no reason for not being ready");
  const refused = await app.post("/falco/webhook", alert(at.namespace, 0));
  assertEquals([refused.status, refused.body["failed"]], [503, 1]);
  await grant(cluster, name, {
    name: `${at.own}-more`,
    rules: [
      {
        apiGroups: ["zen.kube-zen.io"],
        resources: ["observations", "observations/status"],
        verbs: ["create", "patch", "update"],
      },
      { apiGroups: ["aquasecurity.github.io"], resources: ["vulnerabilityreports"], verbs: read },
    ],
  });
  await eventually("the alert to be taken", async () => {
    return (await app.post("/falco/webhook", alert(at.namespace, 0))).status === 200;
  });
  await eventually("the findings", async () => findingsOf(await stored(at.namespace)).length === 4);
  assertEquals(findingsOf(await stored(at.namespace)), wantedFindings(2, 2));
  assertEquals(alertedPods(await stored(at.namespace)), wantedPods(1));
  await eventually("the state synced", async () => await trivyState(app) === "synced");
  await closedBooks(app.url);
});

Deno.test("real API server: an alert that a policy denies everywhere is answered 503, and stored by a retry once allowed", async () => {
  const at = await place("denied");
  await using app = await start(at, { env: { FALCO_ACK_TIMEOUT: "500ms" } });
  const name = at.own;
  await cluster.expect("POST", `${ADMISSION}/validatingadmissionpolicies`, {
    body: {
      metadata: { name },
      spec: {
        failurePolicy: "Fail",
        matchConstraints: {
          resourceRules: [{
            apiGroups: ["zen.kube-zen.io"],
            apiVersions: ["v1"],
            operations: ["CREATE"],
            resources: ["observations"],
          }],
        },
        validations: [{
          expression: `!(object.metadata.namespace in ['${at.namespace}', '${at.own}'])`,
          message: "not here, not now",
        }],
      },
    },
  });
  await cluster.expect("POST", `${ADMISSION}/validatingadmissionpolicybindings`, {
    body: { metadata: { name }, spec: { policyName: name, validationActions: ["Deny"] } },
  });
  let pods = 0;
  await eventually("the policy to be in force", async () => {
    const { status } = await app.post("/falco/webhook", alert(at.namespace, pods++));
    return status === 503;
  });
  assert(await app.metric("events_failures_total", { source: "falco", reason: "unavailable" }) >= 1);
  await cluster.expect("DELETE", `${ADMISSION}/validatingadmissionpolicybindings/${name}`);
  await cluster.expect("DELETE", `${ADMISSION}/validatingadmissionpolicies/${name}`);
  await eventually("the last alert to be taken", async () => {
    return (await app.post("/falco/webhook", alert(at.namespace, pods - 1))).status === 200;
  });
  assertEquals(alertedPods(await stored(at.namespace)), wantedPods(pods));
  await closedBooks(app.url);
});

async function trivyState({ url }: TestApp): Promise<unknown> {
  const { sources } = await statusOf(url);
  const trivy = isObject(sources) && isObject(sources.trivy) ? sources.trivy : {};
  const resources = isObject(trivy.resources) ? trivy.resources : {};
  const [state] = Object.entries(resources).flatMap(([name, state]) =>
    name.startsWith(VULNERABILITY_REPORTS) && state !== "absent" ? [state] : []
  );
  return state;
}
