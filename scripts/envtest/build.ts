import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { alone, cacheFolder } from "../support/cache.ts";
import { isFile } from "../support/files.ts";
import { runScript, say } from "../support/script.ts";

/** The versions of Kubernetes that the tests can run against, the oldest that the chart supports first: a folder each. */
export const KUBERNETES_VERSIONS = ["1.30", "1.34", "1.37"] as const;
/** The version that tests run against unless ZEN_KUBERNETES names another. */
const USUAL = "1.34";
const VERSION = Deno.env.get("ZEN_KUBERNETES") || USUAL;

const HELP = `
Usage: deno run -A scripts/envtest/build.ts [NAME…]

Finds or builds etcd and kube-apiserver, or the programs named: those of a control plane and of a node. Each comes from the Go
modules that a go.mod and a go.sum pin, in a folder here or in scripts/node, and is kept outside the repository, in a folder
named by what those two files say. The first build takes about ten minutes on two cores.

Environment:
  ZEN_KUBERNETES       the version of Kubernetes: ${
  KUBERNETES_VERSIONS.join(", ")
}. Default: ${USUAL}, the only one with the programs of a node
  KUBEBUILDER_ASSETS   a folder that holds etcd and kube-apiserver already
`;

/** The binaries, by name: the folder of the module that pins them, and the package. */
const PACKAGES = {
  "etcd": [VERSION, "go.etcd.io/etcd/server/v3"],
  "kube-apiserver": [VERSION, "k8s.io/kubernetes/cmd/kube-apiserver"],
  "kube-controller-manager": [VERSION, "k8s.io/kubernetes/cmd/kube-controller-manager"],
  "kube-scheduler": [USUAL, "k8s.io/kubernetes/cmd/kube-scheduler"],
  "kubelet": [USUAL, "k8s.io/kubernetes/cmd/kubelet"],
  "kube-proxy": [USUAL, "k8s.io/kubernetes/cmd/kube-proxy"],
  "etcdctl": ["etcd-tools", "go.etcd.io/etcd/etcdctl/v3"],
  "etcdutl": ["etcd-tools", "go.etcd.io/etcd/etcdutl/v3"],
  "coredns": ["../node/coredns", "."],
  "kube-router": ["../node/kube-router", "."],
  "metrics-server": ["../node/metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"],
  "pause": ["../node/pause", "."],
} as const;

export type BinaryName = keyof typeof PACKAGES;

/** Where each binary is. */
export type Binaries = Readonly<Record<BinaryName, string>>;

const NAMES = Object.keys(PACKAGES) as BinaryName[];
/** What the usual archives of test assets hold. */
const ASSETS: readonly BinaryName[] = ["etcd", "kube-apiserver"];
const HERE = fileURLToPath(new URL(".", import.meta.url));
const PROGRESS_EVERY_MS = 20_000;

/** Builds those of `names` that are not there yet, one builder at a time, and says where all are. */
export async function ensureBinaries(names: readonly BinaryName[]): Promise<Binaries> {
  const assets = Deno.env.get("KUBEBUILDER_ASSETS");
  const paths: Partial<Record<BinaryName, string>> = {};
  const folders = new Map<string, string>();
  if (!KUBERNETES_VERSIONS.some((version) => version === VERSION)) {
    const known = KUBERNETES_VERSIONS.join(", ");
    throw new Error(`Cannot build Kubernetes "${VERSION}": expected ${known}. Correct ZEN_KUBERNETES`);
  }
  const nodes = names.find((name) => PACKAGES[name][0] === USUAL);
  if (VERSION !== USUAL && nodes !== undefined) {
    throw new Error(
      `Cannot build "${nodes}" of Kubernetes ${VERSION}: the programs of a node are those of ${USUAL}. Unset ZEN_KUBERNETES`,
    );
  }
  for (const name of NAMES) {
    const [module] = PACKAGES[name];
    const folder = folders.get(module) ?? await binariesFolder(module);
    folders.set(module, folder);
    const given = ASSETS.includes(name) ? assets : undefined;
    const path = join(given ?? folder, name);
    paths[name] = path;
    if (!names.includes(name) || await isFile(path)) continue;
    if (given) {
      throw new Error(`Cannot find "${name}": KUBEBUILDER_ASSETS is ${given}, which does not hold it`);
    }
    await build(name, folder);
  }
  return paths as Record<BinaryName, string>;
}

/** Named by what pins the module, and by its own code where it has some. */
async function binariesFolder(module: string): Promise<string> {
  const pins: Uint8Array<ArrayBuffer>[] = [];
  for (const file of ["go.mod", "go.sum", "main.go"]) {
    const path = join(HERE, module, file);
    // A module without dependencies has no go.sum.
    if (await isFile(path)) pins.push(await Deno.readFile(path));
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(pins).arrayBuffer()));
  return cacheFolder("envtest", digest.slice(0, 8).toHex());
}

async function build(name: BinaryName, folder: string): Promise<void> {
  await requireGo(name);
  say(`envtest: ${name} into ${folder} (the first time takes some minutes)`);
  await alone(folder, async () => {
    // Another builder may have finished it while we waited.
    if (!await isFile(join(folder, name))) await buildAlone(name, folder);
  });
}

async function buildAlone(name: BinaryName, folder: string): Promise<void> {
  const startedAt = performance.now();
  const temporary = join(folder, `.${name}.tmp`);
  const [module, path] = PACKAGES[name];
  const child = new Deno.Command("go", {
    args: ["build", "-v", "-trimpath", "-ldflags", await linkerFlags(), "-o", temporary, path],
    cwd: join(HERE, module),
    env: { CGO_ENABLED: "0", GOFLAGS: "-buildvcs=false", GOWORK: "off" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const elapsed = () => `${Math.round((performance.now() - startedAt) / 1000)} s`;
  let lines = 0;
  let tail: string[] = [];
  const ticker = setInterval(
    () => say(`envtest: building ${name}: ${elapsed()}, ${lines} packages`),
    PROGRESS_EVERY_MS,
  );
  try {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      lines += text.split("\n").length - 1;
      tail = (tail.join("\n") + text).split("\n").slice(-40);
    }
    const { code } = await child.status;
    if (code !== 0) throw new Error(`Cannot build "${name}": go build failed (${code}):\n${tail.join("\n")}`);
  } finally {
    clearInterval(ticker);
  }
  await Deno.rename(temporary, join(folder, name));
  say(`envtest: built ${name} in ${elapsed()}`);
}

/** Without a version the server calls itself v0.0.0 and fails its own version checks. */
async function linkerFlags(): Promise<string> {
  const version = await pinned(VERSION, /^\s*k8s\.io\/kubernetes v(\d+\.\d+\.\d+)/m);
  const [major, minor] = version.split(".");
  const variable = "k8s.io/component-base/version";
  return `-s -w -X ${variable}.gitVersion=v${version} -X ${variable}.gitMajor=${major} -X ${variable}.gitMinor=${minor}`;
}

async function requireGo(name: BinaryName): Promise<void> {
  const wanted = await pinned(PACKAGES[name][0], /^go (\d+\.\d+)/m);
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command("go", { args: ["version"], cwd: HERE, env: { GOWORK: "off" } }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      `Cannot build "${name}": "go" is not on PATH (Go ${wanted} or newer is needed; or set ` +
        `KUBEBUILDER_ASSETS to a folder that holds etcd and kube-apiserver)`,
    );
  }
  const decoder = new TextDecoder();
  const said = decoder.decode(output.stdout) + decoder.decode(output.stderr);
  const found = /go version go(\d+)\.(\d+)/.exec(said);
  const [major = 0, minor = 0] = wanted.split(".").map(Number);
  const [foundMajor = 0, foundMinor = 0] = (found ?? []).slice(1).map(Number);
  if (found && (foundMajor > major || (foundMajor === major && foundMinor >= minor))) return;
  throw new Error(
    `Cannot build "${name}": Go ${wanted} or newer is needed, here is: ${said.trim()}`,
  );
}

async function pinned(module: string, pattern: RegExp): Promise<string> {
  const path = join(HERE, module, "go.mod");
  const match = pattern.exec(await Deno.readTextFile(path));
  if (!match?.[1]) throw new Error(`Cannot read "${path}": nothing matches ${pattern}`);
  return match[1];
}

async function main(_: unknown, words: readonly string[]): Promise<void> {
  const wanted = words.length > 0 ? words : ASSETS;
  const names = NAMES.filter((name) => wanted.includes(name));
  const unknown = words.find((word) => !NAMES.some((name) => name === word));
  if (unknown !== undefined) throw new Error(`Cannot build "${unknown}": expected ${NAMES.join(", ")}`);
  const binaries = await ensureBinaries(names);
  for (const name of names) say(`envtest: ${name}: ${binaries[name]}`);
}

if (import.meta.main) await runScript({ help: HELP, takesWords: true }, main);
