import { isObject } from "../../src/model/json.ts";
import type { KubeApi, KubeObject } from "../../src/kube/api.ts";
import { OBSERVATIONS } from "../../src/store/mod.ts";

/** All Observations of a namespace, page by page. */
export async function* storedIn(api: KubeApi, namespace: string): AsyncGenerator<KubeObject> {
  let next: string | undefined;
  do {
    const page = await api.list(OBSERVATIONS, {
      namespace,
      limit: 500,
      ...(next ? { continue: next } : {}),
    });
    yield* page.items;
    next = page.metadata.continue || undefined;
  } while (next);
}

/** What the Observations of a namespace are about, doubles included. */
export async function storedPods(api: KubeApi, namespace: string): Promise<string[]> {
  const pods: string[] = [];
  for await (const { spec } of storedIn(api, namespace)) {
    if (isObject(spec) && isObject(spec.resource)) pods.push(String(spec.resource.name));
  }
  return pods;
}
