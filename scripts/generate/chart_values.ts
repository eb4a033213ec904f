/** The schema of the chart's values, less the settings, which come from the program. */
import { z } from "zod";
import { filterBlockSchema } from "../../src/filters/schema.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { AGES_DAYS } from "../../src/store/finding_gauges.ts";
import { SOURCE_PATTERN } from "../../src/model/observation.ts";

const text: JsonObject = { type: "string" };
const flag: JsonObject = { type: "boolean" };
const texts: JsonObject = { type: "array", items: { type: "string", minLength: 1 }, uniqueItems: true };
const map: JsonObject = { type: "object", additionalProperties: { type: "string" } };
const port: JsonObject = { type: "integer", minimum: 1, maximum: 65_535 };
const count: JsonObject = { type: "integer", minimum: 1 };
/** Kubernetes' own types: the API server judges them. */
const anything: JsonObject = { type: "object" };
/** Ages that the program counts findings by. */
const slaDays: JsonObject = { enum: AGES_DAYS.filter((days) => days > 0) };
const list: JsonObject = { type: "array", items: { type: "object" } };
const namespace: JsonObject = {
  type: "string",
  maxLength: 63,
  pattern: "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
};
const namespaces: JsonObject = { type: "array", items: { ...namespace, minLength: 1 }, uniqueItems: true };
const duration: JsonObject = { type: "string", pattern: "^[0-9]+(ms|s|m|h)$" };
/** Least privilege is a promise: no wildcard comes in by this door either. */
const word: JsonObject = { type: "string", pattern: "^[^*]*$" };
const words: JsonObject = { type: "array", minItems: 1, items: word };
const scrapeValues: JsonObject = { enabled: flag, interval: duration, scrapeTimeout: duration, labels: map };
const scrape = object(scrapeValues);

/** Settings the chart decides by values of its own, or by what it mounts. */
export const MANAGED_SETTINGS: ReadonlySet<string> = new Set([
  "ADMISSION_WRITERS",
  "EXCEPTION_MAX_DAYS",
  "FILTER_CONFIGMAP_KEY",
  "FILTER_CONFIGMAP_NAME",
  "FILTER_CONFIGMAP_NAMESPACE",
  "HOME",
  "INSTANCE",
  "KUBECONFIG",
  "KUBERNETES_SERVICE_HOST",
  "KUBERNETES_SERVICE_PORT",
  "METRICS_PORT",
  "OBSERVATION_NAMESPACE",
  "POD_NAME",
  "POD_NAMESPACE",
  "SERVICE_ACCOUNT_FOLDER",
  "TENANT_FILTERS",
  "TLS_CERT_FILE",
  "TLS_CLIENT_CA_FILE",
  "TLS_KEY_FILE",
  "TRUSTED_CONFIG_NAMESPACES",
  "TRUSTED_PROXY_CIDRS",
  "WATCHER_PORT",
  "WATCHER_TLS_PORT",
  "WATCH_CLUSTER_SCOPED",
  "WATCH_NAMESPACE",
  "WEBHOOK_ALLOWED_IPS",
  "WEBHOOK_AUTH_TOKEN",
  "WEBHOOK_AUTH_TOKEN_FILE",
]);

/** What a source that reads ConfigMaps takes. */
export const CONFIG_MAP_SOURCE_VALUES: JsonObject = object({ namespace, createNamespace: flag });

/** Every key of values.yaml but `settings` and those of sources. */
export const CHART_VALUES: JsonObject = {
  // Helm hands these to every chart: other charts' keys are in them too.
  global: anything,
  nameOverride: text,
  fullnameOverride: text,
  commonLabels: map,
  image: object({
    registry: text,
    repository: { type: "string", minLength: 1 },
    tag: text,
    digest: { type: "string", pattern: "^(sha256:[0-9a-f]{64})?$" },
    pullPolicy: { enum: ["Always", "IfNotPresent", "Never"] },
  }),
  imagePullSecrets: list,
  replicaCount: { type: "integer", minimum: 0 },
  strategy: anything,
  revisionHistoryLimit: { type: "integer", minimum: 0 },
  instance: { type: "string", maxLength: 36, pattern: SOURCE_PATTERN.source },
  watchNamespaces: namespaces,
  watchClusterScoped: { type: ["boolean", "null"] },
  observationNamespace: namespace,
  trustedConfigNamespaces: namespaces,
  tenantFilters: flag,
  exceptions: object({ maxDays: { type: "integer", minimum: 1, maximum: 36_500 } }),
  filters: object({
    create: flag,
    name: { type: "string", minLength: 1, maxLength: 253 },
    namespace,
    key: { type: "string", minLength: 1, pattern: "^[-._a-zA-Z0-9]+$" },
    sources: { type: "object", additionalProperties: filterBlock() },
  }),
  extraObjects: { type: "array", items: { type: ["object", "string"] } },
  extraEnv: list,
  extraVolumes: list,
  extraVolumeMounts: list,
  webhooks: object({
    auth: object({
      mode: { enum: ["token", "none"] },
      existingSecret: text,
      key: { type: "string", minLength: 1 },
      keep: flag,
    }),
    allowedIPs: texts,
    trustedProxyCIDRs: texts,
    ingesterSecrets: texts,
  }),
  tls: object({
    enabled: flag,
    existingSecret: text,
    caBundle: text,
    clientCaSecret: text,
    keep: flag,
    certManager: object({ enabled: flag, issuerRef: anything }),
  }),
  statusIntegrity: object({
    mode: { enum: ["policy", "webhook", "gatekeeper", "none"] },
    restorers: texts,
    controllers: texts,
    webhook: object({ timeoutSeconds: { type: "integer", minimum: 1, maximum: 30 } }),
  }),
  rbac: object({ create: flag, aggregateToView: flag, configurators: list }),
  extraSourceRules: {
    type: "array",
    items: {
      ...object({
        apiGroups: words,
        // No mapping reads Secrets: a rule for them could only be a mistake. "*" is for groups whose kinds come and go.
        resources: { ...words, items: { anyOf: [{ ...word, not: { enum: ["secrets"] } }, { const: "*" }] } },
        namespace: text,
        verbs: { type: "array", minItems: 1, items: { enum: ["get", "list", "watch"] } },
      }),
      required: ["apiGroups", "resources", "verbs"],
      // All resources of these groups would be Secrets, tokens or our own Observations.
      if: { properties: { resources: { contains: { const: "*" } } } },
      then: {
        properties: {
          apiGroups: { items: { not: { enum: ["", "authentication.k8s.io", "zen.kube-zen.io"] } } },
        },
      },
    },
  },
  serviceAccount: object({ create: flag, name: text, annotations: map }),
  crds: object({ enabled: flag, keep: flag }),
  service: object({
    type: { enum: ["ClusterIP", "NodePort", "LoadBalancer"] },
    clusterIP: text,
    keep: flag,
    port,
    metricsPort: port,
    tlsPort: port,
    annotations: map,
  }),
  resources: anything,
  podSecurityContext: anything,
  securityContext: anything,
  livenessProbe: anything,
  readinessProbe: anything,
  startupProbe: anything,
  terminationGracePeriodSeconds: count,
  podAnnotations: map,
  podLabels: map,
  priorityClassName: text,
  nodeSelector: map,
  tolerations: list,
  podSpec: anything,
  topologySpreadConstraints: list,
  podAntiAffinity: { enum: ["preferred", "required", "none"] },
  affinity: anything,
  podDisruptionBudget: object({
    enabled: flag,
    minAvailable: { type: ["integer", "string", "null"] },
    maxUnavailable: { type: ["integer", "string", "null"] },
  }),
  autoscaling: object({
    enabled: flag,
    minReplicas: count,
    maxReplicas: count,
    targetCPUUtilizationPercentage: { type: "integer", minimum: 1, maximum: 100 },
  }),
  networkPolicy: object({
    enabled: flag,
    webhookFrom: list,
    metricsFrom: list,
    apiServer: object({ ports: { type: "array", items: port, minItems: 1 }, cidrs: texts }),
    dnsTo: list,
  }),
  serviceMonitor: object({
    ...scrapeValues,
    namespace,
    relabelings: list,
    metricRelabelings: list,
    scheme: { enum: ["http", "https"] },
    tlsConfig: anything,
  }),
  vmServiceScrape: scrape,
  prometheusRule: object({
    enabled: flag,
    namespace,
    labels: map,
    alertLabels: map,
    disabledAlerts: texts,
    runbookUrl: text,
    slaDays: object({ critical: slaDays, high: slaDays }),
  }),
  dashboards: object({ enabled: flag, namespace, labels: map, annotations: map }),
};

function object(properties: JsonObject): JsonObject {
  return { type: "object", additionalProperties: false, properties };
}

/** What a source's filters take, so that a misspelt key fails at `helm install` already. */
function filterBlock(): JsonObject {
  const schema: unknown = JSON.parse(JSON.stringify(z.toJSONSchema(filterBlockSchema, { io: "input" })));
  if (!isObject(schema)) throw new Error("Cannot describe filters: their schema is no object");
  const { $schema: _, ...rest } = schema;
  return rest;
}
