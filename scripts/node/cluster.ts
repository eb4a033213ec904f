/**
 * A Kubernetes of two nodes on this machine. A node is a mount and a process namespace; the second has a network of its own
 * as well, the first shares that of this process, in which the control plane runs too. When a node's first process ends, the
 * kernel ends all others of the node, the Pods' included.
 */
import { join } from "node:path";
import { parseAllDocuments, stringify } from "yaml";
import { exec } from "../support/run.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { type ClusterState, RealCluster } from "../../tests/support/cluster.ts";
import {
  apiServerArguments,
  controllerArguments,
  etcdArguments,
  writeControlPlaneFiles,
} from "../../tests/support/control_plane.ts";
import { eventually } from "../../tests/support/eventually.ts";
import { Reaper, ServerProcess } from "../../tests/support/server_process.ts";
import type { Binaries } from "../envtest/build.ts";
import { ensureNodeBinaries, PAUSE_IMAGE } from "./images.ts";
import { CGROUP_ROOT, CGROUPS } from "./machine.ts";

/** Names the folder of the images' archives; set by `deno task test:node` alone. */
export const IMAGES_VARIABLE = "ZEN_NODE_IMAGES";
/** Says why the tests are skipped. */
export const SKIP_VARIABLE = "ZEN_NODE_SKIPPED";

const PORTS = { etcd: 2379, etcdPeer: 2380, apiServer: 6443 };
const SERVICES = "10.96.0.0/16";
const DNS_ADDRESS = "10.96.0.10";
/** The API server's own Service. */
const API_SERVICE = "10.96.0.1";
const START_TIMEOUT_MS = 180_000;
/** Folders of a node that are its own. */
const OWN_FOLDERS = [
  ...["/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/run/containerd", "/run/netns"],
  ...["/var/log/pods", "/var/log/containers", "/etc/cni/net.d"],
];
/** Kubelet insists on these values; the machine's own stay as they are. */
const SYSCTLS: Readonly<Record<string, string>> = {
  "vm/overcommit_memory": "1",
  "kernel/panic": "10",
  "kernel/panic_on_oops": "1",
};

/** A node's names and addresses. */
interface Place {
  readonly name: string;
  readonly address: string;
  readonly pods: string;
}

const FIRST: Place = { name: "n1", address: "10.99.0.1", pods: "10.88.0.0/24" };
const SECOND: Place = { name: "n2", address: "10.99.0.2", pods: "10.88.1.0/24" };

/** What runs on a node. */
type Servers = Readonly<Record<"containerd" | "kubelet" | "proxy" | "router", ServerProcess>>;

/** One node: its programs can be stopped and started, and its network cut. */
export class Node {
  readonly name: string;
  readonly servers: Servers;
  readonly #enter: readonly [string, ...string[]];

  constructor(name: string, enter: readonly [string, ...string[]], servers: Servers) {
    this.name = name;
    this.servers = servers;
    this.#enter = enter;
  }

  /** Runs a command on the node. */
  async run(...words: readonly string[]): Promise<string> {
    const [program, ...args] = [...this.#enter, ...words] as [string, ...string[]];
    return await exec(program, args);
  }

  /** Ends kubelet at once; Pods run on. */
  async killKubelet(): Promise<void> {
    const { kubelet } = this.servers;
    // Kubelet itself, not what entered the node for it.
    const [pid] = await childrenOf(kubelet.pid);
    if (pid !== undefined) Deno.kill(pid, "SIGKILL");
    await eventually(`kubelet of ${this.name} to end`, () => !kubelet.running);
  }

  async startKubelet(): Promise<void> {
    await this.servers.kubelet.start();
  }

  /** Drops every packet from and to other nodes, until `join()`. */
  async cut(): Promise<void> {
    await this.#rules("-I");
  }

  async join(): Promise<void> {
    await this.#rules("-D");
  }

  async #rules(change: "-I" | "-D"): Promise<void> {
    for (const [chain, side] of [["PREROUTING", "-i"], ["POSTROUTING", "-o"]] as const) {
      await this.run("iptables", "-w", "-t", "mangle", change, chain, side, "eth0", "-j", "DROP");
    }
  }
}

/** The cluster. Its parts are gone when it is disposed of, or when this process ends. */
export class NodeCluster extends RealCluster implements AsyncDisposable {
  readonly nodes: readonly [Node, Node];
  readonly #reaper: Reaper;
  readonly #apiServer: ServerProcess;
  readonly #processes: readonly ServerProcess[];

  constructor(state: ClusterState, parts: Parts) {
    super(state);
    this.nodes = parts.nodes;
    this.#reaper = parts.reaper;
    this.#apiServer = parts.apiServer;
    this.#processes = parts.processes;
  }

  async killApiServer(): Promise<void> {
    await this.#apiServer.stop("SIGKILL");
  }

  async startApiServer(): Promise<void> {
    await this.#apiServer.start();
    await this.#apiServer.ready(
      async () => (await this.ask("GET", "/readyz")).status === 200,
      START_TIMEOUT_MS,
    );
  }

  /** Creates the objects of a YAML text. */
  async create(text: string): Promise<void> {
    for (const document of parseAllDocuments(text)) {
      const object: unknown = document.toJS();
      if (isObject(object)) await this.expect("POST", collectionOf(object), { body: object });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose]();
    for (const server of this.#processes.toReversed()) await server.stop("SIGKILL");
    await removeCgroups();
    await this.#reaper[Symbol.asyncDispose]();
  }
}

interface Parts {
  readonly nodes: readonly [Node, Node];
  readonly reaper: Reaper;
  readonly apiServer: ServerProcess;
  /** All, in the order in which they were started. */
  readonly processes: readonly ServerProcess[];
}

/** Starts it and waits until both nodes are Ready. `images` is the folder of the archives that are imported into both. */
export async function startNodeCluster(images: string): Promise<NodeCluster> {
  const binaries = await ensureNodeBinaries();
  const reaper = await Reaper.start("zen-node-");
  const processes: ServerProcess[] = [];
  const process = (name: string, words: readonly [string, ...string[]]) => {
    const server = new ServerProcess(reaper, name, words);
    processes.push(server);
    return server;
  };
  const starting: Starting = { folder: reaper.folder, binaries, process, images };
  await removeCgroups();
  await useOwnNetwork();
  const state = await writeControlPlaneFiles(reaper.folder, PORTS, {
    controllerManager: true,
    addresses: [FIRST.address, API_SERVICE],
  });
  const bare = new RealCluster(state);
  try {
    const apiServer = await startControlPlane(bare, starting);
    const entered = await Promise.all([FIRST, SECOND].map((place) => startNamespaces(place, starting)));
    await connect(entered[1]?.pid ?? 0, entered[1]?.enter ?? ["true"]);
    const [first, second] = await Promise.all(
      [FIRST, SECOND].map((place, index) => startNode(bare, { place, ...entered[index]!, ...starting })),
    );
    const cluster = new NodeCluster(state, { nodes: [first!, second!], reaper, apiServer, processes });
    await untilReady(cluster, 2);
    await cluster.create(await Deno.readTextFile(new URL("coredns.yaml", import.meta.url)));
    return cluster;
  } catch (error) {
    for (const server of processes.toReversed()) {
      if (error instanceof Error) error.message += `\n--- ${server.name}\n${await server.logTail(5)}`;
      await server.stop("SIGKILL");
    }
    await removeCgroups();
    await reaper[Symbol.asyncDispose]();
    throw error;
  } finally {
    bare[Symbol.dispose]();
  }
}

/** Waits until so many nodes are Ready. */
export async function untilReady(cluster: RealCluster, count: number): Promise<void> {
  await eventually(`${count} nodes to be Ready`, async () => (await readyNodes(cluster)).length === count, {
    timeoutMs: START_TIMEOUT_MS,
  });
}

/** The names of the nodes that are Ready. */
export async function readyNodes(cluster: RealCluster): Promise<string[]> {
  const { body } = await cluster.expect("GET", "/api/v1/nodes");
  return objects(body.items).filter(({ status }) =>
    objects(isObject(status) && status.conditions).some(({ type, status }) =>
      type === "Ready" && status === "True"
    )
  ).map(({ metadata }) => isObject(metadata) ? String(metadata.name) : "");
}

interface Starting {
  readonly folder: string;
  readonly images: string;
  readonly binaries: Binaries;
  process(name: string, words: readonly [string, ...string[]]): ServerProcess;
}

async function startControlPlane(
  cluster: RealCluster,
  { folder, binaries, process }: Starting,
): Promise<ServerProcess> {
  const file = (name: string) => join(folder, name);
  await Deno.writeTextFile(file("kubeconfig"), cluster.kubeconfig(), { mode: 0o600 });
  const client = cluster.clientCert("apiserver-kubelet", ["system:masters"]);
  const proxy = cluster.clientCert("front-proxy-client");
  const files = {
    "kubelet-client.crt": client.certPem,
    "kubelet-client.key": client.keyPem,
    "front-proxy.crt": proxy.certPem,
    "front-proxy.key": proxy.keyPem,
  };
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(file(name), text, { mode: 0o600 });
  }
  await process("etcd", [binaries.etcd, ...etcdArguments(folder, PORTS)]).start();
  const apiServer = process("kube-apiserver", [
    binaries["kube-apiserver"],
    ...apiServerArguments(folder, PORTS, {
      controllerManager: true,
      extraArgs: [
        "--bind-address=0.0.0.0",
        `--advertise-address=${FIRST.address}`,
        "--endpoint-reconciler-type=lease",
        `--service-cluster-ip-range=${SERVICES}`,
        "--authorization-mode=Node",
        "--enable-admission-plugins=NodeRestriction",
        `--kubelet-client-certificate=${file("kubelet-client.crt")}`,
        `--kubelet-client-key=${file("kubelet-client.key")}`,
        "--kubelet-preferred-address-types=InternalIP",
        `--requestheader-client-ca-file=${file("ca.crt")}`,
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        `--proxy-client-cert-file=${file("front-proxy.crt")}`,
        `--proxy-client-key-file=${file("front-proxy.key")}`,
      ],
    }),
  ]);
  await apiServer.start();
  await apiServer.ready(async () => (await cluster.ask("GET", "/readyz")).status === 200, START_TIMEOUT_MS);
  await process("kube-controller-manager", [
    binaries["kube-controller-manager"],
    ...controllerArguments(folder, { controllers: ["*"] }),
    "--allocate-node-cidrs",
    "--cluster-cidr=10.88.0.0/16",
    // A node that is cut off is seen to be so within 20 s, not 50.
    "--node-monitor-period=2s",
    "--node-monitor-grace-period=16s",
  ]).start();
  await process("kube-scheduler", [
    binaries["kube-scheduler"],
    `--kubeconfig=${file("kubeconfig")}`,
    "--leader-elect=false",
    "--secure-port=0",
  ]).start();
  return apiServer;
}

/** The first process of a node, and the words that run a command there. */
interface Entered {
  readonly pid: number;
  readonly enter: readonly [string, ...string[]];
}

async function startNamespaces(place: Place, { folder, process }: Starting): Promise<Entered> {
  const own = join(folder, place.name);
  const lines = ["set -e", "mount -t proc proc /proc", "mount --make-rshared /"];
  for (const path of OWN_FOLDERS) {
    // Empty mount points, which the machine keeps.
    await Deno.mkdir(path, { recursive: true });
    await Deno.mkdir(own + path, { recursive: true });
    lines.push(`mount --bind ${own}${path} ${path}`);
  }
  for (const [name, value] of Object.entries(SYSCTLS)) {
    const file = `${own}/${name.replace("/", ".")}`;
    await Deno.writeTextFile(file, `${value}\n`);
    lines.push(`mount --bind ${file} /proc/sys/${name}`);
  }
  lines.push("ip link set lo up", "echo 1 > /proc/sys/net/ipv4/ip_forward");
  lines.push("echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables");
  // As the first process it takes in orphans, which bash does while it waits.
  lines.push(`touch ${own}/entered`, "sleep infinity & wait");
  const network = place === FIRST ? [] : ["--net"];
  const server = process(`${place.name}-init`, [
    ...["unshare", "--mount", "--pid", ...network, "--fork", "--kill-child"] as [string, ...string[]],
    ...["--propagation", "private", "bash", "-c", lines.join("\n")],
  ]);
  await server.start();
  await server.ready(async () => (await Deno.stat(`${own}/entered`)).isFile, START_TIMEOUT_MS);
  const [pid] = await childrenOf(server.pid);
  if (pid === undefined) throw new Error(`Cannot start node "${place.name}": ${await server.logTail()}`);
  return { pid, enter: ["nsenter", "--target", `${pid}`, "--mount", "--net", "--pid", "--"] };
}

/** The wire between the two, and the routes to each other's Pods. */
async function connect(second: number, enter: readonly [string, ...string[]]): Promise<void> {
  await exec("ip", ["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", `${second}`]);
  const [program, ...words] = enter;
  for (const [own, other, prefix] of [[FIRST, SECOND, []], [SECOND, FIRST, [program, ...words]]] as const) {
    for (
      const command of [
        `ip addr add ${own.address}/24 dev eth0`,
        "ip link set eth0 up",
        `ip route add ${other.pods} via ${other.address}`,
        // What kube-proxy translates must have a route before that.
        `ip route add ${SERVICES} dev eth0 src ${own.address}`,
      ]
    ) {
      const [first = "", ...rest] = [...prefix, ...command.split(" ")];
      await exec(first, rest);
    }
  }
}

async function startNode(
  cluster: RealCluster,
  { place, folder, binaries, process, images, enter }: Starting & Entered & { readonly place: Place },
): Promise<Node> {
  const { name, address } = place;
  const own = join(folder, name);
  await makeCgroups(name);
  const kubeconfig = async (user: string, groups: readonly string[]) => {
    const path = join(own, `${user.replaceAll(":", "-")}.kubeconfig`);
    const server = `https://${FIRST.address}:${PORTS.apiServer}`;
    await Deno.writeTextFile(path, cluster.kubeconfig({ as: cluster.clientCert(user, groups), server }), {
      mode: 0o600,
    });
    return path;
  };
  const file = async (path: string, text: string) => {
    await Deno.writeTextFile(join(own, path), text);
    return join(own, path);
  };
  await file("etc/cni/net.d/10-bridge.conflist", JSON.stringify(networkOf(place)));
  await file("resolv.conf", "");
  const containerd = await file("containerd.toml", CONTAINERD);
  const kubelet = await file(
    "kubelet.yaml",
    stringify(
      kubeletConfiguration(name, { ca: join(folder, "ca.crt"), resolvConf: join(own, "resolv.conf") }),
    ),
  );
  const nodesUser = await kubeconfig(`system:node:${name}`, ["system:nodes"]);
  const routersUser = await kubeconfig("kube-router", ["system:masters"]);
  const proxy = await file(
    "kube-proxy.yaml",
    stringify({
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      kind: "KubeProxyConfiguration",
      mode: "iptables",
      clusterCIDR: "10.88.0.0/16",
      clientConnection: { kubeconfig: await kubeconfig("system:kube-proxy", []) },
      // The table's size cannot be set from a network namespace.
      conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
    }),
  );
  const on = (program: string, ...words: readonly string[]) =>
    process(`${name}-${program.split("/").at(-1)}`, [...enter, program, ...words]);
  const node = new Node(name, enter, {
    containerd: on("containerd", "-c", containerd),
    kubelet: on(
      binaries.kubelet,
      ...[`--config=${kubelet}`, `--kubeconfig=${nodesUser}`, `--hostname-override=${name}`],
      `--node-ip=${address}`,
    ),
    proxy: on(binaries["kube-proxy"], `--config=${proxy}`, `--hostname-override=${name}`),
    router: on(
      binaries["kube-router"],
      ...[`--kubeconfig=${routersUser}`, `--hostname-override=${name}`],
      ...[`--service-cluster-ip-range=${SERVICES}`, "--enable-ipv6=false"],
    ),
  });
  await node.servers.containerd.start();
  await eventually(`containerd of ${name} to answer`, async () => await node.run("ctr", "version"));
  for await (const { name: archive } of Deno.readDir(images)) {
    await node.run("ctr", "-n", "k8s.io", "images", "import", join(images, archive));
  }
  await node.servers.kubelet.start();
  await node.servers.proxy.start();
  return node;
}

/** Root may lack CAP_SYS_RESOURCE, without which runc cannot lower `oom_score_adj`. */
const CONTAINERD = `
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
`;

function networkOf({ pods }: Place): JsonObject {
  const ipam = { type: "host-local", ranges: [[{ subnet: pods }]], routes: [{ dst: "0.0.0.0/0" }] };
  return {
    cniVersion: "1.0.0",
    name: "pods",
    plugins: [
      { type: "bridge", bridge: "cni0", isGateway: true, hairpinMode: true, ipMasq: false, ipam },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
}

function kubeletConfiguration(
  name: string,
  { ca, resolvConf }: { ca: string; resolvConf: string },
): JsonObject {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: ca } },
    authorization: { mode: "Webhook" },
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    cgroupDriver: "cgroupfs",
    failCgroupV1: false,
    cgroupRoot: `/zen-node-${name}`,
    clusterDNS: [DNS_ADDRESS],
    clusterDomain: "cluster.local",
    resolvConf,
    failSwapOn: false,
    protectKernelDefaults: true,
    nodeStatusUpdateFrequency: "4s",
    nodeLeaseDurationSeconds: 12,
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi" },
    // Never collect images: they exist here alone, and a machine's disk may be nearly full.
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
  };
}

/** The network of this process must be its own: only the loopback is in it. */
async function useOwnNetwork(): Promise<void> {
  const links = (await exec("ip", ["-o", "link", "show"])).trim().split("\n");
  if (links.length !== 1) {
    throw new Error("Cannot start nodes: this process is in the machine's network. Use deno task test:node");
  }
  await exec("ip", ["link", "set", "lo", "up"]);
}

async function makeCgroups(node: string): Promise<void> {
  for (const name of CGROUPS) {
    const folder = `${CGROUP_ROOT}/${name}/zen-node-${node}`;
    await Deno.mkdir(folder, { recursive: true });
    if (name !== "cpuset") continue;
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      await Deno.writeTextFile(`${folder}/${file}`, await Deno.readTextFile(`${CGROUP_ROOT}/cpuset/${file}`));
    }
  }
}

/** Removes those of both nodes, the innermost first, once what ran in them is gone. */
async function removeCgroups(): Promise<void> {
  for (const { name: node } of [FIRST, SECOND]) {
    // Runc makes one of version 2 as well, where that is mounted.
    for (const name of [...CGROUPS, "unified"]) {
      const folder = `${CGROUP_ROOT}/${name}/zen-node-${node}`;
      await eventually(`${folder} to be removed`, async () => {
        await exec("sh", [
          "-c",
          '[ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} \\;',
          "sh",
          folder,
        ]);
        return await Deno.stat(folder).then(() => false, () => true);
      });
    }
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`);
  return text.trim().split(" ").filter(Boolean).map(Number);
}

function collectionOf({ apiVersion, kind, metadata }: JsonObject): string {
  const group = apiVersion === "v1" ? "/api/v1" : `/apis/${apiVersion}`;
  const namespace = isObject(metadata) && metadata.namespace ? `/namespaces/${metadata.namespace}` : "";
  return `${group}${namespace}/${String(kind).toLowerCase()}s`;
}

/** The objects of a list of JSON. */
export function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}
