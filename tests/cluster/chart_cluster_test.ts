/** The chart against a real API server: every rendering applied without a warning, Pods under PSS restricted, a life with Helm. */
import { assert, assertEquals, assertMatch, assertObjectMatch, assertRejects } from "@std/assert";
import { parse } from "yaml";
import { dirname } from "node:path";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import { readSettings } from "../../src/settings.ts";
import { rbacRules } from "../../src/sources/rbac.ts";
import {
  applyObject,
  CHART,
  environmentOf,
  helm,
  one,
  renderChart,
  type Rendered,
  type RenderOptions,
  valueIn,
} from "../support/chart.ts";
import { startTestApp } from "../support/app.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { ensureNamespaces } from "../support/objects.ts";
import { pretendNodes } from "../support/pretend_nodes.ts";
import { Shell } from "../support/shell.ts";
import { openWorkplace } from "../support/workplace.ts";
import { connectionTo } from "./watching.ts";
import { isAllowed } from "../support/rights.ts";
import { OWN_CRDS, yamlFiles } from "../support/crds.ts";

const VALUES_FILES = ["values-small.yaml", "values-ha.yaml"];
const FOREIGN_CRDS = new URL("../fixtures/foreign-crds/", import.meta.url);
const EXAMPLES = new URL("../../helm/zen-watcher/examples/", import.meta.url);
/** What each example for extraObjects adds. */
const ADDED: Readonly<Record<string, readonly string[]>> = {
  "grafana-dashboard.yaml": Array(4).fill("GrafanaDashboard"),
  "httproute.yaml": ["HTTPRoute"],
  "ingress.yaml": ["Ingress"],
};
const DIGEST = `sha256:${"0".repeat(64)}`;

/** Each value that changes what is rendered, by what it is about. */
const TOGGLES: Readonly<Record<string, JsonObject>> = {
  "an autoscaler": { autoscaling: { enabled: true } },
  "Pods replaced at once, with rarer fields": {
    strategy: { type: "Recreate" },
    revisionHistoryLimit: 0,
    podSpec: { hostAliases: [{ ip: "10.0.0.1", hostnames: ["proxy"] }] },
    podDisruptionBudget: { minAvailable: "50%" },
  },
  "an image of another registry, and further objects": {
    global: { imageRegistry: "mirror.test:5000" },
    extraObjects: [
      {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name: "one", namespace: "{{ .Release.Namespace }}" },
        data: { of: "{{ .Release.Name }}" },
      },
      "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-two\n  namespace: {{ .Release.Namespace }}\n",
    ],
  },
  "TLS with a generated certificate": { tls: { enabled: true } },
  "TLS with a Secret of one's own and client certificates": {
    tls: { enabled: true, existingSecret: "mine", caBundle: btoa("ca"), clientCaSecret: "senders" },
  },
  "TLS by cert-manager": { tls: { enabled: true, certManager: { enabled: true } } },
  "the webhook form": { statusIntegrity: { mode: "webhook" }, tls: { enabled: true } },
  "the webhook form, by cert-manager": {
    statusIntegrity: { mode: "webhook" },
    tls: { enabled: true, certManager: { enabled: true } },
  },
  "Gatekeeper": { statusIntegrity: { mode: "gatekeeper", restorers: ["anna"] } },
  "no status integrity": { statusIntegrity: { mode: "none" } },
  "restorers and further controllers": {
    statusIntegrity: {
      restorers: ['a"b', "system:serviceaccount:b:r"],
      controllers: ["system:serviceaccount:east:w"],
    },
  },
  "no token": { webhooks: { auth: { mode: "none" } } },
  "a token Secret of one's own": { webhooks: { auth: { existingSecret: "mine", key: "t" } } },
  "everything watched": {
    serviceMonitor: {
      enabled: true,
      labels: { release: "prometheus" },
      namespace: "default",
      relabelings: [{ action: "labeldrop", regex: "pod" }],
      metricRelabelings: [{ action: "drop", regex: "go_.*", sourceLabels: ["__name__"] }],
      scheme: "https",
      tlsConfig: { insecureSkipVerify: true },
    },
    vmServiceScrape: { enabled: true },
    prometheusRule: {
      enabled: true,
      namespace: "default",
      labels: { release: "prometheus" },
      alertLabels: { team: "sec" },
      disabledAlerts: ["ZenWatcherDown"],
    },
    dashboards: { enabled: true, annotations: { grafana_folder: "Security" } },
  },
  "a shard": { watchNamespaces: ["kube-bench", "checkov"], instance: "east", tenantFilters: true },
  "a shard with the cluster's own": { watchNamespaces: ["checkov"], watchClusterScoped: true },
  "tenants": { tenantFilters: true, trustedConfigNamespaces: ["team"] },
  "ConfigMaps in the release's namespace": { kubeBench: { namespace: "" }, checkov: { namespace: "" } },
  "no filters": { filters: { create: false } },
  "a filter ConfigMap elsewhere": { filters: { namespace: "default", name: "f", key: "f.yaml" } },
  "no RBAC": { rbac: { create: false } },
  "configurators and an Ingester's Secret": {
    rbac: {
      aggregateToView: false,
      configurators: [{ kind: "Group", name: "sec", apiGroup: "rbac.authorization.k8s.io" }],
    },
    webhooks: { ingesterSecrets: ["alertmanager"] },
    extraSourceRules: [{
      apiGroups: ["cert-manager.io"],
      resources: ["certificates"],
      verbs: ["get", "list", "watch"],
    }],
  },
  "a ServiceAccount of one's own": { serviceAccount: { create: false, name: "mine" } },
  "no NetworkPolicy": { networkPolicy: { enabled: false } },
  "a narrow NetworkPolicy": {
    networkPolicy: {
      webhookFrom: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "falco" } } }],
      apiServer: { ports: [6443], cidrs: ["10.0.0.1/32"] },
    },
  },
  "labels given twice": {
    commonLabels: { release: "mine", team: "sec", "app.kubernetes.io/name": "other" },
    podLabels: { team: "pods", "app.kubernetes.io/instance": "other" },
    serviceMonitor: { enabled: true, labels: { release: "prometheus" } },
    prometheusRule: { enabled: true, labels: { release: "prometheus" } },
    dashboards: { enabled: true, labels: { team: "grafana" } },
  },
  "nothing kept when it is uninstalled": {
    crds: { keep: false },
    webhooks: { auth: { keep: false } },
    tls: { enabled: true, keep: false },
  },
  "a Service that stays": { service: { keep: true, annotations: { a: "b" } } },
  "CRDs installed otherwise": { crds: { enabled: false } },
  "Pods in every detail": {
    image: { digest: DIGEST },
    imagePullSecrets: [{ name: "pull" }],
    podAntiAffinity: "none",
    podAnnotations: { a: "b" },
    podLabels: { c: "d" },
    commonLabels: { team: "platform" },
    nodeSelector: { "kubernetes.io/os": "linux" },
    tolerations: [{ key: "k", operator: "Exists", effect: "NoSchedule" }],
    extraEnv: [{ name: "LOG_FORMAT", value: "text" }],
    settings: { LOG_LEVEL: "DEBUG", DEDUP_WINDOW_SECONDS: 120, OBSERVATION_MAX_TOTAL: 1000000 },
    extraVolumes: [{ name: "x", emptyDir: {} }],
    extraVolumeMounts: [{ name: "x", mountPath: "/x" }],
    service: { type: "NodePort", annotations: { a: "b" } },
    fullnameOverride: "watcher",
  },
  "an affinity of one's own": {
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: "a", operator: "Exists" }] }],
        },
      },
    },
  },
};

const cluster = await startEnvtest();
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());
await cluster.applyCrds(await yamlFiles(FOREIGN_CRDS));

Deno.test("helm lint --strict finds nothing, with every values file", async () => {
  for (const file of [undefined, ...VALUES_FILES]) {
    const out = await helm(["lint", "--strict", CHART, ...(file ? ["--values", CHART + file] : [])]);
    assertMatch(out, /1 chart\(s\) linted, 0 chart\(s\) failed/);
  }
});

Deno.test("Helm install, upgrade and uninstall: token and certificate stay, NOTES work, and Observations survive", async () => {
  const namespace = "lived";
  const common = ["--namespace", namespace, "--kubeconfig", cluster.kubeconfigPath];
  const release = ["watcher", CHART, ...common, "--set", "tls.enabled=true,fullnameOverride=lived"];
  await helm(["install", ...release, "--create-namespace"]);
  const secrets = async () => {
    const read = (name: string) =>
      cluster.expect("GET", `/api/v1/namespaces/${namespace}/secrets/lived-${name}`);
    const [webhook, tls] = await Promise.all([read("webhook"), read("tls")]);
    return { webhook: webhook.body.data, tls: tls.body.data };
  };
  const before = await secrets();
  const token = atob(String(valueIn(before.webhook, "token")));
  assertMatch(token, /^[A-Za-z0-9]{40}$/);
  const observation = await createObservation(`system:serviceaccount:${namespace}:lived`, namespace);
  const upgraded = await helm(["upgrade", ...release, "--set", "replicaCount=3"]);
  assertEquals(await secrets(), before);

  const notes = upgraded.slice(upgraded.indexOf("NOTES:"));
  const tokenCommand = /^ {2}(TOKEN=.*)$/m.exec(notes)?.[1];
  const falcoCommand = /^ {2}(echo .*)$/m.exec(notes)?.[1];
  const auditCommand = /^ {2}(cat <<END\n[\s\S]*?\n {2}END)$/m.exec(notes)?.[1]?.replaceAll("\n  ", "\n");
  assert(tokenCommand && falcoCommand && auditCommand, notes);
  const said = await shell(`${tokenCommand}\n${falcoCommand}\n`);
  assertEquals(said.trim(), `http://lived.${namespace}.svc:8080/falco/webhook/${token}`);
  const config = parse(await shell(`${tokenCommand}\n${auditCommand}\n`));
  const { server, ...trust } = config.clusters[0].cluster;
  assertMatch(server, /^https:\/\/10\.[0-9.]+:8443\/audit\/webhook$/);
  assertEquals(trust, {
    "tls-server-name": `lived.${namespace}.svc`,
    "certificate-authority-data": String(valueIn(before.tls, "ca.crt")),
  });
  assertEquals(config.users[0].user, { token });

  await helm(["uninstall", "watcher", ...common]);
  const deployment = `/apis/apps/v1/namespaces/${namespace}/deployments/lived`;
  assertEquals((await cluster.ask("GET", deployment)).status, 404);
  assertEquals((await cluster.ask("GET", "/api/v1/namespaces/kube-bench")).status, 200);
  assertEquals((await cluster.expect("GET", observation.path)).body.spec, observation.spec);
  await helm(["install", ...release]);
  assertEquals((await cluster.ask("GET", deployment)).status, 200);
  assertEquals(await secrets(), before, "a reinstall keeps token and certificate");
  assertEquals((await cluster.expect("GET", observation.path)).body.spec, observation.spec);
  await helm(["uninstall", "watcher", ...common]);
});

Deno.test("every command of the notes can be pasted and shows something, helm test too", async () => {
  const namespace = "noted";
  const common = ["--namespace", namespace, "--kubeconfig", cluster.kubeconfigPath];
  await cluster.applyCrds(OWN_CRDS);
  const release = ["noted", CHART, ...common, "--set", "crds.enabled=false"];
  const installed = await helm(["install", ...release, "--create-namespace"]);
  const name = "noted-zen-watcher";
  await using nodes = pretendNodes(cluster, { namespace, name });
  const token = await cluster.serviceAccountToken(namespace, name);
  await using app = await startTestApp({
    server: connectionTo(cluster, { token }),
    env: { POD_NAMESPACE: namespace },
  });
  await using place = await openWorkplace(
    await Deno.readTextFile(cluster.kubeconfigPath),
    [dirname(await ensureTool("helm"))],
  );
  await using shell = new Shell({ cwd: place.folder, env: place.env });
  // There is no kubelet to forward to a port: the program runs beside the test.
  await shell.run(
    `kubectl() { case "$*" in *port-forward*) echo Forwarding ;; *) timeout 60 kubectl "$@" ;; esac; }
    helm() { timeout 60 helm "$@"; }`,
  );
  const shown: Record<string, string> = {};
  for (const command of commandsOfNotes(installed)) {
    const placed = command.replaceAll("http://127.0.0.1:8080", app.url)
      .replaceAll("http://127.0.0.1:9090", app.metricsUrl);
    // What a command in the background prints comes when it likes.
    shown[command] = await shell.run(placed.endsWith("&") ? `${placed} wait` : placed);
    assert(shown[command].trim() !== "" || command.startsWith("TOKEN="), command);
  }
  const said = Object.values(shown).join("");
  for (
    const words of [
      "successfully rolled out",
      "Phase:          Succeeded",
      "Forwarding",
      '"falco"',
      `http://noted-zen-watcher.noted.svc:8080/falco/webhook/`,
      "kind: Config",
      "zen_watcher_observations_filtered_total",
    ]
  ) assertMatch(said, new RegExp(RegExp.escape(words)), words);
  assertEquals(nodes.ran, [`${name}-rights`]);

  const role = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles/${name}`;
  const rules = valueIn((await cluster.expect("GET", role)).body, "rules");
  assert(Array.isArray(rules) && rules.length > 1);
  const fewer = { body: { rules: rules.slice(1) }, contentType: "application/merge-patch+json" };
  await cluster.expect("PATCH", role, fewer);
  await eventually("the right to be gone", async () => {
    const failed = await shell.run(`helm -n ${namespace} test noted 2>&1 || echo "ended with $?"`);
    return failed.includes("ended with 1") && failed.includes("Failed");
  }, { timeoutMs: 60_000 });
  assertMatch(nodes.said, /may not do \d+ of \d+ things zen-watcher needs\. Missing rules:/);
  await helm(["uninstall", "noted", ...common]);
});

Deno.test("the autoscaler never goes below replicaCount", async () => {
  const objects = await renderChart({ values: { replicaCount: 4, autoscaling: { enabled: true } } });
  assertEquals(valueIn(one(objects, "HorizontalPodAutoscaler"), "spec", "minReplicas"), 4);
  for (const values of [{ replicaCount: 6 }, { autoscaling: { minReplicas: 6 } }]) {
    const autoscaling = { enabled: true, ...values.autoscaling };
    const { message } = await assertRejects(() => renderChart({ values: { ...values, autoscaling } }), Error);
    assertMatch(message, /autoscaling\.maxReplicas 5 is below the 6 replicas .*: set it to 6 or more/);
    await renderChart({ values: { ...values, autoscaling: { ...autoscaling, maxReplicas: 6 } } });
  }
});

Deno.test("an upgrade that turns the autoscaler on keeps the replicas there are", async () => {
  const common = ["--namespace", "scaled", "--kubeconfig", cluster.kubeconfigPath];
  const release = ["scaled", CHART, ...common, "--set", "fullnameOverride=scaled,crds.enabled=false"];
  await helm(["install", ...release, "--create-namespace"]);
  const path = "/apis/apps/v1/namespaces/scaled/deployments/scaled";
  const replicas = async () => valueIn((await cluster.expect("GET", path)).body, "spec", "replicas");
  assertEquals(await replicas(), 2);
  const scale = { body: { spec: { replicas: 4 } }, contentType: "application/merge-patch+json" };
  await cluster.expect("PATCH", path, scale);
  const scaled = ["--set", "autoscaling.enabled=true"];
  await helm(["upgrade", ...release, ...scaled]);
  assertEquals(await replicas(), 4);
  await helm(["upgrade", ...release, ...scaled, "--set", "replicaCount=5"]);
  assertEquals(await replicas(), 5);
  await helm(["uninstall", "scaled", ...common]);
});

Deno.test("an upgrade that turns the autoscaler on is refused where it would stop replicas that run", async () => {
  const common = ["--namespace", "crowded", "--kubeconfig", cluster.kubeconfigPath];
  const release = ["crowded", CHART, ...common, "--set", "fullnameOverride=crowded,crds.enabled=false"];
  await helm(["install", ...release, "--create-namespace"]);
  const path = "/apis/apps/v1/namespaces/crowded/deployments/crowded";
  const scale = { body: { spec: { replicas: 8 } }, contentType: "application/merge-patch+json" };
  await cluster.expect("PATCH", path, scale);
  const upgrade = (maxReplicas: number) =>
    helm(["upgrade", ...release, "--set", `autoscaling.enabled=true,autoscaling.maxReplicas=${maxReplicas}`]);
  const error = await assertRejects(() => upgrade(5), Error);
  assertMatch(
    error.message,
    /autoscaling\.maxReplicas 5 is below the 8 replicas that run.*: set it to 8 or more/,
  );
  await upgrade(8);
  assertEquals(valueIn((await cluster.expect("GET", path)).body, "spec", "replicas"), 8);
  // Once it is on, a smaller maximum is the operator's decision.
  await upgrade(5);
  const hpa = "/apis/autoscaling/v2/namespaces/crowded/horizontalpodautoscalers/crowded";
  assertEquals(valueIn((await cluster.expect("GET", hpa)).body, "spec", "maxReplicas"), 5);
  await helm(["uninstall", "crowded", ...common]);
});

Deno.test("service.keep keeps the Service and its address for the next release; the Lease is deleted with the release", async () => {
  const common = ["--namespace", "stays", "--kubeconfig", cluster.kubeconfigPath];
  const release = ["stays", CHART, ...common, "--set", "fullnameOverride=stays,crds.enabled=false"];
  const service = "/api/v1/namespaces/stays/services/stays";
  const lease = "/apis/coordination.k8s.io/v1/namespaces/stays/leases/zen-watcher-leader-election";
  const address = async () => valueIn((await cluster.expect("GET", service)).body, "spec", "clusterIP");
  await helm(["install", ...release, "--create-namespace", "--set", "service.keep=true"]);
  const before = await address();
  const held = {
    spec: { holderIdentity: "one", leaseDurationSeconds: 15, renewTime: "2026-01-02T03:04:05.000000Z" },
  };
  await cluster.expect("PATCH", lease, { body: held, contentType: "application/merge-patch+json" });
  await helm(["upgrade", ...release, "--set", "service.keep=true,replicaCount=3"]);
  assertEquals(
    valueIn((await cluster.expect("GET", lease)).body, "spec"),
    held.spec,
    "an upgrade leaves the leader",
  );
  await helm(["uninstall", "stays", ...common]);
  assertEquals((await cluster.ask("GET", lease)).status, 404);
  await helm(["install", ...release]);
  assertEquals(await address(), before);
  await helm(["uninstall", "stays", ...common]);
  assertEquals((await cluster.ask("GET", service)).status, 404);
});

Deno.test("a Lease that zen-watcher created itself is in no release's way", async () => {
  const common = ["--namespace", "leased", "--kubeconfig", cluster.kubeconfigPath];
  await cluster.expect("POST", "/api/v1/namespaces", { body: { metadata: { name: "leased" } } });
  const leases = "/apis/coordination.k8s.io/v1/namespaces/leased/leases";
  const body = { metadata: { name: "zen-watcher-leader-election" }, spec: { holderIdentity: "older" } };
  await cluster.expect("POST", leases, { body });
  await helm(["install", "leased", CHART, ...common, "--set", "crds.enabled=false"]);
  const { body: kept } = await cluster.expect("GET", `${leases}/zen-watcher-leader-election`);
  assertEquals(valueIn(kept, "spec", "holderIdentity"), "older");
  await helm(["uninstall", "leased", ...common]);
});

/** Values, and what they set: a kind, a path in it, and what is there by default and with the values. */
const PLACES: readonly (readonly [JsonObject, string, readonly (string | number)[], unknown, unknown])[] = [
  [
    { podDisruptionBudget: { minAvailable: 1 } },
    "PodDisruptionBudget",
    ["spec", "maxUnavailable"],
    1,
    undefined,
  ],
  [
    { podDisruptionBudget: { minAvailable: "50%" } },
    "PodDisruptionBudget",
    ["spec", "minAvailable"],
    undefined,
    "50%",
  ],
  [
    { webhooks: { auth: { keep: false } } },
    "Secret",
    ["metadata", "annotations", "helm.sh/resource-policy"],
    "keep",
    undefined,
  ],
  [
    { service: { keep: true, annotations: { a: "b" } } },
    "Service",
    ["metadata", "annotations"],
    undefined,
    { "helm.sh/resource-policy": "keep", a: "b" },
  ],
  [
    { revisionHistoryLimit: 0 },
    "Deployment",
    ["spec", "revisionHistoryLimit"],
    3,
    0,
  ],
  [
    { strategy: { type: "Recreate" } },
    "Deployment",
    ["spec", "strategy"],
    { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    { type: "Recreate" },
  ],
  [
    { podSpec: { hostAliases: [{ ip: "10.0.0.1", hostnames: ["proxy"] }] } },
    "Deployment",
    ["spec", "template", "spec", "hostAliases"],
    undefined,
    [{ ip: "10.0.0.1", hostnames: ["proxy"] }],
  ],
  [
    { startupProbe: { failureThreshold: 90 } },
    "Deployment",
    ["spec", "template", "spec", "containers", 0, "startupProbe"],
    probe("/livez", { initialDelaySeconds: 0, periodSeconds: 1, failureThreshold: 60 }),
    probe("/livez", { initialDelaySeconds: 0, periodSeconds: 1, failureThreshold: 90 }),
  ],
  [
    {},
    "Deployment",
    ["spec", "template", "spec", "containers", 0, "readinessProbe"],
    probe("/ready", { initialDelaySeconds: 0, periodSeconds: 5, failureThreshold: 3 }),
    probe("/ready", { initialDelaySeconds: 0, periodSeconds: 5, failureThreshold: 3 }),
  ],
  [
    { networkPolicy: { apiServer: { ports: [6443] } } },
    "NetworkPolicy",
    ["spec", "egress", 0, "ports"],
    [443, 6443, 8443, 16443].map((port) => ({ port, protocol: "TCP" })),
    [{ port: 6443, protocol: "TCP" }],
  ],
  [
    {
      serviceMonitor: {
        enabled: true,
        namespace: "monitoring",
        scheme: "https",
        tlsConfig: { caFile: "/ca" },
      },
    },
    "ServiceMonitor",
    ["spec", "endpoints", 0],
    undefined,
    {
      port: "metrics",
      path: "/metrics",
      interval: "30s",
      scrapeTimeout: "10s",
      scheme: "https",
      tlsConfig: { caFile: "/ca" },
    },
  ],
  [
    { prometheusRule: { enabled: true, namespace: "monitoring" } },
    "PrometheusRule",
    ["metadata", "namespace"],
    undefined,
    "monitoring",
  ],
];

Deno.test("values are set where they belong, and their defaults are those of the documentation", async () => {
  for (const [values, kind, path, before, after] of PLACES) {
    const where = `${kind} ${path.join(".")}`;
    const found = async (given: JsonObject) =>
      valueIn((await renderChart({ values: given })).find((each) => each.kind === kind), ...path);
    assertEquals(await found({}), before, where);
    assertEquals(await found(values), after, where);
  }
});

Deno.test("values-ha.yaml needs no operator", async () => {
  const groups = (await renderChart({ valuesFiles: ["values-ha.yaml"] })).map(({ apiVersion }) =>
    apiVersion.includes("/") ? apiVersion.split("/")[0] ?? "" : ""
  );
  // A group of Kubernetes itself has no dot, or ends in k8s.io.
  assertEquals(groups.filter((group) => group.includes(".") && !group.endsWith(".k8s.io")), []);
});

function probe(path: string, times: JsonObject): JsonObject {
  return { httpGet: { path, port: "http" }, timeoutSeconds: 5, ...times };
}

Deno.test("on OpenShift the cluster chooses user and groups", async () => {
  const context = async (apiVersions: readonly string[]) => {
    const objects = await renderChart({ apiVersions });
    const pod = valueIn(one(objects, "Pod"), "spec", "securityContext");
    const template = valueIn(one(objects, "Deployment"), "spec", "template", "spec", "securityContext");
    assertEquals(pod, template);
    return template;
  };
  const seccompProfile = { type: "RuntimeDefault" };
  assertEquals(await context(["security.openshift.io/v1"]), { runAsNonRoot: true, seccompProfile });
  assertEquals(await context([]), {
    runAsNonRoot: true,
    runAsUser: 65532,
    runAsGroup: 65532,
    fsGroup: 65532,
    seccompProfile,
  });
});

Deno.test("alerts are those of the file, less the disabled ones, with the labels that are asked for", async () => {
  const file = parse(
    (await Deno.readTextFile(`${CHART}files/rules.yaml`)).replaceAll("zen-watcher-job", "zen-watcher")
      .replaceAll("RUNBOOKS", "https://runbooks.test"),
  );
  const rendered = async (prometheusRule: JsonObject) => {
    const values = {
      prometheusRule: { enabled: true, runbookUrl: "https://runbooks.test", ...prometheusRule },
    };
    return valueIn(one(await renderChart({ values }), "PrometheusRule"), "spec");
  };
  assertEquals(await rendered({}), file);
  const rules = (groups: Json | undefined) =>
    (Array.isArray(groups) ? groups : []).flatMap((group) => valueIn(group, "rules") ?? []).flat().filter(
      isObject,
    );
  const less = rules(
    valueIn(
      await rendered({ disabledAlerts: ["ZenWatcherDown"], alertLabels: { team: "sec", severity: "none" } }),
      "groups",
    ),
  );
  const wanted = rules(file.groups).filter(({ alert }) => alert !== "ZenWatcherDown")
    .map((rule) =>
      rule.alert === undefined
        ? rule
        : { ...rule, labels: { team: "sec", ...(isObject(rule.labels) && rule.labels) } }
    );
  assertEquals(less, wanted);
  assertEquals(less.length, rules(file.groups).length - 1);
});

Deno.test("each example for extraObjects is rendered, and taken by the API server", async (t) => {
  for await (const { name } of Deno.readDir(EXAMPLES)) {
    if (!name.endsWith(".yaml")) continue;
    await t.step(name, async () => {
      const values = parse(await Deno.readTextFile(new URL(name, EXAMPLES)));
      const namespace = await restrictedNamespace();
      const objects = await renderChart({ values, namespace });
      const before = await renderChart({ values: { ...values, extraObjects: [] }, namespace });
      const isThere = ({ kind, metadata }: Rendered) =>
        before.some((each) => each.kind === kind && each.metadata.name === metadata.name);
      const added = objects.filter((each) => !isThere(each));
      assertEquals(added.map(({ kind }) => kind), ADDED[name]);
      for (const object of added) assertEquals(await applyObject(cluster, object), []);
    });
  }
});

Deno.test("the examples in Chart.yaml are taken by the API server", async () => {
  await cluster.applyCrds(OWN_CRDS);
  await ensureNamespaces(cluster, ["zen-system", "shop"]);
  const { annotations } = parse(await Deno.readTextFile(`${CHART}Chart.yaml`));
  const examples: Rendered[] = parse(annotations["artifacthub.io/crdsExamples"]);
  assertEquals(
    examples.map(({ kind }) => kind),
    parse(annotations["artifacthub.io/crds"]).map(
      ({ kind }: JsonObject) => kind,
    ),
  );
  for (const example of examples) {
    const placed = { ...example, metadata: { namespace: "zen-system", ...example.metadata } };
    assertEquals(await applyObject(cluster, placed, { dryRun: true }), [], example.kind);
  }
});

Deno.test("extraObjects are rendered as templates, and the image has the registry that is named", async () => {
  const objects = await renderChart({
    values: TOGGLES["an image of another registry, and further objects"]!,
  });
  assertEquals(one(objects, "ConfigMap", "one").data, { of: "zen-watcher" });
  one(objects, "ConfigMap", "zen-watcher-two");
  const image = async (values: JsonObject) =>
    valueIn(
      one(await renderChart({ values }), "Deployment"),
      "spec",
      "template",
      "spec",
      "containers",
      0,
      "image",
    );
  const { version } = parse(await Deno.readTextFile(`${CHART}Chart.yaml`));
  const global = { imageRegistry: "mirror.test:5000" };
  const repository = "kube-zen/zen-watcher";
  assertEquals(await image({}), `ghcr.io/${repository}:${version}`);
  assertEquals(await image({ image: { registry: "own.test" } }), `own.test/${repository}:${version}`);
  assertEquals(await image({ image: { registry: "" } }), `${repository}:${version}`);
  assertEquals(
    await image({ global, image: { registry: "own.test" } }),
    `mirror.test:5000/${repository}:${version}`,
  );
});

Deno.test("CRDs applied by hand are in Helm's way until the release takes them over", async () => {
  await cluster.applyCrds(OWN_CRDS);
  const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/observations.zen.kube-zen.io";
  const body = { metadata: { annotations: { "meta.helm.sh/release-name": null } } };
  await cluster.expect("PATCH", path, { body, contentType: "application/merge-patch+json" });
  const release = ["byhand", CHART, "--namespace", "byhand", "--kubeconfig", cluster.kubeconfigPath];
  const install = ["install", ...release, "--create-namespace"];
  const error = await assertRejects(() => helm(install), Error);
  assertMatch(error.message, /exists and cannot be imported into the current release/);
  await helm([...install, "--take-ownership"]);
  const { metadata } = (await cluster.expect("GET", path)).body;
  assertEquals(valueIn(metadata, "annotations", "meta.helm.sh/release-name"), "byhand");
  await helm(["uninstall", "byhand", "--namespace", "byhand", "--kubeconfig", cluster.kubeconfigPath]);
});

/** The indented commands of the notes, as a reader pastes them: a block is one. */
function commandsOfNotes(text: string): string[] {
  const notes = text.slice(text.indexOf("NOTES:"));
  const commands: string[] = [];
  let open = false;
  for (const [, line = ""] of notes.matchAll(/^ {2}( *\S.*)$/gm)) {
    // What the sources' ConfigMaps look like is a list, not commands.
    if (!open && /^[a-z-]+: key /.test(line)) continue;
    if (open) commands.push(`${commands.pop()}\n${line}`);
    else commands.push(line);
    if (line.includes("<<END")) open = true;
    else if (line === "END") open = false;
  }
  assert(commands.length > 7, notes);
  return commands;
}

/** As the controller: no other user may. */
async function createObservation(user: string, namespace: string): Promise<{ path: string; spec: unknown }> {
  const path = `/apis/zen.kube-zen.io/v1/namespaces/${namespace}/observations`;
  const spec: JsonObject = {
    source: "trivy",
    category: "security",
    severity: "HIGH",
    eventType: "vulnerability",
  };
  const body: JsonObject = {
    apiVersion: "zen.kube-zen.io/v1",
    kind: "Observation",
    metadata: { name: "kept" },
    spec,
  };
  await eventually("the CRD to be served and the rights to count", async () => {
    return (await cluster.ask("POST", path, { body, as: cluster.clientCert(user) })).status === 201;
  });
  return { path: `${path}/kept`, spec };
}

const RENDERINGS: readonly (readonly [string, RenderOptions])[] = [
  ["the default values", {}],
  ...VALUES_FILES.map((file) => [file, { valuesFiles: [file] }] as const),
  ...Object.entries(TOGGLES).map(([about, values]) => [about, { values }] as const),
];

Deno.test("every rendering is applied server-side without a warning, its Pods under PSS restricted", async (t) => {
  for (const [about, options] of RENDERINGS) {
    await t.step(about, async () => {
      const namespace = await restrictedNamespace();
      const objects = await renderChart({ ...options, namespace });
      for (const object of inOrder(objects)) {
        const dryRun = object.kind === "Pod";
        assertEquals(
          await applyObject(cluster, object, { dryRun }),
          [],
          `${object.kind} ${object.metadata.name}`,
        );
        if (object.kind === "ConstraintTemplate") await serveConstraint(object);
      }
      await dryRunPod(objects, namespace);
    });
  }
});

Deno.test("labels are on every object and on the Pods, once, and never instead of the chart's own", async () => {
  const objects = await renderChart({ values: TOGGLES["labels given twice"]! });
  const labels = (kind: string) => one(objects, kind).metadata.labels;
  const own = { "app.kubernetes.io/name": "zen-watcher", "app.kubernetes.io/instance": "zen-watcher" };
  assertObjectMatch(labels("Service"), { ...own, release: "mine", team: "sec" });
  assertObjectMatch(labels("ServiceMonitor"), { ...own, release: "prometheus", team: "sec" });
  assertObjectMatch(labels("PrometheusRule"), { ...own, release: "prometheus" });
  assertObjectMatch(labels("Pod"), { release: "mine", "app.kubernetes.io/name": "zen-watcher-test" });
  const template = valueIn(one(objects, "Deployment"), "spec", "template", "metadata", "labels");
  assertEquals(template, { ...own, release: "mine", team: "pods" });
  for (const { kind, metadata } of objects) {
    assert(isObject(metadata.labels) && metadata.labels.release, `${kind} ${metadata.name}`);
  }
});

Deno.test("a rollout finds a place on as many nodes as there are replicas", async (t) => {
  for (const file of VALUES_FILES) {
    await t.step(file, async () => {
      const deployment = one(await renderChart({ valuesFiles: [file] }), "Deployment");
      assertEquals(valueIn(deployment, "spec", "strategy", "rollingUpdate"), {
        maxSurge: 1,
        maxUnavailable: 0,
      });
      const apart = valueIn(deployment, "spec", "template", "spec", "affinity", "podAntiAffinity");
      assert(isObject(apart) && !("requiredDuringSchedulingIgnoredDuringExecution" in apart), file);
    });
  }
});

Deno.test("a Pod that PSS restricted forbids is refused there: the check above can fail", async () => {
  const namespace = await restrictedNamespace();
  const objects = await renderChart({
    namespace,
    values: {
      securityContext: { allowPrivilegeEscalation: true },
      podSecurityContext: { runAsNonRoot: false },
    },
  });
  await applyObject(cluster, one(objects, "ServiceAccount"));
  assert((await applyObject(cluster, one(objects, "Deployment"))).length > 0, "a warning");
  await assertRejects(() => dryRunPod(objects, namespace), Error, "violates PodSecurity");
});

Deno.test("the Roles of a rendering are the registry's rules for the settings of its Deployment", async (t) => {
  for (
    const [about, options] of RENDERINGS.filter(([name]) =>
      name !== "no RBAC" && !name.startsWith("configurators")
    )
  ) {
    await t.step(about, async () => {
      const objects = await renderChart(options);
      const env = environmentOf(objects);
      const name = one(objects, "Deployment").metadata.name;
      const rendered = objects.filter(({ kind, metadata }) =>
        (kind === "Role" || kind === "ClusterRole") && metadata.name === name
      )
        .map(({ metadata, rules }) => ({ namespace: metadata.namespace ?? "", rules: rules ?? [] }));
      const wanted = rbacRules(readSettings((variable) => env[variable]))
        .map(({ namespace, rules }) => ({ namespace, rules: rules.map(({ by: _by, ...rule }) => rule) }));
      assertEquals(byNamespace(rendered), byNamespace(wanted));
    });
  }
});

Deno.test("users: view reads the four kinds, edit and admin get no more, configuring has a separate role", async () => {
  const objects = await renderChart();
  const aggregated = (to: string) =>
    objects.filter(({ metadata }) =>
      valueIn(metadata, "labels", `rbac.authorization.k8s.io/aggregate-to-${to}`) === "true"
    );
  assertEquals(aggregated("view").map(({ metadata }) => metadata.name), ["zen-watcher-view"]);
  // Kubernetes' own edit and admin take in view, and so reading.
  assertEquals([...aggregated("edit"), ...aggregated("admin")], []);
  const bound = ["view", "configure", "restore"];
  for (const role of bound) {
    const name = `zen-watcher-${role}`;
    await applyObject(cluster, one(objects, "ClusterRole", name));
    await cluster.expect("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
      body: {
        metadata: { name: `person-${role}` },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
        subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: `person-${role}` }],
      },
    });
  }
  const kinds = ["observations", "observationfilters", "ingesters", "observationmappings"];
  const verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
  const allowed = async (user: string) => {
    const found: string[] = [];
    for (const resource of kinds.flatMap((kind) => [kind, `${kind}/status`])) {
      const may: string[] = [];
      for (const verb of verbs) if (await can(user, verb, resource)) may.push(verb);
      if (may.length > 0) found.push(`${resource}: ${may.join()}`);
    }
    return found;
  };
  await eventually(
    "the roles to count",
    async () => await can("person-restore", "patch", "observations/status"),
  );
  assertEquals(await allowed("person-view"), kinds.map((kind) => `${kind}: get,list,watch`));
  assertEquals(await allowed("person-configure"), kinds.slice(1).map((kind) => `${kind}: ${verbs.join()}`));
  assertEquals(await allowed("person-restore"), [
    "observations: get,list,create,update,patch",
    "observations/status: get,update,patch",
  ]);
  assertEquals(await allowed("nobody"), []);
});

Deno.test("values that mean nothing are refused, with their place", async () => {
  const refused: readonly [JsonObject, RegExp][] = [
    [{ replicas: 3 }, /replicas/],
    [{ image: { repo: "x" } }, /repo/],
    [{ image: { digest: "latest" } }, /digest/],
    [{ settings: { LOG_LEVLE: "DEBUG" } }, /LOG_LEVLE/],
    [{ settings: { POD_NAMESPACE: "x" } }, /POD_NAMESPACE/],
    [{ filters: { sources: { trivy: { minSeverty: "HIGH" } } } }, /minSeverty/],
    [{ statusIntegrity: { mode: "off" } }, /mode/],
    [{ statusIntegrity: { mode: "webhook" } }, /needs tls\.enabled/],
    [{ statusIntegrity: { mode: "webhook" }, tls: { enabled: true, existingSecret: "x" } }, /tls\.caBundle/],
    [{ extraSourceRules: [{ apiGroups: ["*"], resources: ["x"], verbs: ["get"] }] }, /apiGroups/],
    [{ extraSourceRules: [{ apiGroups: ["x"], resources: ["y"], verbs: ["delete"] }] }, /verbs/],
    [{ extraSourceRules: [{ apiGroups: [""], resources: ["secrets"], verbs: ["get"] }] }, /resources/],
    [{ extraSourceRules: [{ apiGroups: [""], resources: ["*"], verbs: ["get"] }] }, /apiGroups/],
    [
      { extraSourceRules: [{ apiGroups: ["zen.kube-zen.io"], resources: ["*"], verbs: ["get"] }] },
      /apiGroups/,
    ],
    [{ extraSourceRules: [{ apiGroups: ["x"], resources: ["a*"], verbs: ["get"] }] }, /resources/],
    [{ replicaCount: -1 }, /replicaCount/],
    [
      { prometheusRule: { enabled: true, disabledAlerts: ["Other"] } },
      /there is no alert "Other"; there are/,
    ],
    [{ serviceAccount: { create: false } }, /serviceAccount\.name is needed/],
  ];
  for (const [values, why] of refused) {
    const error = await assertRejects(() => renderChart({ values }), Error);
    assertMatch(error.message, why, JSON.stringify(values));
  }
});

async function restrictedNamespace(): Promise<string> {
  const name = `restricted-${crypto.randomUUID().slice(0, 8)}`;
  const level = "pod-security.kubernetes.io";
  const labels = { [`${level}/enforce`]: "restricted", [`${level}/warn`]: "restricted" };
  await cluster.expect("POST", "/api/v1/namespaces", { body: { metadata: { name, labels } } });
  return name;
}

/** What `kubectl auth can-i` would answer in a namespace. */
async function can(user: string, verb: string, resourcePath: string): Promise<boolean> {
  const [resource = "", subresource = ""] = resourcePath.split("/");
  const resourceAttributes = { group: "zen.kube-zen.io", resource, subresource, verb, namespace: "shop" };
  return await isAllowed(cluster, user, resourceAttributes);
}

/** Namespaces, definitions and accounts before what needs them. */
function inOrder(objects: readonly Rendered[]): Rendered[] {
  const first = ["Namespace", "CustomResourceDefinition", "ServiceAccount", "ConstraintTemplate"];
  const rank = ({ kind }: Rendered) => first.includes(kind) ? first.indexOf(kind) : first.length;
  return objects.toSorted((a, b) => rank(a) - rank(b));
}

/** The Pod as the Deployment's controller would create it. */
async function dryRunPod(objects: readonly Rendered[], namespace: string): Promise<void> {
  const template = valueIn(one(objects, "Deployment"), "spec", "template");
  assert(isObject(template) && isObject(template.spec));
  const account = String(template.spec.serviceAccountName);
  await cluster.ask("POST", `/api/v1/namespaces/${namespace}/serviceaccounts`, {
    body: { metadata: { name: account } },
  });
  const { warnings } = await cluster.expect("POST", `/api/v1/namespaces/${namespace}/pods?dryRun=All`, {
    body: {
      ...template,
      metadata: { ...(isObject(template.metadata) ? template.metadata : {}), name: "pod" },
    },
  });
  assertEquals(warnings, []);
}

/** What Gatekeeper makes of a ConstraintTemplate. */
async function serveConstraint(template: Rendered): Promise<void> {
  const kind = String(valueIn(template, "spec", "crd", "spec", "names", "kind"));
  const parameters = valueIn(template, "spec", "crd", "spec", "validation", "openAPIV3Schema") ?? {};
  const text: JsonObject = { type: "string" };
  const schema: JsonObject = {
    type: "object",
    properties: {
      spec: {
        type: "object",
        properties: {
          enforcementAction: text,
          match: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
          parameters,
        },
      },
    },
  };
  const plural = kind.toLowerCase();
  const file = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(
    file,
    JSON.stringify({
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: `${plural}.constraints.gatekeeper.sh` },
      spec: {
        group: "constraints.gatekeeper.sh",
        names: { kind, listKind: `${kind}List`, plural, singular: plural },
        scope: "Cluster",
        versions: [{ name: "v1beta1", served: true, storage: true, schema: { openAPIV3Schema: schema } }],
      },
    }),
  );
  await cluster.applyCrds([file]);
  await Deno.remove(file);
}

function byNamespace(grants: readonly { namespace: unknown; rules: unknown }[]): Record<string, unknown> {
  return Object.fromEntries(grants.map(({ namespace, rules }) => [String(namespace), rules]));
}

async function shell(script: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-euo", "pipefail", "-c", script],
    env: { KUBECONFIG: cluster.kubeconfigPath },
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}
