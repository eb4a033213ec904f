/** Who may write what zen-watcher alone may write: one matrix, judged by policy, webhook and Gatekeeper's Rego. */
import { assert, assertEquals } from "@std/assert";
import { Hono } from "hono";
import { ADMISSION_PATH } from "../../src/http/admission.ts";
import { judgeAdmission, readReview } from "../../src/http/admission_judge.ts";
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import { ensureTool } from "../../scripts/tools.ts";
import { admissionHandler } from "../support/admission.ts";
import { applyObject, CHART, one, pathOf, renderChart, type Rendered, valueIn } from "../support/chart.ts";
import type { CertKey } from "../support/certs.ts";
import type { ClusterAnswer, RealCluster } from "../support/cluster.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { OWN_CRDS } from "../support/crds.ts";

const CONTROLLER = "system:serviceaccount:zen-system:zen-watcher";
const RESTORER = "system:serviceaccount:backup:restore";
const MERGE = "application/merge-patch+json";
const APPLY = "application/apply-patch+yaml";
const FINALIZER = "example.com/hold";
const VALUES = { statusIntegrity: { restorers: [RESTORER] } };

// With the garbage collector and the namespace controller.
const cluster = await startEnvtest({ controllerManager: true });
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());
await cluster.applyCrds(OWN_CRDS);
const namespace = await cluster.createNamespace("integrity");
const AUTHORIZED = [CONTROLLER, RESTORER, "operator"];
await grant();

interface Act {
  readonly what: string;
  /** The refusal for a user who is no writer; undefined: it is allowed. */
  readonly refusal?: string;
  /** The refusal is for writers too. */
  readonly forAll?: true;
  /** The user impersonates the operator, and is judged as the operator. */
  readonly asOperator?: true;
  readonly ask: (as: CertKey) => Promise<ClusterAnswer>;
}

const CREATED = "Observations are created by zen-watcher alone";
const CONTENT = "what an Observation says is changed by zen-watcher alone";
const MARKS =
  "the labels and annotations by which zen-watcher finds an Observation are changed by zen-watcher alone";
const BONDS = "ownerReferences and finalizers of an Observation are changed by zen-watcher alone";
const STATUS = "status is written by zen-watcher alone";
const TOO_LONG = "expiresAt is at most 365 days after the creation of the exception";

/** Exceptions that were written before the bound was 365 days: one that is kept, and one for each time that deletions end. */
const LONG = ["long", "long-1", "long-2", "long-3"];

const OBSERVATIONS = `/apis/zen.kube-zen.io/v1/namespaces/${namespace}/observations`;
const CONFIGURATION = `/apis/zen.kube-zen.io/v1alpha1/namespaces/${namespace}`;

const patch = (path: string, bodyOf: () => JsonObject, contentType = MERGE) => (as: CertKey) =>
  cluster.ask("PATCH", path, { as, body: bodyOf(), contentType });

const ACTS: readonly Act[] = [
  {
    what: "create",
    refusal: CREATED,
    ask: (as) =>
      cluster.ask("POST", OBSERVATIONS, {
        as,
        body: { ...observation(), metadata: { generateName: "new-" } },
      }),
  },
  {
    what: "create by apply",
    refusal: CREATED,
    ask: (as) => {
      const name = `applied-${crypto.randomUUID()}`;
      return cluster.ask("PATCH", `${OBSERVATIONS}/${name}?fieldManager=test`, {
        as,
        body: { ...observation(), metadata: { name } },
        contentType: APPLY,
      });
    },
  },
  {
    what: "change details",
    refusal: CONTENT,
    ask: patch(`${OBSERVATIONS}/a`, () => ({ spec: { details: { x: nonce() } } })),
  },
  {
    what: "change the message",
    refusal: CONTENT,
    ask: patch(`${OBSERVATIONS}/a`, () => ({ spec: { message: nonce() } })),
  },
  {
    what: "change the time to live",
    refusal: CONTENT,
    ask: patch(`${OBSERVATIONS}/a`, () => ({ spec: { ttlSecondsAfterCreation: number() } })),
  },
  { what: "replace it", refusal: CONTENT, ask: (as) => replace(as, { message: nonce() }) },
  {
    what: "change our label",
    refusal: MARKS,
    ask: patch(
      `${OBSERVATIONS}/a`,
      () => ({ metadata: { labels: { "zen.kube-zen.io/fingerprint": nonce() } } }),
    ),
  },
  {
    what: "say that someone else manages it",
    refusal: MARKS,
    ask: patch(
      `${OBSERVATIONS}/a`,
      () => ({ metadata: { labels: { "app.kubernetes.io/managed-by": nonce() } } }),
    ),
  },
  {
    what: "add an annotation in our name",
    refusal: MARKS,
    ask: patch(
      `${OBSERVATIONS}/a`,
      () => ({ metadata: { annotations: { "zen.kube-zen.io/note": nonce() } } }),
    ),
  },
  {
    what: "add a label of one's own",
    ask: patch(`${OBSERVATIONS}/a`, () => ({ metadata: { labels: { team: nonce() } } })),
  },
  {
    what: "change the message by JSON patch",
    refusal: CONTENT,
    ask: (as) => jsonPatch(as, `${OBSERVATIONS}/a`, { path: "/spec/message", value: nonce() }),
  },
  {
    what: "change the message by apply",
    refusal: CONTENT,
    ask: patch(`${OBSERVATIONS}/a?fieldManager=test&force=true`, () => ({
      apiVersion: "zen.kube-zen.io/v1",
      kind: "Observation",
      metadata: { name: "a", namespace },
      spec: { ...specOf(), message: nonce() },
    }), APPLY),
  },
  {
    what: "change the message in a dry run",
    refusal: CONTENT,
    ask: patch(`${OBSERVATIONS}/a?dryRun=All`, () => ({ spec: { message: nonce() } })),
  },
  {
    what: "create in a dry run",
    refusal: CREATED,
    ask: (as) =>
      cluster.ask("POST", `${OBSERVATIONS}?dryRun=All`, {
        as,
        body: { ...observation(), metadata: { generateName: "dry-" } },
      }),
  },
  {
    what: "change the message as the operator",
    refusal: CONTENT,
    forAll: true,
    asOperator: true,
    ask: (as) =>
      cluster.ask("PATCH", `${OBSERVATIONS}/a`, {
        as,
        impersonate: "operator",
        body: { spec: { message: nonce() } },
        contentType: MERGE,
      }),
  },
  {
    what: "take our label away",
    refusal: MARKS,
    ask: patch(
      `${OBSERVATIONS}/a?dryRun=All`,
      () => ({ metadata: { labels: { "zen.kube-zen.io/fingerprint": null } } }),
    ),
  },
  // Dry runs: an owner that is not there would have it deleted.
  {
    what: "give it an owner",
    refusal: BONDS,
    ask: patch(`${OBSERVATIONS}/a?dryRun=All`, () => ({ metadata: { ownerReferences: [owner()] } })),
  },
  {
    what: "give it an owner by apply",
    refusal: BONDS,
    ask: patch(`${OBSERVATIONS}/a?dryRun=All&fieldManager=owner`, () => ({
      apiVersion: "zen.kube-zen.io/v1",
      kind: "Observation",
      metadata: { name: "a", namespace, ownerReferences: [owner()] },
    }), APPLY),
  },
  {
    what: "give it a finalizer",
    refusal: BONDS,
    ask: patch(`${OBSERVATIONS}/a?dryRun=All`, () => ({ metadata: { finalizers: [FINALIZER] } })),
  },
  {
    what: "give it a finalizer by JSON patch",
    refusal: BONDS,
    ask: (as) =>
      jsonPatch(as, `${OBSERVATIONS}/a?dryRun=All`, { path: "/metadata/finalizers", value: [FINALIZER] }),
  },
  {
    what: "take the finalizer from one that is kept",
    refusal: BONDS,
    ask: patch(`${OBSERVATIONS}/held?dryRun=All`, () => ({ metadata: { finalizers: null } })),
  },
  {
    what: "write status by JSON patch",
    refusal: STATUS,
    ask: (as) => jsonPatch(as, `${OBSERVATIONS}/a/status`, { path: "/status", value: { occurrences: 8 } }),
  },
  {
    what: "write status",
    refusal: STATUS,
    ask: patch(`${OBSERVATIONS}/a/status`, () => ({ status: { occurrences: 7 } })),
  },
  {
    what: "apply status",
    refusal: STATUS,
    ask: patch(`${OBSERVATIONS}/a/status?fieldManager=test&force=true`, () => ({
      apiVersion: "zen.kube-zen.io/v1",
      kind: "Observation",
      metadata: { name: "a", namespace },
      status: { phase: "Resolved" },
    }), APPLY),
  },
  {
    what: "write status of an exception",
    refusal: STATUS,
    ask: patch(`${CONFIGURATION}/observationexceptions/e/status`, () => ({ status: { matched: number() } })),
  },
  {
    what: "accept for a year",
    ask: patch(`${CONFIGURATION}/observationexceptions/e`, () => ({ spec: { expiresAt: inDays(364.9) } })),
  },
  {
    what: "accept for longer",
    refusal: TOO_LONG,
    forAll: true,
    ask: patch(`${CONFIGURATION}/observationexceptions/e`, () => ({ spec: { expiresAt: inDays(366) } })),
  },
  {
    what: "edit an exception of a longer bound",
    ask: patch(`${CONFIGURATION}/observationexceptions/${LONG[0]}`, () => ({ spec: { ticket: nonce() } })),
  },
  {
    what: "give an exception of a longer bound another end that is too late",
    refusal: TOO_LONG,
    forAll: true,
    ask: patch(
      `${CONFIGURATION}/observationexceptions/${LONG[0]}?dryRun=All`,
      () => ({ spec: { expiresAt: inDays(400) } }),
    ),
  },
  {
    what: "bring an exception of a longer bound within it",
    ask: patch(
      `${CONFIGURATION}/observationexceptions/${LONG[0]}?dryRun=All`,
      () => ({ spec: { expiresAt: inDays(30) } }),
    ),
  },
  {
    what: "accept anew for longer",
    refusal: TOO_LONG,
    forAll: true,
    ask: (as) =>
      cluster.ask("POST", `${CONFIGURATION}/observationexceptions`, {
        as,
        body: { ...exception(inDays(366)), metadata: { generateName: "e-" } },
      }),
  },
  {
    what: "write status of a filter",
    refusal: STATUS,
    ask: patch(`${CONFIGURATION}/observationfilters/f/status`, ready),
  },
  {
    what: "write status of an Ingester",
    refusal: STATUS,
    ask: patch(`${CONFIGURATION}/ingesters/i/status`, ready),
  },
  {
    what: "write status of a mapping",
    refusal: STATUS,
    ask: patch(`${CONFIGURATION}/observationmappings/m/status`, ready),
  },
  {
    what: "change a filter",
    ask: patch(`${CONFIGURATION}/observationfilters/f`, () => ({ spec: { minSeverity: "LOW" } })),
  },
  {
    what: "change an Ingester",
    ask: patch(`${CONFIGURATION}/ingesters/i`, () => ({ spec: { enabled: false } })),
  },
];

await feed();

Deno.test("without a policy a user with the rights may do all of it", async () => {
  assertEquals(await matrix("operator"), ACTS.map(({ what }) => `${what}: yes`));
});

Deno.test("the policy refuses everyone but zen-watcher and restorers, with reason Forbidden", async () => {
  const objects = await renderChart({ values: VALUES });
  for (const object of policyOf(objects)) assertEquals(await applyObject(cluster, object), []);
  await eventually("the policy to be in force", async () => {
    const answer = await ACTS[0]?.ask(cluster.clientCert("operator"));
    return answer?.status === 403;
  });
  for (const object of policyOf(objects).filter(({ kind }) => kind === "ValidatingAdmissionPolicy")) {
    const policy = await cluster.expect("GET", await pathOf(cluster, object));
    assertEquals(valueIn(policy.body, "status", "typeChecking", "expressionWarnings"), undefined);
  }
  await eventually("the bound to be in force", async () => {
    const answers = await Promise.all(
      ACTS.filter(({ forAll }) => forAll).map(({ ask }) => ask(cluster.clientCert(CONTROLLER))),
    );
    return answers.every(({ status }) => status === 403);
  });
  await judged();
});

Deno.test("status in a write of the main resource changes nothing and is not refused", async () => {
  for (const user of AUTHORIZED) {
    const as = cluster.clientCert(user);
    const before = await cluster.expect("GET", `${OBSERVATIONS}/a`);
    const { status, body } = await cluster.ask("PATCH", `${OBSERVATIONS}/a`, {
      as,
      body: { metadata: { labels: { seen: nonce() } }, status: { occurrences: 99, phase: "Resolved" } },
      contentType: MERGE,
    });
    assertEquals(status, 200, JSON.stringify(body));
    assertEquals(body.status, before.body.status);
  }
});

Deno.test("a restorer brings back an Observation with its status; others may still read and delete by RBAC", async () => {
  const as = cluster.clientCert(RESTORER);
  const body = { ...observation(), metadata: { name: "restored" } };
  assertEquals((await cluster.ask("POST", OBSERVATIONS, { as, body })).status, 201);
  const status = { phase: "Resolved", occurrences: 12, processed: true };
  const written = await patch(`${OBSERVATIONS}/restored/status`, () => ({ status }))(as);
  assertEquals([written.status, written.body.status], [200, status]);
  const operator = cluster.clientCert("operator");
  assertEquals((await cluster.ask("GET", `${OBSERVATIONS}/restored`, { as: operator })).status, 200);
  assertEquals((await cluster.ask("DELETE", `${OBSERVATIONS}/restored`, { as: operator })).status, 200);
  const stranger = cluster.clientCert("stranger");
  assertEquals((await cluster.ask("DELETE", `${OBSERVATIONS}/a`, { as: stranger })).status, 403);
});

Deno.test("under the policy every deletion ends", () => deletionsEnd());

Deno.test("the webhook, and Gatekeeper's Rego over the same reviews, give the policy's answers", async () => {
  for (const object of policyOf(await renderChart({ values: VALUES })).toReversed()) {
    await cluster.expect("DELETE", await pathOf(cluster, object));
  }
  await eventually("the policy to be gone", async () => {
    return (await ACTS[0]?.ask(cluster.clientCert("operator")))?.status === 201;
  });
  const reviews: JsonObject[] = [];
  const served = serveReviews(cluster, reviews);
  try {
    const objects = await renderChart({
      values: { statusIntegrity: { ...VALUES.statusIntegrity, mode: "webhook" }, tls: { enabled: true } },
    });
    const rendered = one(objects, "ValidatingWebhookConfiguration");
    const [webhook] = Array.isArray(rendered.webhooks) ? rendered.webhooks : [];
    assert(isObject(webhook) && isObject(webhook.clientConfig));
    assertEquals(valueIn(webhook, "clientConfig", "service", "path"), ADMISSION_PATH);
    const reachable = (name: string, path: string, more: JsonObject = {}): JsonObject => ({
      ...webhook,
      name,
      clientConfig: { url: `${served.url}${path}`, caBundle: btoa(cluster.caPem) },
      ...more,
    });
    const configured = {
      ...rendered,
      webhooks: [
        reachable("integrity.zen.kube-zen.io", ADMISSION_PATH),
        reachable("recorder.zen.kube-zen.io", "/record", { matchConditions: [], rules: EVERYTHING }),
      ],
    };
    assertEquals(await applyObject(cluster, configured), []);
    await eventually("the webhook to be in force", async () => {
      return (await ACTS[0]?.ask(cluster.clientCert("operator")))?.status === 403;
    });
    reviews.length = 0;
    await judged({ controllerIsAsked: false });
    const judgedReviews = [...reviews];
    await deletionsEnd();
    reviews.splice(0, Infinity, ...judgedReviews);
    await cluster.expect("DELETE", await pathOf(cluster, configured));
  } finally {
    await served.shutdown();
  }
  // A restorer's and the operator's, and the controller's, which only the recorder got.
  assert(reviews.length >= 3 * ACTS.length, `${reviews.length} reviews`);
  const writers = [CONTROLLER, RESTORER];
  const verdicts = reviews.map((review) => {
    const request = readReview(review);
    assert(!("problem" in request));
    const judgement = judgeAdmission(request, { writers, exceptionMaxDays: 365 });
    return judgement.allowed ? [] : [judgement.message];
  });
  assert(verdicts.some((verdict) => verdict.length > 0) && verdicts.some((verdict) => verdict.length === 0));
  assertEquals(await regoVerdicts(reviews, writers), verdicts);
});

Deno.test("while the webhook cannot be reached, zen-watcher still writes, no other user does, and deletions end", async () => {
  const objects = await renderChart({
    values: { statusIntegrity: { mode: "webhook" }, tls: { enabled: true } },
  });
  // Its Service is in no namespace of this cluster.
  const rendered = one(objects, "ValidatingWebhookConfiguration");
  await applyObject(cluster, rendered);
  const create = ACTS[0];
  assert(create);
  const refused = await eventually("others to be refused", async () => {
    const answer = await create.ask(cluster.clientCert("operator"));
    return answer.status !== 201 && answer;
  });
  assertEquals(refused.status, 500);
  assertEquals((await create.ask(cluster.clientCert(CONTROLLER))).status, 201);
  await deletionsEnd();
  await cluster.expect("DELETE", await pathOf(cluster, rendered));
});

/** Also the writes that no user is refused. */
const EVERYTHING: JsonObject[] = [{
  apiGroups: ["zen.kube-zen.io"],
  apiVersions: ["*"],
  operations: ["CREATE", "UPDATE"],
  resources: ["*/*"],
}];

/**
 * The matrix for those who have the rights: writers may do all within the bound, the operator what changes nothing of ours.
 * The webhook is not asked about the controller.
 */
async function judged({ controllerIsAsked = true } = {}): Promise<void> {
  const all = ACTS.map(({ what, refusal, asOperator }) =>
    `${what}: ${asOperator ? `Forbidden, ${refusal}` : "yes"}`
  );
  const bound = ACTS.map(({ what, refusal, forAll }) =>
    `${what}: ${forAll ? `Forbidden, ${refusal}` : "yes"}`
  );
  assertEquals(await matrix(CONTROLLER), controllerIsAsked ? bound : all);
  assertEquals(await matrix(RESTORER), bound);
  assertEquals(
    await matrix("operator"),
    ACTS.map(({ what, refusal }) => `${what}: ${refusal === undefined ? "yes" : `Forbidden, ${refusal}`}`),
  );
}

/** The operator deletes Observations in every way, one that is held by a finalizer, and a whole namespace. */
async function deletionsEnd(): Promise<void> {
  const [operator, controller] = ["operator", CONTROLLER].map((user) => cluster.clientCert(user));
  const doomed = await cluster.createNamespace("doomed");
  const create = async (path: string, metadata: JsonObject) => {
    const { status, body } = await cluster.ask("POST", path, {
      body: { ...observation(), metadata },
      ...(controller && { as: controller }),
    });
    assertEquals(status, 201, JSON.stringify(body));
    return `${path}/${metadata.name}`;
  };
  const remove = (path: string, propagationPolicy: string) =>
    cluster.ask("DELETE", path, { body: { propagationPolicy }, ...(operator && { as: operator }) });
  const gone = (path: string) =>
    eventually(`${path} to be gone`, async () => (await cluster.ask("GET", path)).status === 404, {
      timeoutMs: 60_000,
    });
  await create(`/apis/zen.kube-zen.io/v1/namespaces/${doomed}/observations`, { name: "in-it" });
  const ends: Promise<unknown>[] = [];
  for (const policy of ["Background", "Foreground", "Orphan"]) {
    const path = await create(OBSERVATIONS, { name: `deleted-${nonce()}` });
    assertEquals((await remove(path, policy)).status, 200, policy);
    ends.push(gone(path));
  }
  assert(LONG.length > 1, "one is kept");
  const long = `${CONFIGURATION}/observationexceptions/${LONG.pop()}`;
  assertEquals((await remove(long, "Foreground")).status, 200);
  ends.push(gone(long));
  const held = await create(OBSERVATIONS, { name: `held-${nonce()}`, finalizers: [FINALIZER] });
  assertEquals((await remove(held, "Background")).status, 200);
  assert(operator);
  const freed = await patch(held, () => ({ metadata: { finalizers: null } }))(operator);
  assertEquals(freed.status, 200, JSON.stringify(freed.body));
  await cluster.expect("DELETE", `/api/v1/namespaces/${doomed}`);
  await Promise.all([...ends, gone(held), gone(`/api/v1/namespaces/${doomed}`)]);
}

async function matrix(user: string): Promise<string[]> {
  const lines: string[] = [];
  for (const { what, ask } of ACTS) {
    const { status, body } = await ask(cluster.clientCert(user));
    if (status < 300) lines.push(`${what}: yes`);
    else {
      const said = String(body.message);
      const known = [CREATED, CONTENT, MARKS, BONDS, STATUS, TOO_LONG].find((refusal) =>
        said.includes(refusal)
      ) ??
        said;
      lines.push(`${what}: ${body.reason}, ${known}`);
    }
  }
  return lines;
}

function policyOf(objects: readonly Rendered[]): Rendered[] {
  return objects.filter(({ kind }) => kind.startsWith("ValidatingAdmissionPolicy"));
}

/** The program's own route over TLS, and one that allows everything and keeps its reviews. */
function serveReviews({ authority }: RealCluster, reviews: JsonObject[]) {
  const app = new Hono();
  const review = admissionHandler({ admissionWriters: () => [RESTORER] });
  app.all(ADMISSION_PATH, (c) => review(c, { peer: "127.0.0.1", isTls: true }));
  app.post("/record", async (c) => {
    const review: unknown = await c.req.json();
    assert(isObject(review));
    reviews.push(review);
    const response = { uid: valueIn(review, "request", "uid") ?? "", allowed: true };
    return c.json({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", response });
  });
  const { certPem, keyPem } = authority.issue({
    usage: "server",
    commonName: "zen-watcher",
    ipAddresses: ["127.0.0.1"],
  });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, cert: certPem, key: keyPem, onListen() {} },
    (request) => app.fetch(request),
  );
  return { url: `https://127.0.0.1:${server.addr.port}`, shutdown: () => server.shutdown() };
}

/** What OPA makes of each review with the chart's Rego, as Gatekeeper would hand it over. */
async function regoVerdicts(reviews: readonly JsonObject[], writers: string[]): Promise<Json[]> {
  const inputs = reviews.map(({ request }) => ({
    review: request ?? null,
    parameters: { writers, exceptionMaxDays: 365 },
  }));
  const folder = await Deno.makeTempDir({ prefix: "zen-rego-" });
  try {
    await Deno.writeTextFile(`${folder}/input.json`, JSON.stringify({ inputs }));
    const query =
      "[sort([v.msg | v := data.zenwatcherintegrity.violation[_] with input as one]) | one := input.inputs[_]]";
    const { success, stdout, stderr } = await new Deno.Command(await ensureTool("opa"), {
      args: [
        "eval",
        "--v0-compatible",
        "--format=json",
        `--data=${CHART}files/gatekeeper/integrity.rego`,
        `--input=${folder}/input.json`,
        query,
      ],
    }).output();
    const decoder = new TextDecoder();
    assert(success, decoder.decode(stderr) + decoder.decode(stdout));
    const value = valueIn(JSON.parse(decoder.decode(stdout)), "result", 0, "expressions", 0, "value");
    assert(Array.isArray(value));
    // Gatekeeper tells every violation, the webhook the first.
    return value.map((messages) => Array.isArray(messages) ? messages.slice(0, 1) : messages);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function observation(): JsonObject {
  return { apiVersion: "zen.kube-zen.io/v1", kind: "Observation", spec: specOf() };
}

function specOf(): JsonObject {
  return {
    source: "trivy",
    category: "security",
    severity: "HIGH",
    eventType: "vulnerability",
    message: "CVE-2024-0001 in openssl",
    details: { x: "1" },
  };
}

function exception(expiresAt: string): JsonObject {
  return {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationException",
    spec: { match: { rules: ["CVE-2024-0001"] }, reason: "mitigated", justification: "x", expiresAt },
  };
}

function inDays(days: number): string {
  return new Date(Date.now() + days * 86_400_000).toISOString();
}

async function replace(as: CertKey, spec: JsonObject): Promise<ClusterAnswer> {
  const { body } = await cluster.expect("GET", `${OBSERVATIONS}/a`);
  const changed = { ...body, spec: { ...(isObject(body.spec) ? body.spec : {}), ...spec } };
  return await cluster.ask("PUT", `${OBSERVATIONS}/a`, { as, body: changed });
}

function jsonPatch(
  as: CertKey,
  path: string,
  change: { readonly path: string; readonly value: Json },
): Promise<ClusterAnswer> {
  const contentType = "application/json-patch+json";
  return cluster.ask("PATCH", path, { as, body: [{ op: "add", ...change }], contentType });
}

function owner(): JsonObject {
  return { apiVersion: "v1", kind: "ConfigMap", name: nonce(), uid: nonce() };
}

function number(): number {
  return 60 + Math.floor(Math.random() * 1e6);
}

function nonce(): string {
  return crypto.randomUUID();
}

function ready(): JsonObject {
  const lastTransitionTime = "2026-01-01T00:00:00Z";
  return {
    status: {
      conditions: [{ type: "Ready", status: "True", reason: "Said", message: nonce(), lastTransitionTime }],
    },
  };
}

/** Rights that RBAC gives; what admission makes of them is the matter. */
async function grant(): Promise<void> {
  const rbac = "/apis/rbac.authorization.k8s.io/v1";
  const resources = [
    "observations",
    "observationexceptions",
    "observationfilters",
    "ingesters",
    "observationmappings",
  ];
  const rules = [{
    apiGroups: ["zen.kube-zen.io"],
    resources: resources.flatMap((name) => [name, `${name}/status`]),
    verbs: ["get", "create", "update", "patch", "delete"],
  }, { apiGroups: [""], resources: ["users"], resourceNames: ["operator"], verbs: ["impersonate"] }];
  await cluster.expect("POST", `${rbac}/clusterroles`, { body: { metadata: { name: "writer" }, rules } });
  await cluster.expect("POST", `${rbac}/clusterrolebindings`, {
    body: {
      metadata: { name: "writer" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "writer" },
      subjects: AUTHORIZED.map((name) => ({ apiGroup: "rbac.authorization.k8s.io", kind: "User", name })),
    },
  });
}

async function feed(): Promise<void> {
  const create = (path: string, kind: string, rest: JsonObject) =>
    cluster.expect("POST", path, { body: { apiVersion: "zen.kube-zen.io/v1alpha1", kind, ...rest } });
  await cluster.expect("POST", OBSERVATIONS, {
    body: { ...observation(), metadata: { name: "a", labels: { "zen.kube-zen.io/fingerprint": "0" } } },
  });
  await cluster.expect("POST", OBSERVATIONS, {
    body: { ...observation(), metadata: { name: "held", finalizers: [FINALIZER] } },
  });
  await create(`${CONFIGURATION}/observationexceptions`, "ObservationException", {
    ...exception(inDays(30)),
    metadata: { name: "e" },
  });
  for (const name of LONG) {
    await create(`${CONFIGURATION}/observationexceptions`, "ObservationException", {
      ...exception(inDays(500)),
      metadata: { name },
    });
  }
  await create(`${CONFIGURATION}/observationfilters`, "ObservationFilter", {
    metadata: { name: "f" },
    spec: { targetSource: "trivy", minSeverity: "HIGH" },
  });
  await create(`${CONFIGURATION}/ingesters`, "Ingester", {
    metadata: { name: "i" },
    spec: { source: "i", type: "webhook", webhook: { path: "/i" }, mapping: { message: ".m" } },
  });
  await create(`${CONFIGURATION}/observationmappings`, "ObservationMapping", {
    metadata: { name: "m" },
    spec: { sourceName: "m", group: "a.test", version: "v1", kind: "Thing", mappings: { message: ".m" } },
  });
}
