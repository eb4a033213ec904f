/** The files and arguments a kube-apiserver, an etcd and a kube-controller-manager are started with. */
import { join } from "node:path";
import { stringify } from "yaml";
import { createCertAuthority, createKeyPair } from "./certs.ts";
import type { ClusterState } from "./cluster.ts";

const AUTHORITY = "envtest-ca";

/** Below Linux's range for outgoing connections: while a server is down, no client's socket can take its port. */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;

/** A user known by a bearer token. */
export interface TokenUser {
  readonly name: string;
  readonly groups?: readonly string[];
}

const DEFAULT_USERS: readonly TokenUser[] = [{ name: "viewer" }, { name: "operator" }, { name: "stranger" }];

const DEFAULT_AUDIT_POLICY = `
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
  resources:
  - {group: "", resources: [pods]}
  - {group: rbac.authorization.k8s.io}
- level: Metadata
`;

export interface ControlPlaneOptions {
  /** Users with a token besides `admin`; they have no rights until RBAC rules grant some. Default: viewer, operator, stranger. */
  readonly users?: readonly TokenUser[];
  /** Where the server posts its audit events. */
  readonly auditWebhookUrl?: string;
  /** An `audit.k8s.io/v1` Policy as YAML. Default: everything at Metadata, writes of Pods and RBAC with their request. */
  readonly auditPolicy?: string;
  /** The share of requests answered with an HTTP/2 GOAWAY, up to 0.02. */
  readonly goawayChance?: number;
  /** Runs the controllers of namespaces, garbage collection, ServiceAccounts, quotas and aggregated roles. */
  readonly controllerManager?: boolean;
  /** Further controllers to run, by the names that kube-controller-manager gives them. */
  readonly controllers?: readonly string[];
  /** Controllers act as `system:kube-controller-manager` and ServiceAccounts of their own, as kubeadm sets them up; else as the admin. */
  readonly controllerAccounts?: boolean;
  /** Further IPv4 addresses that the server's certificate names. */
  readonly addresses?: readonly string[];
  /** More arguments for kube-apiserver. */
  readonly extraArgs?: readonly string[];
}

/** Where the parts listen. */
export interface Ports {
  readonly etcd: number;
  readonly etcdPeer: number;
  readonly apiServer: number;
}

/** Three free loopback ports. */
export function choosePorts(): Ports {
  return { etcd: freePort(), etcdPeer: freePort(), apiServer: freePort() };
}

/** Writes certificates, keys, tokens and the audit's files into `folder`. */
export async function writeControlPlaneFiles(
  folder: string,
  ports: Ports,
  options: ControlPlaneOptions,
): Promise<ClusterState> {
  const authority = createCertAuthority(AUTHORITY);
  const serving = authority.issue({
    usage: "server",
    commonName: "kube-apiserver",
    dnsNames: ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
    ipAddresses: ["127.0.0.1", "10.0.0.1", ...(options.addresses ?? [])],
  });
  const accounts = createKeyPair();
  const users = [{ name: "admin", groups: ["system:masters"] }, ...(options.users ?? DEFAULT_USERS)];
  const tokens = Object.fromEntries(users.map(({ name }) => [name, crypto.randomUUID()]));
  const files: Record<string, string> = {
    "ca.crt": authority.certPem,
    "server.crt": serving.certPem,
    "server.key": serving.keyPem,
    "accounts.key": accounts.privatePem,
    "accounts.pub": accounts.publicPem,
    "tokens.csv": users
      .map(({ name, groups = [] }) => `${tokens[name]},${name},${name},"${groups.join(",")}"\n`).join(""),
    "audit-policy.yaml": options.auditPolicy ?? DEFAULT_AUDIT_POLICY,
    "audit-webhook.yaml": stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "audit", cluster: { server: options.auditWebhookUrl ?? "" } }],
      contexts: [{ name: "audit", context: { cluster: "audit" } }],
      "current-context": "audit",
    }),
  };
  for (const [name, content] of Object.entries(files)) {
    await Deno.writeTextFile(join(folder, name), content, { mode: 0o600 });
  }
  return {
    url: `https://127.0.0.1:${ports.apiServer}`,
    kubeconfigPath: join(folder, "kubeconfig"),
    authority: { commonName: AUTHORITY, certPem: authority.certPem, keyPem: authority.keyPem },
    tokens,
  };
}

export function etcdArguments(folder: string, ports: Ports): string[] {
  const [client, peer] = [`http://127.0.0.1:${ports.etcd}`, `http://127.0.0.1:${ports.etcdPeer}`];
  return [
    `--data-dir=${join(folder, "etcd")}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    "--unsafe-no-fsync",
    "--quota-backend-bytes=4294967296",
    "--log-level=warn",
  ];
}

export function apiServerArguments(folder: string, ports: Ports, options: ControlPlaneOptions): string[] {
  const file = (name: string) => join(folder, name);
  return [
    `--etcd-servers=http://127.0.0.1:${ports.etcd}`,
    "--bind-address=127.0.0.1",
    `--secure-port=${ports.apiServer}`,
    "--advertise-address=127.0.0.1",
    "--endpoint-reconciler-type=none",
    "--service-cluster-ip-range=10.0.0.0/24",
    `--tls-cert-file=${file("server.crt")}`,
    `--tls-private-key-file=${file("server.key")}`,
    `--client-ca-file=${file("ca.crt")}`,
    `--token-auth-file=${file("tokens.csv")}`,
    "--authorization-mode=RBAC",
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${file("accounts.pub")}`,
    `--service-account-signing-key-file=${file("accounts.key")}`,
    "--allow-privileged",
    "--profiling=false",
    // Nothing makes the `default` ServiceAccount without the controller manager, and Pods would be refused for it.
    ...(options.controllerManager ? [] : ["--disable-admission-plugins=ServiceAccount"]),
    ...(options.goawayChance === undefined ? [] : [`--goaway-chance=${options.goawayChance}`]),
    ...(options.auditWebhookUrl === undefined ? [] : [
      `--audit-policy-file=${file("audit-policy.yaml")}`,
      `--audit-webhook-config-file=${file("audit-webhook.yaml")}`,
      "--audit-webhook-batch-max-wait=2s",
    ]),
    ...(options.extraArgs ?? []),
  ];
}

/** Only the controllers whose work a test can see; there are no nodes to run the others for. */
export function controllerArguments(
  folder: string,
  { controllers = [], controllerAccounts = false }: ControlPlaneOptions,
): string[] {
  return [
    `--kubeconfig=${controllerAccounts ? controllersKubeconfig(folder) : join(folder, "kubeconfig")}`,
    `--use-service-account-credentials=${controllerAccounts}`,
    `--root-ca-file=${join(folder, "ca.crt")}`,
    `--service-account-private-key-file=${join(folder, "accounts.key")}`,
    "--leader-elect=false",
    "--secure-port=0",
    "--controllers=namespace-controller,garbage-collector-controller,serviceaccount-controller," +
    "root-ca-certificate-publisher-controller,clusterrole-aggregation-controller,resourcequota-controller," +
    "validatingadmissionpolicy-status-controller",
    ...controllers.map((name) => `--controllers=${name}`),
  ];
}

/** The kubeconfig of `system:kube-controller-manager`. */
export function controllersKubeconfig(folder: string): string {
  return join(folder, "controllers.kubeconfig");
}

function freePort(): number {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT));
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new Error(`Cannot find a free port between ${FIRST_PORT} and ${LAST_PORT}`);
}
