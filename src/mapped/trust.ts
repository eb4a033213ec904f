/** What configuration by users may not reach (SPEC section 13). Pure; each rule answers with a reason or nothing. */
import { GROUP } from "../model/observation.ts";
import { BUILT_IN, RESERVED_SOURCES, SOURCES } from "../sources/registry.ts";

/** Why a configuration is refused: a word for the condition, where, and a sentence. */
export interface Refusal {
  readonly reason: "NamespaceNotTrusted" | "ReservedSource" | "ForbiddenTarget" | "PathReserved";
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Whom the operator trusts. */
export interface TrustContext {
  /** The controller's own namespace. */
  readonly ownNamespace: string;
  /** TRUSTED_CONFIG_NAMESPACES. */
  readonly trustedNamespaces: readonly string[];
  /** Where built-in sources read ConfigMaps already. */
  readonly configMapNamespaces: readonly string[];
}

/** First segments of paths that are the program's own, or a built-in source's. */
const OWN_PATHS: ReadonlySet<string> = new Set([
  ...["admission", "health", "healthz", "livez", "metrics", "ready", "readyz", "tools"],
  ...SOURCES.flatMap(({ feeds }) => feeds.map((feed) => feed.type === "post" ? firstSegment(feed.path) : "")),
]);

/** True where configuration of this namespace is obeyed. */
export function isTrustedNamespace(namespace: string, trust: TrustContext): boolean {
  return namespace === trust.ownNamespace || trust.trustedNamespaces.includes(namespace);
}

/** Refuses configuration of other namespaces. */
export function refuseNamespace(namespace: string, trust: TrustContext): Refusal | undefined {
  if (isTrustedNamespace(namespace, trust)) return undefined;
  return {
    reason: "NamespaceNotTrusted",
    path: ["metadata", "namespace"],
    message: `only ${trust.ownNamespace} and TRUSTED_CONFIG_NAMESPACES are obeyed, this is ${namespace}`,
  };
}

/** Refuses a mapping that speaks in a built-in source's name. */
export function refuseSource(source: string, path: Refusal["path"]): Refusal | undefined {
  if (!RESERVED_SOURCES.has(source)) return undefined;
  const what = BUILT_IN.has(source) ? "a built-in source" : "reserved for engines that policy reports name";
  return {
    reason: "ReservedSource",
    path,
    message: `"${source}" is ${what}: no mapping may produce its findings`,
  };
}

/** Refuses to read credentials, ConfigMaps at large, and our own group. */
export function refuseTarget(
  target: { readonly group: string; readonly resource: string },
  path: Refusal["path"],
): Refusal | undefined {
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

/** Refuses ConfigMaps of other namespaces than the Ingester's, or, for the controller's own Ingesters, the settings'. */
export function refuseConfigMaps(
  namespace: string,
  { ingesterNamespace, trust }: { readonly ingesterNamespace: string; readonly trust: TrustContext },
): Refusal | undefined {
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

/** Refuses paths of the program's own routes. */
export function refusePath(path: string): Refusal | undefined {
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
