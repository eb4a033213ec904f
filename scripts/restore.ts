import { errorMessage } from "../src/model/error_message.ts";
import { isObject } from "../src/model/json.ts";
import { ANNOTATIONS } from "../src/model/observation.ts";
import { hasStatus, type KubeApi, type KubeObject } from "../src/kube/api.ts";
import { retry } from "../src/kube/retry.ts";
import { OBSERVATIONS } from "../src/store/mod.ts";
import { creatable, typeOf } from "./support/backup_kinds.ts";
import { readBackup } from "./support/backup_file.ts";
import { CLUSTER_OPTIONS, openUsersCluster } from "./support/cluster.ts";
import { print, runScript, say, type Values } from "./support/script.ts";
import { NAMESPACES } from "../src/kube/core_resources.ts";

const HELP = `
Usage: deno task restore -f FILE [--create-namespaces] [--kubeconfig FILE] [--context NAME]

Creates what a backup holds and the cluster does not, with its status. What the cluster holds is left alone, so it may be run
again. Reads the files of \`deno task backup\` and what \`kubectl get -o json\` prints; gzipped where FILE ends in .gz.

  -f, --filename        the file
  --create-namespaces   create the namespaces that are missing
  --kubeconfig, --context   the cluster; default: the one that kubectl uses
`;
const OPTIONS = {
  ...CLUSTER_OPTIONS,
  filename: { type: "string", short: "f" },
  "create-namespaces": { type: "boolean" },
} as const;

export interface RestoreOptions {
  readonly api: KubeApi;
  /** Create the namespaces that are missing. */
  readonly createNamespaces?: boolean;
  /** Called for each object that could not be restored. */
  readonly onFailure?: (what: string, error: unknown) => void;
}

/** Counts of a backup's objects: how many were restored, and how many not. */
export interface Restored {
  created: number;
  /** There already. */
  existing: number;
  /** Of other kinds than zen-watcher's. */
  foreign: number;
  failed: number;
}

const CONCURRENCY = 8;
const ATTEMPTS = 8;
/** The same refusal fifty thousand times does not help. */
const MAX_FAILURES = 100;

/** Restores `path`; resolves once every object is tried. */
export async function restore(path: string, options: RestoreOptions): Promise<Restored> {
  const restored: Restored = { created: 0, existing: 0, foreign: 0, failed: 0 };
  const objects = readBackup(path);
  const namespaces = new Map<string, Promise<void>>();
  async function worker(): Promise<void> {
    while (restored.failed < MAX_FAILURES) {
      const next = await objects.next();
      if (next.done) return;
      const object = next.value;
      try {
        restored[await restoreOne(object, { ...options, namespaces })]++;
      } catch (error) {
        restored.failed++;
        const { namespace = "", name = "" } = object.metadata;
        options.onFailure?.(`${object.kind ?? "object"} ${namespace}/${name}`, error);
      }
    }
  }
  const workers = Array.from({ length: CONCURRENCY }, worker);
  try {
    await Promise.all(workers);
  } finally {
    await Promise.allSettled(workers);
    await objects.return(undefined);
  }
  if (restored.failed >= MAX_FAILURES) {
    throw new Error(`Cannot restore "${path}": ${MAX_FAILURES} objects failed`);
  }
  return restored;
}

interface Work extends RestoreOptions {
  readonly namespaces: Map<string, Promise<void>>;
}

async function restoreOne(object: KubeObject, work: Work): Promise<"created" | "existing" | "foreign"> {
  const { api } = work;
  const type = typeOf(object);
  const { metadata: { name, namespace }, status } = object;
  if (!type || name === undefined || namespace === undefined) return "foreign";
  if (work.createNamespaces) await ensureNamespace(namespace, work);
  try {
    await again(() => api.create(type, creatable(object), { namespace }));
  } catch (error) {
    if (!hasStatus(error, 409)) throw error;
    if (type === OBSERVATIONS) await finish(object, { api, name, namespace });
    return "existing";
  }
  if (type === OBSERVATIONS && isObject(status)) {
    await again(() => api.patch(type, name, { status }, { type: "merge", subresource: "status", namespace }));
  }
  return "created";
}

interface Place {
  readonly api: KubeApi;
  readonly name: string;
  readonly namespace: string;
}

/**
 * Writes the status that an interrupted restore did not come to. Only of the very same Observation (each has an event of
 * its own that made it) and only where its status is not written yet.
 */
async function finish(object: KubeObject, { api, name, namespace }: Place): Promise<void> {
  const { status } = object;
  if (!isObject(status) || typeof status.lastProcessedAt !== "string") return;
  const found = await again(() => api.get(OBSERVATIONS, name, { namespace }));
  const written = isObject(found.status) && found.status.lastProcessedAt !== undefined;
  if (written || eventOf(found) === undefined || eventOf(found) !== eventOf(object)) return;
  const { resourceVersion = "" } = found.metadata;
  const patch = { metadata: { resourceVersion }, status };
  try {
    await api.patch(OBSERVATIONS, name, patch, { type: "merge", subresource: "status", namespace });
  } catch (error) {
    // Somebody wrote it in between, and knows better.
    if (!hasStatus(error, 409)) throw error;
  }
}

function eventOf({ metadata }: KubeObject): string | undefined {
  return metadata.annotations?.[ANNOTATIONS.eventId];
}

/** Once for each namespace. */
function ensureNamespace(name: string, { api, namespaces }: Work): Promise<void> {
  const known = namespaces.get(name);
  if (known) return known;
  const made = (async () => {
    try {
      await again(() => api.create(NAMESPACES, { apiVersion: "v1", kind: "Namespace", metadata: { name } }));
    } catch (error) {
      if (!hasStatus(error, 409)) throw error;
    }
  })();
  namespaces.set(name, made);
  return made;
}

function again<T>(request: () => Promise<T>): Promise<T> {
  return retry(request, { maxAttempts: ATTEMPTS });
}

async function main({ filename, ...flags }: Values<typeof OPTIONS>): Promise<number> {
  if (filename === undefined) throw new Error("Cannot restore: no file is named. Name it with -f FILE");
  await using cluster = await openUsersCluster(flags);
  const { created, existing, foreign, failed } = await restore(filename, {
    api: cluster.api,
    createNamespaces: flags["create-namespaces"] ?? false,
    onFailure: (what, error) => say(`Cannot restore ${what}: ${errorMessage(error)}`),
  });
  print(
    `${filename}: ${created} created, ${existing} there already, ${foreign} of other kinds, ${failed} failed\n`,
  );
  return failed > 0 ? 1 : 0;
}

if (import.meta.main) await runScript({ help: HELP, options: OPTIONS }, main);
