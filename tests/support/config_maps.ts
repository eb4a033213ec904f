/** ConfigMaps of an embedded API server, for tests of the server itself. */
import type { JsonObject } from "../../src/model/json.ts";
import type { TestCluster } from "./test_cluster.ts";

export const JSON_HEADERS = { "content-type": "application/json" };
export const CONFIG_MAPS_PATH = "/api/v1/namespaces/default/configmaps";

/** The names of those there are. */
export function configMapNames(cluster: TestCluster): unknown[] {
  return cluster.objects("configmaps").map(({ metadata }) => (metadata as JsonObject).name);
}

/** Makes one. */
export function post(cluster: TestCluster, name: string): Promise<Response> {
  return postTo(cluster, CONFIG_MAPS_PATH, { metadata: { name } });
}

/** Posts to any path. */
export function postTo(cluster: TestCluster, path: string, body: JsonObject): Promise<Response> {
  return fetch(cluster.url + path, { method: "POST", headers: JSON_HEADERS, body: JSON.stringify(body) });
}

/** Deletes one. */
export async function remove(cluster: TestCluster, name: string): Promise<void> {
  await (await fetch(`${cluster.url}${CONFIG_MAPS_PATH}/${name}`, { method: "DELETE" })).body?.cancel();
}

/** A watch whose frames are written as `TYPE name`, `ERROR code`, `GARBLED`, `END` or `BROKEN`. */
export async function watching(cluster: TestCluster, query = "&resourceVersion=" + cluster.revision) {
  const response = await fetch(`${cluster.url}${CONFIG_MAPS_PATH}?watch=1${query}`);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  return {
    async next(): Promise<string> {
      while (!rest.includes("\n")) {
        const read = await reader.read().catch(() => undefined);
        if (!read) return "BROKEN";
        if (read.done) return "END";
        rest += read.value;
      }
      const line = rest.slice(0, rest.indexOf("\n"));
      rest = rest.slice(line.length + 1);
      try {
        const { type, object } = JSON.parse(line);
        return `${type} ${object.code ?? object.metadata.name}`;
      } catch {
        return "GARBLED";
      }
    },
    [Symbol.asyncDispose]: () => reader.cancel().catch(() => {}),
  };
}
