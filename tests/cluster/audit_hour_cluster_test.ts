/**
 * The audit Observations of an hour on a real API server with controller-manager, under the chart's rights and filters and the
 * audit policy of docs/sources.md: ordinary work, a quota that blocks ReplicaSets, two restarts of the API server, and the acts
 * of a stolen token of zen-watcher's own account. `ZEN_AUDIT_MINUTES` sets the length, 1 by default; it prints the table of docs/sources.md.
 */
import { assert, assertEquals } from "@std/assert";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { textTable } from "../../scripts/support/table.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { pause, printLine } from "../chaos/form.ts";
import { AuditLog, judged } from "../support/audit_log.ts";
import { closedBooks } from "../support/books.ts";
import { valueIn } from "../support/chart.ts";
import type { Credentials } from "../support/cluster.ts";
import { choosePorts } from "../support/control_plane.ts";
import { readPage } from "../support/docs.ts";
import { type Envtest, startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { installChart } from "../support/installed.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { OWN_CRDS } from "../support/crds.ts";
import { isAllowed } from "../support/rights.ts";

const MINUTES = Number(Deno.env.get("ZEN_AUDIT_MINUTES") ?? "1");
const ROUND_MS = 10_000;
const MAX_ORDINARY_PER_HOUR = 20;
const OWN_NAMESPACE = "zen-system";
const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const APPS = "/api/v1/namespaces/apps";
const DEPLOYMENTS = "/apis/apps/v1/namespaces/apps/deployments";
const TOKEN_SECONDS = 6 * 3600;

/** Whose act an Observation shows. Everyone else's acts are ordinary. */
const ACTORS: Readonly<Record<string, string>> = {
  [`system:serviceaccount:${OWN_NAMESPACE}:zen-watcher`]: "stolen token",
  owner: "rights given to it",
  mallory: "one Audit-ID header",
};
const ORDINARY = "ordinary";

Deno.test("an hour of audit shows a stolen token's acts and fewer than 20 ordinary ones", async () => {
  const port = choosePorts().apiServer;
  const webhookToken = crypto.randomUUID();
  await using log = await AuditLog.create();
  await using cluster = await startEnvtest({
    users: [{ name: "dev" }, { name: "mallory" }, { name: "owner", groups: ["system:masters"] }],
    auditWebhookUrl: `http://127.0.0.1:${port}/audit/webhook/${webhookToken}`,
    auditPolicy: await documentedPolicy(),
    controllerManager: true,
    controllerAccounts: true,
    controllers: ["*"],
    extraArgs: log.serverArguments,
  });
  await cluster.applyCrds(OWN_CRDS);
  await ensureNamespaces(cluster, [OWN_NAMESPACE]);
  const installed = await installChart(cluster, { namespace: OWN_NAMESPACE });
  const stolen = {
    token: await cluster.serviceAccountToken(OWN_NAMESPACE, "zen-watcher", TOKEN_SECONDS),
  };
  const kubeconfig = `${cluster.folder}/controller.kubeconfig`;
  await Deno.writeTextFile(kubeconfig, cluster.kubeconfig({ as: stolen }), { mode: 0o600 });
  const { WEBHOOK_AUTH_TOKEN_FILE: _, ...env } = installed.env;
  const ci = await prepare(cluster);
  await using controller = await startController({
    kubeconfig,
    env: { ...env, WATCHER_PORT: String(port), WEBHOOK_AUTH_TOKEN: webhookToken },
  });
  await eventually("the audit to arrive", async () => (await audited(controller)).events > 0, {
    timeoutMs: 120_000,
  });

  const since = Date.now();
  const work = new OrdinaryWork(cluster, ci);
  const lengthMs = MINUTES * 60_000;
  const until = async (share: number) => await work.goOn(since + share * lengthMs);
  await until(0.2);
  await refusedActs(cluster, stolen);
  await until(0.35);
  await cluster.restartApiServer();
  await until(0.5);
  await allowedActs(cluster, stolen);
  await tenActsUnderOneHeader(cluster);
  await until(0.7);
  await cluster.restartApiServer();
  await until(1);

  const wantedOfToken = [
    "access-denied create pods/exec",
    "access-denied delete deployments",
    "access-denied list secrets",
    "pod-exec get pods/exec",
    "resource-deletion delete deployments",
  ];
  const stored = await eventually("every act to be stored", async () => {
    const found = await storedSince(cluster, since);
    const acts = found.filter(({ actor }) => actor === "stolen token").map(({ act }) => act);
    const headers = found.filter(({ actor }) => actor === "one Audit-ID header").length;
    if (wantedOfToken.every((act) => acts.includes(act)) && headers >= 10) return found;
    throw new Error(JSON.stringify({ acts, headers }));
  }, { timeoutMs: 60_000 });
  const logged = (await log.events()).filter((event) => judged.receivedAt(event) >= since);
  printTable(stored, { requests: logged.length, filtered: await filteredOf(controller) });

  const of = (actor: string) => stored.filter((one) => one.actor === actor);
  assertEquals(of("stolen token").map(({ act }) => act).sort(), wantedOfToken, "none of our own requests");
  assertEquals(of("one Audit-ID header").map(({ occurrences }) => occurrences), Array(10).fill(1));
  assertEquals(new Set(of("one Audit-ID header").map(({ auditID }) => auditID)).size, 1);
  const refused = of(ORDINARY).filter(({ rule }) => rule === "access-denied");
  assertEquals(refused, [], "a starting API server refuses the control plane, which is no finding");
  const perHour = of(ORDINARY).length / Math.max(1, MINUTES / 60);
  assert(perHour < MAX_ORDINARY_PER_HOUR, `${perHour} ordinary audit Observations an hour`);
  assert(blocked(logged) > 0, "the quota blocks ReplicaSets");
  const { failed } = (await closedBooks(controller.url)).audit ?? {};
  assertEquals(failed, 0);
});

/** What a quiet cluster holds: two teams' Deployments, one without room in its quota, a CronJob, and who works with them. */
async function prepare(cluster: Envtest): Promise<Credentials> {
  await ensureNamespaces(cluster, ["apps", "shop", "ci"]);
  await cluster.expect("POST", "/api/v1/namespaces/shop/resourcequotas", {
    body: { metadata: { name: "no-pods" }, spec: { hard: { pods: "0" } } },
  });
  for (const namespace of ["apps", "shop"]) {
    await cluster.expect("POST", `/apis/apps/v1/namespaces/${namespace}/deployments`, {
      body: deployment("web"),
    });
  }
  await cluster.expect("POST", DEPLOYMENTS, { body: deployment("payments") });
  for (const name of ["settings", "release", "status", "target"]) {
    await cluster.expect("POST", `${APPS}/configmaps`, { body: { metadata: { name } } });
  }
  await cluster.expect("POST", "/apis/batch/v1/namespaces/apps/cronjobs", {
    body: {
      metadata: { name: "tick" },
      spec: {
        schedule: "* * * * *",
        concurrencyPolicy: "Replace",
        jobTemplate: { spec: { template: { spec: { ...podSpec(), restartPolicy: "Never" } } } },
      },
    },
  });
  // `exec` needs a Pod on a node: the API server accepts the session before it calls the node.
  await cluster.expect("POST", "/api/v1/nodes", { body: { metadata: { name: "node-1" } } });
  await cluster.expect("PATCH", "/api/v1/nodes/node-1/status", {
    body: { status: { addresses: [{ type: "InternalIP", address: "127.0.0.1" }] } },
    contentType: "application/merge-patch+json",
  });
  await eventually(
    "the namespace's ServiceAccount",
    async () => (await cluster.ask("GET", `${APPS}/serviceaccounts/default`)).status === 200,
  );
  await cluster.expect("POST", `${APPS}/pods`, {
    body: {
      metadata: { name: "box" },
      spec: { ...podSpec(), nodeName: "node-1", tolerations: [{ operator: "Exists" }] },
    },
  });
  await cluster.expect("POST", "/api/v1/namespaces/ci/serviceaccounts", {
    body: { metadata: { name: "deployer" } },
  });
  await bind(cluster, "developers", { role: "admin", subjects: [{ kind: "User", name: "dev" }] });
  await bind(cluster, "deployers", {
    role: "edit",
    subjects: [{ kind: "ServiceAccount", name: "deployer", namespace: "ci" }],
  });
  await bind(cluster, "mallory", { role: "edit", subjects: [{ kind: "User", name: "mallory" }] });
  return { token: await cluster.serviceAccountToken("ci", "deployer", TOKEN_SECONDS) };
}

/** Binds a ClusterRole in the whole cluster. */
async function bind(
  cluster: Envtest,
  name: string,
  { role, subjects, as }: {
    readonly role: string;
    readonly subjects: readonly JsonObject[];
    readonly as?: Credentials;
  },
): Promise<void> {
  await cluster.expect("POST", `${RBAC}/clusterrolebindings`, {
    body: {
      metadata: { name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
      subjects: [...subjects],
    },
    ...(as && { as }),
  });
}

function deployment(name: string): JsonObject {
  const labels = { app: name };
  return {
    metadata: { name },
    spec: {
      replicas: 2,
      revisionHistoryLimit: 2,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: podSpec() },
    },
  };
}

function podSpec(): JsonObject {
  return { containers: [{ name: "main", image: "registry.example.org/team/app:1" }] };
}

/** A person with kubectl, a pipeline that deploys, and a program that keeps its state in a ConfigMap. */
class OrdinaryWork {
  #round = 0;
  readonly #dev: Credentials;

  constructor(readonly cluster: Envtest, readonly ci: Credentials) {
    this.#dev = cluster.user("dev");
  }

  /** Works, a round every ten seconds, until then. */
  async goOn(untilMs: number): Promise<void> {
    while (Date.now() < untilMs) {
      const startedAt = Date.now();
      await this.#work();
      await pause(Math.min(untilMs, startedAt + ROUND_MS) - Date.now());
    }
  }

  async #work(): Promise<void> {
    const round = this.#round++;
    const [dev, ci] = [this.#dev, this.ci];
    await kubectl(this.cluster, dev, ["get", "deployments,replicasets,pods,configmaps", "-n", "apps"]);
    await this.#change(`${APPS}/configmaps/status`, { as: ci, round });
    await this.cluster.ask("GET", `${APPS}/configmaps/absent`, { as: dev });
    await this.cluster.expect("PATCH", `${APPS}/configmaps/settings?dryRun=All`, {
      as: dev,
      body: { data: { round: String(round) } },
      contentType: "application/merge-patch+json",
    });
    if (round % 6 === 0) {
      await this.#change(`${APPS}/configmaps/release`, { as: ci, round });
      for (const namespace of ["apps", "shop"]) await this.#roll(namespace, round);
    }
    // A person changes a ConfigMap every twenty minutes.
    if (round % 120 === 1) await this.#change(`${APPS}/configmaps/settings`, { as: dev, round });
  }

  async #change(
    path: string,
    { as, round }: { readonly as: Credentials; readonly round: number },
  ): Promise<void> {
    await this.cluster.expect("PATCH", path, {
      as,
      body: { data: { round: String(round) } },
      contentType: "application/merge-patch+json",
    });
  }

  async #roll(namespace: string, round: number): Promise<void> {
    const annotations = { "kubectl.kubernetes.io/restartedAt": String(round) };
    await this.cluster.expect("PATCH", `/apis/apps/v1/namespaces/${namespace}/deployments/web`, {
      as: this.ci,
      body: { spec: { template: { metadata: { annotations } } } },
      contentType: "application/merge-patch+json",
    });
  }
}

/** What the chart's rights do not allow. */
async function refusedActs(cluster: Envtest, as: Credentials): Promise<void> {
  const acts = [
    ["DELETE", `${DEPLOYMENTS}/payments`],
    ["POST", `${APPS}/pods/box/exec?command=id&container=main`],
    ["GET", "/api/v1/secrets"],
  ] as const;
  for (const [method, path] of acts) {
    assertEquals((await cluster.ask(method, path, { as })).status, 403, path);
  }
}

/** The same after someone has given its account the rights. */
async function allowedActs(cluster: Envtest, as: Credentials): Promise<void> {
  const subjects = [{ kind: "ServiceAccount", name: "zen-watcher", namespace: OWN_NAMESPACE }];
  await bind(cluster, "helpful", { role: "cluster-admin", subjects, as: cluster.user("owner") });
  // By the owner: a request of the account that comes too early would be one more refused act.
  const user = `system:serviceaccount:${OWN_NAMESPACE}:zen-watcher`;
  const deletion = { verb: "delete", group: "apps", resource: "deployments", namespace: "apps" };
  await eventually(
    "the rights to be in force",
    () => isAllowed(cluster, user, { ...deletion, as: cluster.user("owner") }),
  );
  await cluster.expect("DELETE", `${DEPLOYMENTS}/payments`, { as });
  // No kubelet listens at the node's address, so kubectl fails after the API server accepted the session.
  await kubectl(cluster, as, ["exec", "-n", "apps", "box", "-c", "main", "--", "id"]);
  await cluster.expect("DELETE", `${RBAC}/clusterrolebindings/helpful`, { as: cluster.user("owner") });
}

async function tenActsUnderOneHeader(cluster: Envtest): Promise<void> {
  for (let round = 0; round < 10; round++) {
    await cluster.expect("PATCH", `${APPS}/configmaps/target`, {
      as: cluster.user("mallory"),
      headers: { "Audit-ID": "00000000-0000-0000-0000-000000000000" },
      body: { data: { round: String(round) } },
      contentType: "application/merge-patch+json",
    });
  }
}

/** Runs kubectl as this user, whatever comes of it. */
async function kubectl(cluster: Envtest, as: Credentials, args: readonly string[]): Promise<void> {
  const kubeconfig = await Deno.makeTempFile({ suffix: ".kubeconfig" });
  await Deno.writeTextFile(kubeconfig, cluster.kubeconfig({ as }), { mode: 0o600 });
  await new Deno.Command("kubectl", {
    args: ["--kubeconfig", kubeconfig, ...args],
    env: { KUBECACHEDIR: `${cluster.folder}/kubectl` },
    stdin: "null",
  }).output();
  await Deno.remove(kubeconfig);
}

/** An audit Observation that counts an act of the measured time. */
interface Stored {
  readonly actor: string;
  readonly user: string;
  readonly rule: string;
  /** `resource-deletion delete deployments`. */
  readonly act: string;
  readonly auditID: string;
  readonly occurrences: number;
  readonly message: string;
}

async function storedSince(cluster: Envtest, since: number): Promise<Stored[]> {
  return (await listAll(cluster, OBSERVATIONS)).flatMap((observation): Stored[] => {
    const { spec, status } = observation;
    if (!isObject(spec) || spec.source !== "audit" || !isObject(spec.details)) return [];
    const { user, verb, requestURI, auditID } = spec.details;
    if (Date.parse(String(valueIn(status, "lastSeenAt") ?? spec.detectedAt)) < since) return [];
    const rule = String(spec.eventType);
    const subresource = spec.details.subresource === undefined ? "" : `/${spec.details.subresource}`;
    const plural = /\/(?:api\/v1|apis\/[^/]+\/[^/]+)\/(?:namespaces\/[^/]+\/)?([^/]+)/.exec(
      String(requestURI),
    )?.[1];
    return [{
      actor: ACTORS[String(user)] ?? ORDINARY,
      user: String(user ?? ""),
      rule,
      act: `${rule} ${verb} ${plural ?? requestURI}${subresource}`,
      auditID: String(auditID),
      occurrences: Number(valueIn(status, "occurrences") ?? 1),
      message: String(spec.message),
    }];
  });
}

function printTable(
  stored: readonly Stored[],
  { requests, filtered }: { readonly requests: number; readonly filtered: readonly string[] },
): void {
  const groups = Map.groupBy(stored, ({ actor, rule }) => `${actor}|${rule}`);
  const rows = [...groups].sort().map(([key, group]) => {
    const occurrences = group.reduce((sum, one) => sum + one.occurrences, 0);
    return [...key.split("|"), String(group.length), String(occurrences)];
  });
  printLine(`${MINUTES} minutes, ${requests} audit events, ${filtered.join(", ")}`);
  printLine(textTable(["WHOSE", "RULE", "OBSERVATIONS", "OCCURRENCES"], rows));
  const ordinary = stored.filter(({ actor }) => actor === ORDINARY);
  printLine(
    ordinary.map(({ act, occurrences, message }) => `${act} (${occurrences}): ${message}`).join("\n"),
  );
}

/** Requests of the ReplicaSet controller that the quota refused. */
function blocked(events: readonly JsonObject[]): number {
  return events.filter((event) =>
    judged.code(event) === 403 && judged.resource(event) === "pods" &&
    judged.user(event).includes("replicaset")
  ).length;
}

async function audited(controller: Controller): Promise<{ readonly events: number }> {
  return (await closedBooks(controller.url)).audit ?? { events: 0 };
}

/** `own_request 12`: events that were filtered, by reason. */
async function filteredOf(controller: Controller): Promise<string[]> {
  const text = await (await fetch(`${controller.metricsUrl}/metrics`)).text();
  const pattern = /^zen_watcher_observations_filtered_total\{(.*source="audit".*)\} ([1-9]\d*)$/gm;
  return [...text.matchAll(pattern)].map(([, labels = "", count]) =>
    `${/reason="([^"]*)"/.exec(labels)?.[1]} ${count}`
  );
}

/** The policy of docs/sources.md. */
async function documentedPolicy(): Promise<string> {
  const { blocks } = await readPage("docs/sources.md");
  const policy = blocks.find(({ text }) => text.startsWith("apiVersion: audit.k8s.io/v1\nkind: Policy\n"));
  assert(policy, "docs/sources.md has the audit policy");
  return policy.text;
}
