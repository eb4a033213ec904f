/**
 * Finds the cluster as kubectl does, by a kubeconfig above all. The only file that loads client-node, and only when a
 * kubeconfig is used: it costs 70 MB.
 */
import type { KubeConfig } from "@kubernetes/client-node";
import type { RequestOptions } from "node:https";
import { delimiter, dirname, join, resolve, sep } from "node:path";
import { type Clock, systemClock } from "../../model/time.ts";
import { errorMessage } from "../../model/error_message.ts";
import { isObject, type Json, type JsonObject } from "../../model/json.ts";
import {
  cached,
  type Connection,
  type Endpoint,
  inClusterConnection,
  SERVICE_ACCOUNT_FOLDER,
} from "../api.ts";

/** The user to act as, by kubectl's flags. Each one replaces the field of the kubeconfig, as with kubectl. */
export interface Impersonation {
  /** `--as`. */
  readonly as?: string | undefined;
  /** `--as-group`. */
  readonly asGroup?: readonly string[] | undefined;
  /** `--as-uid`. */
  readonly asUid?: string | undefined;
}

/** The flags give groups or a UID, and neither they nor the kubeconfig name the user. */
export class ImpersonationError extends Error {
  override readonly name = "ImpersonationError";
}

/** Flags and environment variables. They are passed in: nothing in this file reads them. */
export interface ClusterChoice extends Impersonation {
  /** `--kubeconfig`. */
  readonly kubeconfig?: string | undefined;
  /** `--context`. */
  readonly context?: string | undefined;
  /** `KUBECONFIG`: files, separated as paths are. */
  readonly kubeconfigEnv?: string | undefined;
  /** `HOME`. */
  readonly home?: string | undefined;
  /** `KUBERNETES_SERVICE_HOST`. */
  readonly serviceHost?: string | undefined;
  /** `KUBERNETES_SERVICE_PORT`. */
  readonly servicePort?: string | undefined;
  readonly serviceAccountFolder?: string | undefined;
  readonly clock?: Clock;
}

/** `--kubeconfig`, else `KUBECONFIG`, else `~/.kube/config`, else the Pod's service account, as kubectl does. */
export async function findConnection(choice: ClusterChoice): Promise<Connection> {
  const { context, serviceHost = "", servicePort = "", as, asGroup, asUid } = choice;
  const impersonation = { as, asGroup, asUid };
  const clock = choice.clock ? { clock: choice.clock } : {};
  if (await usesServiceAccount(choice)) {
    const folder = choice.serviceAccountFolder ?? SERVICE_ACCOUNT_FOLDER;
    const headers = impersonationHeaders(impersonation, {});
    return await inClusterConnection({ host: serviceHost, port: servicePort, folder, headers, ...clock });
  }
  const paths = await pathsOf(choice);
  if (paths.length > 0) {
    return await kubeconfigConnection({
      paths,
      ...impersonation,
      ...(context ? { context } : {}),
      ...clock,
    });
  }
  throw new Error(
    "Cannot find a cluster: no --kubeconfig, no KUBECONFIG, no ~/.kube/config and no service account of a Pod. Name one with --kubeconfig",
  );
}

/** The names of the kubeconfig's contexts. */
export async function contextNames(choice: ClusterChoice): Promise<string[]> {
  const paths = await pathsOf(choice);
  if (paths.length === 0) return [];
  return (await load(paths, paths.join(", "))).config.getContexts().map(({ name }) => name);
}

/** True in a Pod without a kubeconfig. A file that `KUBECONFIG` names may be missing, as with kubectl. */
export async function usesServiceAccount(choice: ClusterChoice): Promise<boolean> {
  const { kubeconfig, context, serviceHost, servicePort } = choice;
  if (kubeconfig || context || !serviceHost || !servicePort) return false;
  for (const path of placesOf(choice)) if (await mayRead(path) && await isFile(path)) return false;
  return await isFile(join(choice.serviceAccountFolder ?? SERVICE_ACCOUNT_FOLDER, "token"));
}

/** The files to read, none where the only one is ~/.kube/config and that is not there. */
async function pathsOf(choice: ClusterChoice): Promise<readonly string[]> {
  const places = placesOf(choice);
  const [first] = places;
  if (choice.kubeconfig || choice.kubeconfigEnv) return places;
  return first !== undefined && await isFile(first) ? places : [];
}

/** Where kubeconfigs may be. */
function placesOf({ kubeconfig, kubeconfigEnv = "", home }: ClusterChoice): readonly string[] {
  if (kubeconfig) return [kubeconfig];
  const named = kubeconfigEnv.split(delimiter).filter((path) => path !== "");
  if (named.length > 0) return named;
  return home ? [join(home, ".kube", "config")] : [];
}

/** False for the image's program: it reads no files of a user. */
async function mayRead(path: string): Promise<boolean> {
  return (await Deno.permissions.query({ name: "read", path })).state === "granted";
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}

/** Which kubeconfig, and which of its contexts. */
export interface KubeconfigOptions extends Impersonation {
  /** The files, the first to name something wins, as with kubectl. */
  readonly paths: readonly string[];
  /** Instead of the files' current context. */
  readonly context?: string;
  readonly clock?: Clock;
  readonly maxAgeMs?: number;
}

/** One reading of the files. Kept while their text stays: an exec plugin's token is cached in `config`. */
interface Loaded {
  readonly text: string;
  readonly config: KubeConfig;
  readonly fields: Fields;
}

/** What client-node does not read of a kubeconfig. */
interface Fields {
  /** By name. */
  readonly users: Map<string, UserFields>;
  /** What clusters say to exec plugins, by the clusters' names. */
  readonly execConfigs: Map<string, Json>;
}

/** What client-node does not read of a user, or reads by another name than kubectl writes. */
interface UserFields extends Impersonation {
  /** `tokenFile`. */
  readonly tokenFile?: string | undefined;
  /** `as-user-extra`. */
  readonly asUserExtra?: Readonly<Record<string, readonly string[]>>;
}

/** The least time between two reads after a 401: each may start an exec plugin. */
const FRESH_AGE_MS = 2_000;

/** The cluster of a context. Throws where it cannot be used, saying why. */
export async function kubeconfigConnection(options: KubeconfigOptions): Promise<Connection> {
  const { paths, clock = systemClock, maxAgeMs = 30_000 } = options;
  const where = paths.join(", ");
  let loaded = await load(paths, where);
  // Pinned: another `kubectl config use-context` must not move a running program to another cluster.
  const context = options.context ?? loaded.config.getCurrentContext();
  const endpoint = cached({
    clock,
    maxAgeMs,
    freshAgeMs: FRESH_AGE_MS,
    async read(fresh) {
      const now = await load(paths, where);
      if (fresh || now.text !== loaded.text) loaded = now;
      return await toEndpoint(loaded, { context, where, impersonation: options });
    },
  });
  await endpoint();
  return {
    description: `context "${context}" of ${where}`,
    namespace: loaded.config.getContextObject(context)?.namespace || undefined,
    context,
    endpoint,
  };
}

async function load(paths: readonly string[], where: string): Promise<Loaded> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  const fields: Fields = { users: new Map(), execConfigs: new Map() };
  const texts: string[] = [];
  for (const path of paths) {
    try {
      const text = await Deno.readTextFile(path);
      const part = new KubeConfig();
      part.loadFromString(text);
      const folder = dirname(resolve(path));
      part.makePathsAbsolute(folder);
      for (const { exec } of part.users) resolveCommand(exec, folder);
      merge(config, part);
      await collectFields(fields, { text, folder });
      texts.push(text);
    } catch (cause) {
      // As with kubectl, a file of a list may be missing.
      if (cause instanceof Deno.errors.NotFound && paths.length > 1) continue;
      // Below the first line the parser of YAML draws where it stopped.
      const [said = ""] = errorMessage(cause).trim().split("\n");
      const why = cause instanceof Deno.errors.NotFound ? "there is no such file" : said;
      throw new Error(`Cannot read kubeconfig "${path}": ${why}`, { cause });
    }
  }
  if (texts.length === 0) throw new Error(`Cannot read kubeconfig "${where}": none of these files exists`);
  return { text: texts.join("\0"), config, fields };
}

/** As with kubectl, a command with a separator in it is beside the file, and any other is looked up in PATH. */
function resolveCommand(exec: unknown, folder: string): void {
  if (!isObject(exec) || typeof exec["command"] !== "string") return;
  if (exec["command"].includes(sep)) exec["command"] = resolve(folder, exec["command"]);
}

const EXEC_EXTENSION = "client.authentication.k8s.io/exec";
const EXEC_INFO = "KUBERNETES_EXEC_INFO";

/** Tells an exec plugin what kubectl tells it and client-node does not: its API version, its cluster, and that it may not ask. */
function informPlugin(exec: JsonObject, cluster: JsonObject): void {
  const { apiVersion = null, provideClusterInfo, env } = exec;
  const spec = { ...(provideClusterInfo === true && { cluster }), interactive: false };
  const value = JSON.stringify({ kind: "ExecCredential", apiVersion, spec });
  const others = Array.isArray(env)
    ? env.filter((each) => !isObject(each) || each["name"] !== EXEC_INFO)
    : [];
  exec["env"] = [...others, { name: EXEC_INFO, value }];
}

/** Adds the entries that are missing. Own code: `mergeConfig` of client-node refuses duplicates and lets the last context win. */
function merge(into: KubeConfig, part: KubeConfig): void {
  into.clusters ??= [];
  into.users ??= [];
  into.contexts ??= [];
  for (const cluster of part.clusters) {
    if (into.getCluster(cluster.name)) continue;
    // client-node accepts a server without TLS only if verification is off; without TLS there is nothing to verify.
    into.addCluster(isPlain(cluster) ? { ...cluster, skipTLSVerify: true } : cluster);
  }
  for (const user of part.users) if (!into.getUser(user.name)) into.addUser(user);
  for (const context of part.contexts) if (!into.getContextObject(context.name)) into.addContext(context);
  if (!into.currentContext && part.currentContext) into.setCurrentContext(part.currentContext);
}

function isPlain({ server }: { readonly server: string }): boolean {
  return server.startsWith("http://");
}

async function collectFields(
  { users, execConfigs }: Fields,
  { text, folder }: { readonly text: string; readonly folder: string },
): Promise<void> {
  // A module of our own: imported directly, a CommonJS package has no named exports in a bundle.
  const { parse } = await import("./yaml.ts");
  const document: unknown = parse(text);
  for (const { name, cluster } of entriesOf(document, "clusters")) {
    if (!isObject(cluster) || execConfigs.has(name)) continue;
    const [own] = entriesOf(cluster, "extensions").filter((each) => each.name === EXEC_EXTENSION);
    execConfigs.set(name, own?.["extension"] ?? null);
  }
  for (const { name, user } of entriesOf(document, "users")) {
    if (!isObject(user) || users.has(name)) continue;
    const textsAt = (field: string) => textsOf(user[field], `users.${name}.${field}`);
    const extra = user["as-user-extra"] ?? {};
    if (!isObject(extra)) throw new Error(`at users.${name}.as-user-extra: expected lists of strings by key`);
    const [tokenFile] = textsAt("tokenFile");
    users.set(name, {
      tokenFile: tokenFile === undefined ? undefined : resolve(folder, tokenFile),
      as: textsAt("as")[0],
      asGroup: textsAt("as-groups"),
      asUid: textsAt("as-uid")[0],
      asUserExtra: Object.fromEntries(
        Object.entries(extra).map((
          [key, value],
        ) => [key, textsOf(value, `users.${name}.as-user-extra.${key}`)]),
      ),
    });
  }
}

/** The objects with a name in a list of a kubeconfig. */
function entriesOf(document: unknown, list: string): (JsonObject & { readonly name: string })[] {
  const entries = isObject(document) ? document[list] : undefined;
  const isNamed = (entry: Json): entry is JsonObject & { readonly name: string } =>
    isObject(entry) && typeof entry["name"] === "string";
  return Array.isArray(entries) ? entries.filter(isNamed) : [];
}

/** The texts of a field that holds one or a list. Throws for anything else: a user that is not understood is no other user. */
function textsOf(value: unknown, path: string): readonly string[] {
  const texts = [value ?? []].flat();
  if (texts.every((text) => typeof text === "string")) return texts.filter((text) => text !== "");
  throw new Error(`at ${path}: expected a string or a list of strings`);
}

/** The headers that impersonate, the flags before the fields of the kubeconfig. */
function impersonationHeaders(flags: Impersonation, user: UserFields): NonNullable<Endpoint["headers"]> {
  const name = flags.as || user.as;
  const groups = flags.asGroup?.length ? flags.asGroup : user.asGroup ?? [];
  const uid = flags.asUid || user.asUid;
  const extra = Object.entries(user.asUserExtra ?? {});
  if (!name) {
    if (flags.asGroup?.length || flags.asUid) {
      throw new ImpersonationError("--as-group and --as-uid take --as, the name of the user");
    }
    if (groups.length === 0 && uid === undefined && extra.length === 0) return {};
    throw new Error("as-groups, as-uid and as-user-extra of its user take as, the name of the user");
  }
  return {
    "impersonate-user": name,
    ...(groups.length > 0 && { "impersonate-group": groups }),
    ...(uid && { "impersonate-uid": uid }),
    ...Object.fromEntries(
      extra.map(([key, values]) => [`impersonate-extra-${encodeURIComponent(key).toLowerCase()}`, values]),
    ),
  };
}

const SHOWN_CONTEXTS = 20;

async function toEndpoint(
  { config, fields }: Loaded,
  { context, where, impersonation }: {
    readonly context: string;
    readonly where: string;
    readonly impersonation: Impersonation;
  },
): Promise<Endpoint> {
  const cannot = (why: string, cause?: unknown) =>
    new Error(`Cannot use context "${context}" of ${where}: ${why}`, { cause });
  if (!context) {
    throw new Error(`Cannot use kubeconfig ${where}: it has no current context; name one with --context`);
  }
  if (!config.getContextObject(context)) {
    const names = config.getContexts().map(({ name }) => name).slice(0, SHOWN_CONTEXTS);
    throw cannot(`there is no such context. It has ${names.join(", ") || "none"}`);
  }
  config.setCurrentContext(context);
  const cluster = config.getCurrentCluster();
  if (!cluster) throw cannot("its cluster is not defined");
  if (cluster.skipTLSVerify && !isPlain(cluster)) {
    throw cannot(
      "insecure-skip-tls-verify is not supported, since anyone could then read the credentials: give " +
        "the cluster's certificate-authority instead",
    );
  }
  // The runtime verifies the name in the URL and accepts no other.
  if (cluster.tlsServerName) {
    throw cannot("tls-server-name is not supported: use a server address that is in its certificate");
  }

  const applied: RequestOptions = {};
  try {
    const caPem = await caOf(cluster);
    const current = config.getCurrentUser();
    const exec: unknown = current?.exec;
    if (isObject(exec)) {
      informPlugin(exec, {
        server: cluster.server,
        ...(caPem !== undefined && { "certificate-authority-data": btoa(caPem) }),
        ...(cluster.proxyUrl && { "proxy-url": cluster.proxyUrl }),
        config: fields.execConfigs.get(cluster.name) ?? null,
      });
    }
    await config.applyToHTTPSOptions(applied);
    const user = fields.users.get(current?.name ?? "") ?? {};
    const headers = headersOf(applied);
    if (user.tokenFile !== undefined) {
      headers.set("authorization", `Bearer ${(await Deno.readTextFile(user.tokenFile)).trim()}`);
    }
    return compose({
      server: cluster.server,
      proxyUrl: cluster.proxyUrl,
      applied,
      headers,
      impersonation: impersonationHeaders(impersonation, user),
      caPem,
    });
  } catch (cause) {
    if (cause instanceof ImpersonationError) throw cause;
    throw cannot(errorMessage(cause).trim() || "no reason given", cause);
  }
}

function compose({ server, proxyUrl, applied, headers, impersonation, caPem }: {
  readonly server: string;
  readonly proxyUrl: string | undefined;
  readonly applied: RequestOptions;
  readonly headers: Headers;
  readonly impersonation: NonNullable<Endpoint["headers"]>;
  readonly caPem: string | undefined;
}): Endpoint {
  const authorization = headers.get("authorization");
  headers.delete("authorization");
  const certPem = pemOf(applied.cert);
  const keyPem = pemOf(applied.key);
  return {
    server,
    headers: { ...Object.fromEntries(headers), ...impersonation },
    ...(authorization === null ? {} : { authorization }),
    ...(caPem === undefined ? {} : { caPem }),
    ...(certPem === undefined ? {} : { certPem }),
    ...(keyPem === undefined ? {} : { keyPem }),
    ...(proxyUrl ? { proxyUrl } : {}),
  };
}

/** client-node leaves the CA out for a context without a user. */
async function caOf(
  cluster: { readonly caFile?: string; readonly caData?: string },
): Promise<string | undefined> {
  if (cluster.caFile) return await Deno.readTextFile(cluster.caFile);
  return cluster.caData ? atob(cluster.caData) : undefined;
}

function headersOf(applied: RequestOptions): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(applied.headers ?? {})) {
    if (value !== undefined && value !== null) headers.set(name, String(value));
  }
  if (applied.auth && !headers.has("authorization")) {
    const bytes = new TextEncoder().encode(applied.auth);
    headers.set("authorization", `Basic ${btoa(String.fromCharCode(...bytes))}`);
  }
  return headers;
}

function pemOf(value: unknown): string | undefined {
  if (typeof value === "string") return value || undefined;
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : undefined;
}
