/** A cluster that is somebody's: samples go into it when its user agrees, and every bit of them can be taken out again. */
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../../src/kube/api.ts";
import {
  CONFIG_MAPS,
  CUSTOM_RESOURCE_DEFINITIONS,
  NAMESPACES,
  SECRETS,
} from "../../src/kube/core_resources.ts";
import { LEASES } from "../../src/kube/lease.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import type { KubeconfigFlags, OpenCluster } from "./cluster.ts";
import { OURS_SELECTOR, sampleCrds, sampleNamespaces, sampleTypes } from "./feed.ts";
import { print } from "./script.ts";

/** The options of a script that installs samples, for `runScript()`. */
export const SAMPLE_OPTIONS = {
  kubeconfig: { type: "string" },
  context: { type: "string" },
  yes: { type: "boolean" },
} as const;

/** The flags of a script that installs samples. */
export interface SampleFlags extends KubeconfigFlags {
  readonly yes?: boolean | undefined;
}

/** The instances whose Observations `removeSamples` removes: those of `deno task dev` and of the demo. */
export const SAMPLE_INSTANCES = { dev: "dev", demo: "demo" } as const;

/** Without a named cluster there is the embedded API server. */
export function isNamed({ kubeconfig, context }: KubeconfigFlags): boolean {
  return kubeconfig !== undefined || context !== undefined;
}

/** Says what is installed into the named cluster, and throws where its user does not agree. */
export async function confirmSamples(
  { api, connection, description }: OpenCluster,
  { flags, namespace }: { readonly flags: SampleFlags; readonly namespace: string },
): Promise<void> {
  if (!isNamed(flags)) return;
  const { server } = await connection.endpoint();
  const crds = await split(api, CUSTOM_RESOURCE_DEFINITIONS, await sampleCrds());
  const names = [namespace, ...await sampleNamespaces()].map((name) => ({ metadata: { name } }));
  const namespaces = await split(api, NAMESPACES, names);
  print(`This installs into ${description} (${server}):
  - CustomResourceDefinitions of zen-watcher and of the tools: ${listed(crds)}
  - namespaces: ${listed(namespaces)}
  - sample reports, ConfigMaps, an Ingester, an ObservationMapping and a Secret in these namespaces
It runs zen-watcher on this machine, which stores Observations of all that the cluster's tools report.
deno task dev --clean with the same flags removes all of it.
`);
  requireConsent(flags.yes);
}

/** Asks, after the caller has said what is installed and where; throws where the user does not agree. */
export function requireConsent(isGiven: boolean | undefined): void {
  if (isGiven) return;
  if (!Deno.stdin.isTerminal()) {
    throw new Error("Cannot ask whether to install: standard input is no terminal. Agree with --yes");
  }
  if (!confirm("Install?")) throw new Error("Cannot go on: nothing is installed without your consent");
}

interface Split {
  readonly missing: readonly string[];
  readonly present: readonly string[];
}

async function split(api: KubeApi, type: ResourceType, objects: readonly KubeObject[]): Promise<Split> {
  const served = new Set((await api.list(type)).items.map(({ metadata }) => metadata.name));
  const names = objects.map(({ metadata }) => metadata.name ?? "");
  return {
    missing: names.filter((name) => !served.has(name)),
    present: names.filter((name) => served.has(name)),
  };
}

function listed({ missing, present }: Split): string {
  const created = missing.length === 0 ? "none" : missing.join(", ");
  return present.length === 0 ? created : `${created} (${present.length} more are there already)`;
}

/** A resource and how many of its objects were removed. */
export interface Removed {
  readonly what: string;
  readonly count: number;
}

const CRDS_GONE_TRIES = 200;
const TRY_INTERVAL_MS = 50;

/**
 * Removes all that the samples brought into a cluster, and what the controller made of them. A namespace or CRD that was there
 * before stays, and so does what else is in it.
 */
export async function removeSamples(api: KubeApi): Promise<readonly Removed[]> {
  const removed: Removed[] = [];
  const remove = async (type: ResourceType, choice: Choice) => {
    const count = await removeAll(api, type, choice);
    if (count > 0) removed.push({ what: type.plural, count });
  };
  const instances = Object.values(SAMPLE_INSTANCES).join(",");
  await remove(OBSERVATIONS, { labelSelector: `zen.kube-zen.io/instance in (${instances})` });
  for (const type of await sampleTypes(api)) await remove(type, { labelSelector: OURS_SELECTOR });
  const namespaces = await api.list(NAMESPACES, { labelSelector: OURS_SELECTOR });
  for (const { metadata: { name: namespace = "" } } of namespaces.items) {
    for (const type of [LEASES, CONFIG_MAPS, SECRETS]) await removeAll(api, type, { namespace });
  }
  await remove(NAMESPACES, { labelSelector: OURS_SELECTOR });
  await remove(CUSTOM_RESOURCE_DEFINITIONS, { labelSelector: OURS_SELECTOR });
  for (let tries = 0; await countOf(api, CUSTOM_RESOURCE_DEFINITIONS) > 0; tries++) {
    if (tries === CRDS_GONE_TRIES) {
      throw new Error(
        "Cannot remove the CustomResourceDefinitions: they are still there after 10 s. Try again",
      );
    }
    await new Promise((resolve) => setTimeout(resolve, TRY_INTERVAL_MS));
  }
  return removed;
}

interface Choice {
  readonly namespace?: string;
  readonly labelSelector?: string;
}

async function countOf(api: KubeApi, type: ResourceType): Promise<number> {
  return (await api.list(type, { labelSelector: OURS_SELECTOR })).items.length;
}

/** Deletes the chosen objects of a resource; resolves with their number, 0 where the resource is not served. */
async function removeAll(api: KubeApi, type: ResourceType, choice: Choice): Promise<number> {
  let items: readonly KubeObject[];
  try {
    ({ items } = await api.list(type, choice));
  } catch (error) {
    if (hasStatus(error, 404)) return 0;
    throw error;
  }
  for (const { metadata: { name = "", namespace } } of items) {
    await api.delete(type, name, namespace === undefined ? {} : { namespace }).catch((error) => {
      if (!hasStatus(error, 404)) throw error;
    });
  }
  return items.length;
}
