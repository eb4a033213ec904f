import {
  hasStatus,
  type KubeApi,
  type KubeObject,
  listedObjects,
  type ResourceType,
} from "../src/kube/api.ts";
import { retry } from "../src/kube/retry.ts";
import { environment, SETTINGS } from "../src/settings.ts";
import { CONFIG_MAPS } from "../src/kube/core_resources.ts";
import { BACKUP_KINDS } from "./support/backup_kinds.ts";
import { errorMessage } from "../src/model/error_message.ts";
import { CLUSTER_OPTIONS, openUsersCluster } from "./support/cluster.ts";
import { print, runScript, type Values } from "./support/script.ts";

export interface BackupOptions {
  readonly api: KubeApi;
  /** Where the filter ConfigMap is. */
  readonly filters: { readonly namespace: string; readonly name: string };
}

const HELP = `
Usage: deno task backup -o FILE [-n NAMESPACE] [--kubeconfig FILE] [--context NAME]

Writes every Observation with its status, and what configures zen-watcher, to FILE: one JSON object a line, gzipped where FILE
ends in .gz. Secrets are left out.

  -o, --output      the file
  -n, --namespace   the controller's, where its filter ConfigMap is (default: POD_NAMESPACE, else zen-system)
  --kubeconfig, --context   the cluster; default: the one that kubectl uses
`;
const OPTIONS = {
  ...CLUSTER_OPTIONS,
  output: { type: "string", short: "o" },
  namespace: { type: "string", short: "n" },
} as const;
const PAGE = 500;
const ATTEMPTS = 6;

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
  if (configMap) yield line(CONFIG_MAPS, configMap);
  for (const type of BACKUP_KINDS) {
    for await (const object of all(api, type)) yield line(type, object);
  }
}

async function filterConfigMap(
  api: KubeApi,
  { namespace, name }: BackupOptions["filters"],
): Promise<KubeObject | undefined> {
  try {
    return await retry(() => api.get(CONFIG_MAPS, name, { namespace }), { maxAttempts: ATTEMPTS });
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

function all(api: KubeApi, type: ResourceType): AsyncGenerator<KubeObject> {
  return listedObjects((page) =>
    retry(() => api.list(type, { limit: PAGE, ...page }), { maxAttempts: ATTEMPTS })
  );
}

async function main({ output, namespace, ...flags }: Values<typeof OPTIONS>): Promise<void> {
  if (output === undefined) throw new Error("Cannot back up: no file is named. Name it with -o FILE");
  await using cluster = await openUsersCluster(flags);
  const filters = {
    namespace: environment("FILTER_CONFIGMAP_NAMESPACE") ?? namespace ?? environment("POD_NAMESPACE") ??
      SETTINGS.podNamespace.fallback,
    name: environment("FILTER_CONFIGMAP_NAME") ?? SETTINGS.filterConfigMapName.fallback,
  };
  const counts = await backup(output, { api: cluster.api, filters }).catch((error) => {
    throw new Error(`Cannot back up to "${output}": ${errorMessage(error)}`);
  });
  const list = Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(", ");
  print(`${output}: ${list || "nothing"} of ${cluster.description}\n`);
}

if (import.meta.main) await runScript({ help: HELP, options: OPTIONS }, main);
