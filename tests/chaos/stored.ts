import { isObject } from "../../src/model/json.ts";
import { type KubeApi, type KubeObject, listedObjects } from "../../src/kube/api.ts";
import { OBSERVATIONS } from "../../src/store/mod.ts";

/** All Observations of a namespace, page by page. */
export function storedIn(api: KubeApi, namespace: string): AsyncGenerator<KubeObject> {
  return listedObjects((page) => api.list(OBSERVATIONS, { namespace, limit: 500, ...page }));
}

/** What the Observations of a namespace are about, doubles included. */
export async function storedPods(api: KubeApi, namespace: string): Promise<string[]> {
  const pods: string[] = [];
  for await (const { spec } of storedIn(api, namespace)) {
    if (isObject(spec) && isObject(spec.resource)) pods.push(String(spec.resource.name));
  }
  return pods;
}
