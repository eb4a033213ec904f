/**
 * The operator's settings: environment variables, read once at start. The only reader of Deno.env and Deno.args.
 * ALL_SETTINGS is the single source of defaults, parsing, the documentation and the `--allow-env` words.
 */
import { errorMessage } from "./model/error_message.ts";
import {
  anyText,
  bytes,
  choice,
  duration,
  flag,
  integer,
  MAX_TIMER_SECONDS,
  namespace,
  namespaces,
  optionalChoice,
  optionalFlag,
  type Setting,
  SettingsError,
  type SettingValues,
  windows,
  words,
} from "./text/setting.ts";
import { SOURCES } from "./sources/registry.ts";

export { SettingsError };

/** The program's own settings, by the name the program uses. A source declares its own beside its code. */
export const SETTINGS = {
  podNamespace: namespace("POD_NAMESPACE", "zen-system", "The controller's own namespace"),
  podName: anyText("POD_NAME", "", "Start of the identity in the lease; default: the host name"),
  serviceHost: anyText(
    "KUBERNETES_SERVICE_HOST",
    "",
    "Address of the API server; set by Kubernetes in a Pod",
  ),
  servicePort: anyText(
    "KUBERNETES_SERVICE_PORT",
    "443",
    "Port of the API server; set by Kubernetes in a Pod",
  ),
  serviceAccountFolder: anyText(
    "SERVICE_ACCOUNT_FOLDER",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "Where the Pod's token, CA and namespace are",
  ),
  kubeconfig: anyText("KUBECONFIG", "", "Kubeconfig files, as kubectl reads them"),
  home: anyText("HOME", "", "Where ~/.kube/config is looked for"),
  observationNamespace: namespace(
    "OBSERVATION_NAMESPACE",
    "",
    "One namespace for all Observations; default: the resource's",
  ),
  observationTtlSeconds: integer(
    "OBSERVATION_TTL_SECONDS",
    "604800",
    "TTL written to new Observations, in seconds",
    {
      min: 1,
      max: 31_536_000,
    },
  ),
  resolvedTtlSeconds: integer(
    "RESOLVED_TTL_SECONDS",
    "2592000",
    "A Resolved finding is deleted after, in seconds from its resolution",
    { min: 1, max: 315_360_000 },
  ),
  observationMaxTotal: integer("OBSERVATION_MAX_TOTAL", "50000", "Storage budget: number of Observations", {
    min: 1,
  }),
  observationMaxBytes: bytes(
    "OBSERVATION_MAX_BYTES",
    "256MiB",
    "Storage budget: bytes of stored Observations",
  ),
  resyncIntervalMs: duration("RESYNC_INTERVAL", "1h", "Full evaluation of every source of findings"),
  configMapPollSeconds: integer(
    "CONFIGMAP_POLL_INTERVAL_SECONDS",
    "300",
    "Evaluation of ConfigMap sources, in seconds",
    { min: 1, max: MAX_TIMER_SECONDS },
  ),
  discoveryIntervalMs: duration("DISCOVERY_INTERVAL", "30s", "How often the served resources are looked up"),
  filterConfigMapName: anyText("FILTER_CONFIGMAP_NAME", "zen-watcher-filter", "Name of the filter ConfigMap"),
  filterConfigMapNamespace: namespace(
    "FILTER_CONFIGMAP_NAMESPACE",
    "",
    "Its namespace; default: the controller's own",
  ),
  filterConfigMapKey: anyText("FILTER_CONFIGMAP_KEY", "filter.json", "Its key; JSON or YAML"),
  tenantFilters: flag(
    "TENANT_FILTERS",
    "false",
    "ObservationFilters of other namespaces act on their own namespace",
  ),
  exceptionMaxDays: integer(
    "EXCEPTION_MAX_DAYS",
    "365",
    "An ObservationException ends at most this many days after its creation",
    { min: 1, max: 36_500 },
  ),
  trustedConfigNamespaces: namespaces(
    "TRUSTED_CONFIG_NAMESPACES",
    "",
    "Further namespaces whose Ingesters and ObservationMappings are obeyed, comma-separated",
  ),
  dedupWindowSeconds: integer("DEDUP_WINDOW_SECONDS", "60", "Window of an occurrence, in seconds", {
    min: 1,
  }),
  dedupWindowBySource: windows(
    "DEDUP_WINDOW_BY_SOURCE",
    "",
    "Windows of single sources in seconds, e.g. falco=120,my-tool=30",
  ),
  dedupMaxSize: integer(
    "DEDUP_MAX_SIZE",
    "10000",
    "Windows kept in memory; an evicted one costs a request, never a double",
    {
      min: 1,
    },
  ),
  dedupMaxRatePerSource: integer(
    "DEDUP_MAX_RATE_PER_SOURCE",
    "500",
    "Observations a second a source may write",
    { min: 1 },
  ),
  dedupRateBurst: integer("DEDUP_RATE_BURST", "2000", "Burst above that rate", { min: 1 }),
  dedupEnableAggregation: flag("DEDUP_ENABLE_AGGREGATION", "true", "Count repeats in status.occurrences"),
  resolveGraceSeconds: integer(
    "RESOLVE_GRACE_SECONDS",
    "600",
    "A finding no longer reported is Resolved after, in seconds",
  ),
  expiredGraceSeconds: integer(
    "EXPIRED_GRACE_SECONDS",
    "86400",
    "A finding whose report its tool deleted to build it anew is Resolved after, in seconds",
  ),
  gcIntervalMs: duration("GC_INTERVAL", "1h", "How often expired Observations are deleted"),
  gcTimeoutMs: duration("GC_TIMEOUT", "5m", "Longest duration of one garbage collection"),
  watchNamespaces: namespaces(
    "WATCH_NAMESPACE",
    "",
    "Namespaces of this shard, comma-separated; default: all",
  ),
  watchClusterScoped: optionalFlag(
    "WATCH_CLUSTER_SCOPED",
    "Whether this shard takes cluster-scoped and namespace-less events; default: true iff WATCH_NAMESPACE is empty",
  ),
  instance: namespace("INSTANCE", "default", "Name of this shard set: part of the lease's name and a label"),
  listenAddress: anyText(
    "WATCHER_ADDRESS",
    "",
    "Address to listen on; default: all, IPv6 and IPv4, but loopback alone outside a Pod where no sender is checked",
  ),
  maxConnections: integer(
    "MAX_CONNECTIONS",
    "1024",
    "Connections a port may have at once; at the limit the longest idle one is closed for a new one",
    { min: 4 },
  ),
  port: integer("WATCHER_PORT", "8080", "Webhooks, probes, status; 0 takes a free port", {
    max: 65_535,
  }),
  metricsPort: integer("METRICS_PORT", "9090", "Metrics alone; 0 takes a free port", { max: 65_535 }),
  tlsPort: integer("WATCHER_TLS_PORT", "8443", "The same over TLS where a certificate is given", {
    max: 65_535,
  }),
  tlsCertFile: anyText("TLS_CERT_FILE", "", "Certificate (PEM) for the TLS port"),
  tlsKeyFile: anyText("TLS_KEY_FILE", "", "Its private key (PEM)"),
  tlsClientCaFile: anyText(
    "TLS_CLIENT_CA_FILE",
    "",
    "CA (PEM) of client certificates that stand for the token on the TLS port",
  ),
  webhookAuthToken: anyText(
    "WEBHOOK_AUTH_TOKEN",
    "",
    "Token senders must show, as bearer or as last path segment",
  ),
  webhookAuthTokenFile: anyText(
    "WEBHOOK_AUTH_TOKEN_FILE",
    "",
    "The same in a file, read again when it changes",
  ),
  admissionWriters: words(
    "ADMISSION_WRITERS",
    "",
    "Users that /admission/validate lets write Observations and statuses, beside the controller itself",
  ),
  webhookAllowedIps: words(
    "WEBHOOK_ALLOWED_IPS",
    "",
    "Client addresses and CIDRs that may send; default: all",
  ),
  trustedProxyCidrs: words("TRUSTED_PROXY_CIDRS", "", "Proxies whose X-Forwarded-For is believed"),
  webhookMaxBytes: bytes("WEBHOOK_MAX_BYTES", "16MiB", "Largest body of a webhook request"),
  webhookRateLimit: integer("WEBHOOK_RATE_LIMIT", "1000", "Requests a second a client may send", { min: 1 }),
  webhookRateBurst: integer("WEBHOOK_RATE_BURST", "2000", "Burst above that rate", { min: 1 }),
  webhookAckTimeoutMs: duration("WEBHOOK_ACK_TIMEOUT", "10s", "Deadline for answering a webhook request"),
  metricsByNamespace: flag(
    "METRICS_BY_NAMESPACE",
    "false",
    "Also count Active Observations by namespace, in up to 500 namespaces",
  ),
  shutdownDelayMs: duration("SHUTDOWN_DELAY", "5s", "From SIGTERM to the end of accepting requests", {
    minMs: 0,
  }),
  httpShutdownTimeoutMs: duration(
    "HTTP_SHUTDOWN_TIMEOUT",
    "25s",
    "For requests under way to finish after that",
    { minMs: 0 },
  ),
  logLevel: choice(
    "LOG_LEVEL",
    "INFO",
    ["DEBUG", "INFO", "WARN", "ERROR", "CRIT"],
    "Least level that is logged",
  ),
  logFormat: optionalChoice(
    "LOG_FORMAT",
    ["json", "text"],
    "Form of the log lines: json or text; default: text where stdout is a terminal, else json",
  ),
} as const;

/** Every setting: the program's own, then those of the sources. */
export const ALL_SETTINGS: readonly Setting<unknown>[] = [
  ...Object.values(SETTINGS),
  ...SOURCES.flatMap(({ settings = [] }) => settings),
];

type Parsed<S> = S extends { parse(text: string): infer T } ? T : never;

/** The operator's settings, parsed: the program's own by name, those of sources by `of`. */
export type Settings =
  & { readonly [K in keyof typeof SETTINGS]: Parsed<(typeof SETTINGS)[K]> }
  & SettingValues;

/** Reads every setting from `env` (by default the process's). Throws a `SettingsError` that names the variable. */
export function readSettings(env: (name: string) => string | undefined = environment): Settings {
  const values = new Map(ALL_SETTINGS.map((setting) => [setting.env, readSetting(setting, env)]));
  const own = Object.entries(SETTINGS).map(([key, { env }]) => [key, values.get(env)]);
  const settings = {
    ...Object.fromEntries(own),
    of(setting: Pick<Setting<unknown>, "env">): unknown {
      if (values.has(setting.env)) return values.get(setting.env);
      throw new Error(`Cannot read setting "${setting.env}": no source lists it in its settings`);
    },
  } as Settings;
  checkTls(settings);
  return settings;
}

function readSetting<T>(
  { env: name, fallback, parse }: Setting<T>,
  env: (name: string) => string | undefined,
): T {
  const value = env(name)?.trim() || fallback;
  try {
    return parse(value);
  } catch (error) {
    const why = errorMessage(error);
    throw new SettingsError(`Cannot read setting "${name}": ${why}, received ${JSON.stringify(value)}`);
  }
}

/** Refuses a certificate that no listener uses. */
function checkTls({ tlsCertFile, tlsKeyFile, tlsClientCaFile }: Settings): void {
  const given = { TLS_CERT_FILE: tlsCertFile, TLS_KEY_FILE: tlsKeyFile, TLS_CLIENT_CA_FILE: tlsClientCaFile };
  const [first] = Object.entries(given).filter(([, file]) => file !== "");
  const missing = (["TLS_CERT_FILE", "TLS_KEY_FILE"] as const).find((env) => given[env] === "");
  if (first === undefined || missing === undefined) return;
  throw new SettingsError(
    `Cannot read setting "${first[0]}": it is of no use without "${missing}", received ${
      JSON.stringify(first[1])
    }`,
  );
}

/** A variable of the process's environment. */
export function environment(name: string): string | undefined {
  return Deno.env.get(name);
}

/** The command line's arguments. */
export function commandLine(): readonly string[] {
  return Deno.args;
}
