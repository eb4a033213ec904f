/** Everything an API server serves in one answer (Kubernetes 1.27 and later): one request a poll, not two a group. */
import { isObject, type JsonObject } from "../model/json.ts";
import type { KubeApi } from "./api.ts";
import { objects, type ServedType, type ServedTypes, text } from "./discovery_answer.ts";

const KIND = "APIGroupDiscoveryList";
const ACCEPT = `application/json;g=apidiscovery.k8s.io;v=v2;as=${KIND},application/json`;

/** The types of `groups`; undefined where the API server does not answer in this form. */
export async function servedAtOnce(
  api: KubeApi,
  groups: ReadonlySet<string>,
  { signal }: { readonly signal?: AbortSignal },
): Promise<ServedTypes | undefined> {
  let answer: JsonObject;
  try {
    answer = await api.getPath("/apis", { accept: ACCEPT, ...(signal ? { signal } : {}) });
  } catch {
    signal?.throwIfAborted();
    // Asked group by group it says what is wrong, and with which of them.
    return undefined;
  }
  if (answer["kind"] !== KIND) return undefined;
  const types: ServedType[] = [];
  const failures = new Map<string, unknown>();
  for (const item of objects(answer["items"])) {
    const group = isObject(item["metadata"]) ? text(item["metadata"]["name"]) : "";
    if (!groups.has(group)) continue;
    // Versions come in the order in which they are preferred.
    for (const [index, entry] of objects(item["versions"]).entries()) {
      const version = text(entry["version"]);
      if (entry["freshness"] === "Stale") {
        const why = "its aggregated API server does not answer, what is known of it is old";
        failures.set(`${group}/${version}`, new Error(`Cannot discover "${group}/${version}": ${why}`));
      } else types.push(...typesOf(entry, { group, version, preferred: index === 0 }));
    }
  }
  return { types, failures };
}

function typesOf(
  version: JsonObject,
  at: { readonly group: string; readonly version: string; readonly preferred: boolean },
): ServedType[] {
  return objects(version["resources"]).map((entry) => {
    const kind = isObject(entry["responseKind"]) ? text(entry["responseKind"]["kind"]) : "";
    return {
      ...at,
      plural: text(entry["resource"]),
      kind,
      namespaced: entry["scope"] === "Namespaced",
      singular: text(entry["singularResource"]) || kind.toLowerCase(),
      verbs: Array.isArray(entry["verbs"]) ? entry["verbs"].filter((verb) => typeof verb === "string") : [],
    };
  });
}
