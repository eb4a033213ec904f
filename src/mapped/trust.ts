/** What users' configuration must not read or claim (docs/mapping.md, "What it may not do"). Pure; each rule returns why it refuses, or undefined. */
import { GROUP } from "../model/observation.ts";
import { BUILT_IN, configMapNamespaces, RESERVED_SOURCES, SOURCES } from "../sources/registry.ts";
import { otherSourcesOf } from "../sources/source.ts";
import type { SettingValues } from "../text/setting.ts";

/** Why a configuration is refused: the reason of the condition, the path, and a sentence. */
export interface TrustRefusal {
  readonly reason: "NamespaceNotTrusted" | "ReservedSource" | "ForbiddenTarget" | "PathReserved";
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** The namespaces that the operator trusts, and the names that policy reports give. */
export interface TrustContext {
  /** The controller's own namespace. */
  readonly ownNamespace: string;
  /** TRUSTED_CONFIG_NAMESPACES. */
  readonly trustedNamespaces: readonly string[];
  /** The namespaces in which built-in sources read ConfigMaps. */
  readonly configMapNamespaces: readonly string[];
  /** Sources that policy reports name (REPORT_ENGINES). */
  readonly reportEngines: readonly string[];
}

interface TrustSettings extends SettingValues {
  readonly podNamespace: string;
  readonly trustedConfigNamespaces: readonly string[];
}

/** The trust context of a controller with these settings. */
export function trustOf(settings: TrustSettings): TrustContext {
  return {
    ownNamespace: settings.podNamespace,
    trustedNamespaces: settings.trustedConfigNamespaces,
    configMapNamespaces: configMapNamespaces(settings),
    reportEngines: SOURCES.flatMap((source) => otherSourcesOf(source, settings)),
  };
}

/** First segments of the paths of the program and of built-in sources. */
const OWN_PATHS: ReadonlySet<string> = new Set([
  ...["admission", "health", "healthz", "livez", "metrics", "ready", "readyz", "tools"],
  ...SOURCES.flatMap(({ feeds }) => feeds.map((feed) => feed.type === "post" ? firstSegment(feed.path) : "")),
]);

/** True if configuration in this namespace is used. */
export function isTrustedNamespace(namespace: string, trust: TrustContext): boolean {
  return namespace === trust.ownNamespace || trust.trustedNamespaces.includes(namespace);
}

/** Refuses configuration of other namespaces. */
export function refuseNamespace(namespace: string, trust: TrustContext): TrustRefusal | undefined {
  if (isTrustedNamespace(namespace, trust)) return undefined;
  return {
    reason: "NamespaceNotTrusted",
    path: ["metadata", "namespace"],
    message: `only ${trust.ownNamespace} and TRUSTED_CONFIG_NAMESPACES are obeyed, this is ${namespace}`,
  };
}

/** Refuses a mapping with the name of a built-in source or of an engine that policy reports name. */
export function refuseSource(
  source: string,
  { path, trust }: { readonly path: TrustRefusal["path"]; readonly trust: TrustContext },
): TrustRefusal | undefined {
  const isReserved = RESERVED_SOURCES.has(source);
  if (!isReserved && !trust.reportEngines.includes(source)) return undefined;
  const why = BUILT_IN.has(source)
    ? "a built-in source: no mapping may produce its findings"
    : isReserved
    ? "reserved for engines that policy reports name: no mapping may produce its findings"
    : "an engine that policy reports name (REPORT_ENGINES): counts, filters and budget of the two would mix";
  return { reason: "ReservedSource", path, message: `"${source}" is ${why}` };
}

/** Refuses to watch credentials, ConfigMaps by an informer, and zen-watcher's own group. */
export function refuseTarget(
  target: { readonly group: string; readonly resource: string },
  path: TrustRefusal["path"],
): TrustRefusal | undefined {
  const why = forbidden(target.group.toLowerCase(), target.resource.toLowerCase());
  return why === undefined ? undefined : { reason: "ForbiddenTarget", path, message: why };
}

function forbidden(group: string, resource: string): string | undefined {
  if (group === GROUP) return `no source reads the group ${GROUP}: its own Observations would feed it`;
  if (group === "authentication.k8s.io") return "no source reads the group authentication.k8s.io";
  if (resource === "*") {
    return group === "" ? "* takes every resource of a group, also Secrets of the core group" : undefined;
  }
  if (holdsCredentials(resource)) return `no source reads ${resource}`;
  if (group === "" && resource === "configmaps") {
    return "use type: configmap, which reads one namespace by label";
  }
  return undefined;
}

/** True for Secrets of whatever group and for tokens in any form: `oauthaccesstokens`, `serviceaccounts/token`. */
export function holdsCredentials(resource: string): boolean {
  const word = resource.toLowerCase();
  return word === "secrets" || word.endsWith("token") || word.endsWith("tokens") ||
    word.startsWith("tokenre");
}

/** Refuses ConfigMaps outside the Ingester's namespace; Ingesters of the controller's namespace may read those of the settings too. */
export function refuseConfigMaps(
  namespace: string,
  { ingesterNamespace, trust }: { readonly ingesterNamespace: string; readonly trust: TrustContext },
): TrustRefusal | undefined {
  const configured = [...trust.trustedNamespaces, ...trust.configMapNamespaces];
  const allowed = namespace === ingesterNamespace ||
    (ingesterNamespace === trust.ownNamespace && configured.includes(namespace));
  if (allowed) return undefined;
  return {
    reason: "ForbiddenTarget",
    path: ["spec", "configmap", "namespace"],
    message:
      `the ConfigMaps of ${namespace} are not this Ingester's to read: put them in ${ingesterNamespace}, ` +
      "or name the namespace in TRUSTED_CONFIG_NAMESPACES",
  };
}

/** Refuses the paths of the program's own routes. */
export function refusePath(path: string): TrustRefusal | undefined {
  const first = firstSegment(path);
  if (!OWN_PATHS.has(first)) return undefined;
  return {
    reason: "PathReserved",
    path: ["spec", "webhook", "path"],
    message: `/${first} is zen-watcher's own`,
  };
}

function firstSegment(path: string): string {
  return path.split("/")[1] ?? "";
}
