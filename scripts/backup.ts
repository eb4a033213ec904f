/**
 * `deno run -A scripts/backup.ts -o FILE [-n NAMESPACE] [--kubeconfig FILE] [--context NAME]`: every Observation with its
 * status, and what configures zen-watcher, one JSON object a line; gzipped where FILE ends in .gz. Secrets are left out.
 */
import { parseArgs } from "node:util";
import { processIo } from "../src/cli/io.ts";
import {
  hasStatus,
  type KubeApi,
  type KubeList,
  type KubeObject,
  type ListOptions,
  type ResourceType,
} from "../src/kube/api.ts";
import { retry } from "../src/kube/retry.ts";
import { environment, SETTINGS } from "../src/settings.ts";
import { CONFIGMAPS } from "../src/sources/feeds/configmap.ts";
import { BACKUP_KINDS } from "./support/backup_kinds.ts";
import { openUsersCluster } from "./support/users_cluster.ts";

export interface BackupOptions {
  readonly api: KubeApi;
  /** Where the filter ConfigMap is. */
  readonly filters: { readonly namespace: string; readonly name: string };
}

const PAGE = 500;
const ATTEMPTS = 6;

if (import.meta.main) Deno.exit(await main());

/** Writes the backup to `path`, which appears only once it is whole; resolves with how many objects of each kind are in it. */
export async function backup(
  path: string,
  options: BackupOptions,
): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {};
  const partial = `${path}.partial`;
  const lines = ReadableStream.from(linesOf(options, counts)).pipeThrough(new TextEncoderStream());
  const bytes = path.endsWith(".gz") ? lines.pipeThrough(new CompressionStream("gzip")) : lines;
  try {
    // What tools report is for few eyes.
    await Deno.writeFile(partial, bytes, { mode: 0o600 });
    await Deno.rename(partial, path);
  } catch (error) {
    await Deno.remove(partial).catch(() => {});
    throw error;
  }
  return counts;
}

async function* linesOf(
  { api, filters }: BackupOptions,
  counts: Record<string, number>,
): AsyncGenerator<string> {
  const line = (type: ResourceType, object: KubeObject) => {
    counts[type.kind] = (counts[type.kind] ?? 0) + 1;
    const { managedFields: _, ...metadata } = object.metadata;
    const head = {
      apiVersion: `${type.group === "" ? "" : `${type.group}/`}${type.version}`,
      kind: type.kind,
    };
    return `${JSON.stringify({ ...object, ...head, metadata })}\n`;
  };
  const configMap = await filterConfigMap(api, filters);
  if (configMap) yield line(CONFIGMAPS, configMap);
  for (const type of BACKUP_KINDS) {
    for await (const object of all(api, type)) yield line(type, object);
  }
}

async function filterConfigMap(
  api: KubeApi,
  { namespace, name }: BackupOptions["filters"],
): Promise<KubeObject | undefined> {
  try {
    return await retry(() => api.get(CONFIGMAPS, name, { namespace }), { maxAttempts: ATTEMPTS });
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

async function* all(api: KubeApi, type: ResourceType): AsyncGenerator<KubeObject> {
  let next: string | undefined;
  do {
    const page: ListOptions = { limit: PAGE, ...(next ? { continue: next } : {}) };
    const list: KubeList = await retry(() => api.list(type, page), { maxAttempts: ATTEMPTS });
    yield* list.items;
    next = list.metadata.continue;
  } while (next);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      output: { type: "string", short: "o" },
      namespace: { type: "string", short: "n" },
      kubeconfig: { type: "string" },
      context: { type: "string" },
    },
  });
  const { output, namespace = environment("POD_NAMESPACE") ?? SETTINGS.podNamespace.fallback } = values;
  if (output === undefined) {
    processIo.stderr("Cannot back up: expected -o FILE\n");
    return 2;
  }
  try {
    using cluster = await openUsersCluster(values);
    const filters = {
      namespace: environment("FILTER_CONFIGMAP_NAMESPACE") ?? namespace,
      name: environment("FILTER_CONFIGMAP_NAME") ?? SETTINGS.filterConfigMapName.fallback,
    };
    const counts = await backup(output, { api: cluster.api, filters });
    const told = Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(", ");
    processIo.stdout(`${output}: ${told || "nothing"} of ${cluster.description}\n`);
    return 0;
  } catch (error) {
    processIo.stderr(`Cannot back up: ${error instanceof Error ? error.message : error}\n`);
    return 1;
  }
}
