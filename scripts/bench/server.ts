/** The API server under the benchmark: the embedded one, or a real one with its etcd. */
import { parse } from "yaml";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { ApiError, type KubeObject, type ResourceType } from "../../src/kube/api.ts";
import { fixedConnection } from "../../src/kube/auth/connection.ts";
import { createKubeClient, type KubeClient } from "../../src/kube/client.ts";
import { startEnvtest } from "../../tests/support/envtest.ts";
import { createNamespaces, createOrReplace, installCrds } from "../support/feed.ts";
import { type Access, CONTROLLER_NAMESPACE, NAMESPACE, OBSERVATIONS_PATH } from "./access.ts";
import type { EmbeddedPlace } from "./embedded.ts";
import { childrenNamed } from "./process.ts";
import { requestsOf } from "./requests.ts";
import { startWorker } from "./worker.ts";

/** Requests so far, by kind where the server says so; `leases` of them are the lease's. */
export interface RequestTotals {
  readonly own: number;
  readonly leases: number;
  readonly byKind: Readonly<Record<string, number>>;
}

export interface BenchServer extends AsyncDisposable {
  readonly kind: "embedded" | "real";
  readonly description: string;
  /** As the controller: in a real cluster its ServiceAccount. */
  readonly access: Access;
  /** As an administrator, whose requests are not counted on the real server. */
  readonly admin: Access;
  readonly api: KubeClient;
  /** The processes that make it up. */
  readonly pids: readonly number[];
  requests(): Promise<RequestTotals>;
}

const SERVICE_ACCOUNT = "zen-watcher";

export async function openServer(kind: BenchServer["kind"]): Promise<BenchServer> {
  const server = kind === "real" ? await openReal() : await openEmbedded();
  try {
    await installCrds(server.api);
    await createNamespaces(server.api, [NAMESPACE, CONTROLLER_NAMESPACE]);
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

async function openEmbedded(): Promise<BenchServer> {
  const worker = startWorker("embedded.ts");
  const { url, caPem } = await worker.ask<EmbeddedPlace>({ ask: "where" });
  const access = { url, caPem, token: "bench" };
  const api = transportOf(access);
  return {
    kind: "embedded",
    description: "embedded development API server, TLS ended by a relay in front of it",
    access,
    admin: access,
    api,
    pids: [worker.pid],
    async requests() {
      const byKind = await worker.ask<Record<string, number>>({ ask: "requests" });
      const sum = (wanted: (kind: string) => boolean) =>
        Object.entries(byKind).filter(([kind]) => wanted(kind)).reduce(
          (total, [, count]) => total + count,
          0,
        );
      return { own: sum(() => true), leases: sum((kind) => kind.includes("/leases")), byKind };
    },
    async [Symbol.asyncDispose]() {
      api.close();
      await worker[Symbol.asyncDispose]();
    },
  };
}

async function openReal(): Promise<BenchServer> {
  const envtest = await startEnvtest({ extraArgs: ["--delete-collection-workers=16"] });
  try {
    const { url, caPem } = envtest;
    const admin = { url, caPem, token: envtest.user("admin").token };
    const api = transportOf(admin);
    await createNamespaces(api, [CONTROLLER_NAMESPACE]);
    await grant(api);
    const token = await envtest.serviceAccountToken(CONTROLLER_NAMESPACE, SERVICE_ACCOUNT, 24 * 3_600);
    const names = ["kube-apiserver", "etcd"];
    return {
      kind: "real",
      description: "kube-apiserver 1.34 and etcd 3.6 (no fsync), on the same machine",
      access: { url, caPem, token },
      admin,
      api,
      pids: (await Promise.all(names.map(childrenNamed))).flat(),
      async requests() {
        const { text } = await api.getPath("/metrics");
        return { ...requestsOf(String(text)), byKind: {} };
      },
      async [Symbol.asyncDispose]() {
        api.close();
        await envtest[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await envtest[Symbol.asyncDispose]();
    throw error;
  }
}

/** The controller's ServiceAccount with the rights the chart gives it, in all namespaces. */
async function grant(api: KubeClient): Promise<void> {
  const RBAC = "rbac.authorization.k8s.io";
  const metadata = { name: SERVICE_ACCOUNT };
  const account = {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { ...metadata, namespace: CONTROLLER_NAMESPACE },
  };
  await createOrReplace(api, type("", "serviceaccounts", "ServiceAccount", true), account);
  await createOrReplace(api, type(RBAC, "clusterroles", "ClusterRole", false), {
    apiVersion: `${RBAC}/v1`,
    kind: "ClusterRole",
    metadata,
    rules: await chartRules(),
  } as KubeObject);
  await createOrReplace(api, type(RBAC, "clusterrolebindings", "ClusterRoleBinding", false), {
    apiVersion: `${RBAC}/v1`,
    kind: "ClusterRoleBinding",
    metadata,
    roleRef: { apiGroup: RBAC, kind: "ClusterRole", name: SERVICE_ACCOUNT },
    subjects: [{ kind: "ServiceAccount", name: SERVICE_ACCOUNT, namespace: CONTROLLER_NAMESPACE }],
  } as KubeObject);
}

async function chartRules() {
  const file = new URL("../../helm/zen-watcher/files/rbac.yaml", import.meta.url);
  const { rules } = parse(await Deno.readTextFile(file)) as { rules: unknown[] };
  return rules.filter(isObject).map(({ group = "", resources = [], verbs = [] }) => ({
    apiGroups: [group],
    resources,
    verbs,
  }));
}

function type(group: string, plural: string, kind: string, namespaced: boolean): ResourceType {
  return { group, version: "v1", plural, kind, namespaced };
}

function transportOf({ url, caPem, token }: Access): KubeClient {
  return createKubeClient(
    fixedConnection({ server: url, authorization: `Bearer ${token}`, caPem }),
    { fieldManager: "bench", requestDeadlineMs: 300_000 },
  );
}

/** Puts filters by source where the controller looks for them by default. */
export async function writeFilters({ api }: Pick<BenchServer, "api">, sources: JsonObject): Promise<void> {
  await createOrReplace(api, type("", "configmaps", "ConfigMap", true), {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "zen-watcher-filter", namespace: CONTROLLER_NAMESPACE },
    data: { "filter.json": JSON.stringify({ sources }) },
  });
}

const COLLECTIONS = [
  OBSERVATIONS_PATH,
  `/apis/aquasecurity.github.io/v1alpha1/namespaces/${NAMESPACE}/vulnerabilityreports`,
  `/api/v1/namespaces/${CONTROLLER_NAMESPACE}/configmaps`,
];

/** Deletes what scenarios leave behind. */
export async function clean({ admin }: BenchServer): Promise<void> {
  using client = Deno.createHttpClient({ caCerts: [admin.caPem] });
  const headers = { authorization: `Bearer ${admin.token}` };
  for (const path of COLLECTIONS) {
    const response = await fetch(admin.url + path, { method: "DELETE", client, headers });
    const text = await response.text();
    if (!response.ok) throw new ApiError(`clean "${path}"`, response.status, { message: text.slice(0, 300) });
  }
}
