/** A cluster with a few Observations, and the commands that read them as a user calls them. */
import type { Terminal } from "../../src/cli/io.ts";
import { main } from "../../src/cli/main.ts";
import { CONFIG_MAPS } from "../../src/kube/core_resources.ts";
import type { Json } from "../../src/model/json.ts";
import { readSettings } from "../../src/settings.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import { type DevWorld, startDevWorld } from "./dev_world.ts";
import { type ObservationFields, storedObservation } from "./observation.ts";

/** The time that the commands see. */
export const NOW = Date.parse("2026-11-22T06:00:00Z");
const HOUR_MS = 3_600_000;

/** How a command ended, and what it printed. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface ZenOptions {
  readonly kubeconfig?: string;
  readonly terminal?: Terminal;
  /** What `-f -` reads. */
  readonly stdin?: string;
}

/** Runs a command against a cluster. */
export async function zen(
  args: readonly string[],
  { kubeconfig, terminal, stdin }: ZenOptions,
): Promise<Ran> {
  let out = "";
  let err = "";
  const code = await main([...args, ...(kubeconfig ? ["--kubeconfig", kubeconfig] : [])], {
    settings: () => readSettings(() => undefined),
    io: {
      readText: () =>
        stdin === undefined ? Promise.reject(new Error("no file is read")) : Promise.resolve(stdin),
      listFolder: () => Promise.resolve(undefined),
      stdout: (text) => out += text,
      stderr: (text) => err += text,
      terminal: () => terminal,
      env: () => undefined,
      now: () => NOW,
    },
  });
  return { code, out, err };
}

/** An Observation of a Deployment. */
function onDeployment(name: string, fields: ObservationFields): ObservationFields {
  const namespace = fields.namespace ?? "shop";
  return { namespace, resource: { apiVersion: "apps/v1", kind: "Deployment", name, namespace }, ...fields };
}

/** A time before `NOW`. */
export const ago = (hoursAgo: number) => new Date(NOW - hoursAgo * HOUR_MS).toISOString();

/** What `startWorld` stores. */
export const KEPT: readonly ObservationFields[] = [
  onDeployment("web", {
    id: "web-xz",
    source: "trivy",
    severity: "CRITICAL",
    rule: "CVE-2024-3094",
    message: "xz-utils 5.6.0 (fixed in 5.6.1)",
    status: { firstSeenAt: ago(48), lastSeenAt: ago(1) },
  }),
  onDeployment("api", {
    id: "api-xz",
    source: "trivy",
    severity: "CRITICAL",
    rule: "CVE-2024-3094",
    message: "xz-utils 5.6.0",
    status: { phase: "Resolved", firstSeenAt: ago(72), lastSeenAt: ago(4), resolvedAt: ago(3) },
  }),
  {
    id: "shell",
    namespace: "shop",
    resource: { apiVersion: "v1", kind: "Pod", name: "web-7d4b9c6f5b-x2x4z", namespace: "shop" },
    source: "falco",
    severity: "LOW",
    rule: "Terminal shell in container",
    message: "bash\u001b]0;pwned\u0007 was started \u202eby root",
    status: { firstSeenAt: ago(2), lastSeenAt: ago(2) },
  },
  onDeployment("pay", {
    id: "pay-tag",
    namespace: "pay",
    source: "kyverno",
    severity: "MEDIUM",
    rule: "disallow-latest-tag/require-image-tag",
    message: '=HYPERLINK("https://example.com")',
    status: { firstSeenAt: ago(30), lastSeenAt: ago(1) },
  }),
];

/** Starts a cluster that holds `KEPT`. */
export async function startWorld(): Promise<DevWorld> {
  const world = await startDevWorld({ namespaces: ["shop", "pay"] });
  for (const fields of KEPT) await create(world, fields);
  return world;
}

/** Adds filters that leave something out, and the status that a controller keeps of them. */
export async function addFilters({ api }: DevWorld): Promise<void> {
  const drop = { source: "trivy", severity: "LOW", namespace: "shop", reason: "min_severity" };
  const lastDrops = [
    { time: ago(1), rule: "CVE-2023-45853", resource: "Deployment/web", ...drop },
    { time: ago(30), rule: "CVE-2019-8457", resource: "Deployment/api", ...drop, reason: "exclude_rules" },
  ];
  const sources = { trivy: { minSeverity: "HIGH", excludeRules: ["CVE-2019-8457"] } };
  const objects: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    "zen-watcher-filter": { "filter.json": JSON.stringify({ sources }) },
    "zen-watcher-filter-status": {
      "ready": "True",
      "reason": "Loaded",
      "message": "In force",
      "drops.json": JSON.stringify({ sources: { trivy: { dropped: 212, lastDrops } } }),
    },
  };
  for (const [name, data] of Object.entries(objects)) {
    await api.create(CONFIG_MAPS, { metadata: { name, namespace: "zen-system" }, data });
  }
}

/** Stores an Observation with its status. */
export async function create(world: DevWorld, fields: ObservationFields): Promise<void> {
  const { status: wanted, metadata, ...object } = storedObservation({ createdAt: NOW, ...fields });
  const { uid: _uid, resourceVersion: _version, ...meta } = metadata;
  await world.api.create(OBSERVATIONS, { ...object, metadata: meta });
  const { name = "", namespace = "" } = meta;
  await world.api.patch(OBSERVATIONS, name, { status: wanted as Json }, {
    namespace,
    subresource: "status",
    type: "merge",
  });
}

/** A kubeconfig file for a server. */
export async function kubeconfigOf(server: string, namespace?: string) {
  const path = await Deno.makeTempFile();
  const context = { cluster: "c", user: "u", ...(namespace && { namespace }) };
  await Deno.writeTextFile(
    path,
    JSON.stringify({
      "apiVersion": "v1",
      "kind": "Config",
      "current-context": "c",
      "contexts": [{ name: "c", context }],
      "clusters": [{ name: "c", cluster: { server } }],
      "users": [{ name: "u", user: {} }],
    }),
  );
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}
