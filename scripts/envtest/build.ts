import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { alone, cacheFolder } from "../support/cache.ts";
import { isFile } from "../support/files.ts";
import { runScript, say } from "../support/script.ts";

const HELP = `
Usage: deno run -A scripts/envtest/build.ts [kube-controller-manager]

Finds or builds etcd and kube-apiserver (and kube-controller-manager) from the Go modules pinned in go.mod and go.sum beside
this script. They are kept outside the repository, in a folder named by what those two files say. KUBEBUILDER_ASSETS names a
folder that holds the first two already. The first build takes about ten minutes on two cores.
`;

/** The binaries, by name, and the module whose version is theirs. */
const PACKAGES = {
  "etcd": "go.etcd.io/etcd/server/v3",
  "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
  "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
} as const;

export type BinaryName = keyof typeof PACKAGES;

/** Where each binary is. */
export type Binaries = Readonly<Record<BinaryName, string>>;

const HERE = fileURLToPath(new URL(".", import.meta.url));
const PROGRESS_EVERY_MS = 20_000;

/** Builds those of `names` that are not there yet, one builder at a time, and says where all are. */
export async function ensureBinaries(names: readonly BinaryName[]): Promise<Binaries> {
  const assets = Deno.env.get("KUBEBUILDER_ASSETS");
  const cache = await binariesFolder();
  const paths: Record<BinaryName, string> = {
    "etcd": join(assets ?? cache, "etcd"),
    "kube-apiserver": join(assets ?? cache, "kube-apiserver"),
    // The usual asset archives hold no controller manager: it is ours in any case.
    "kube-controller-manager": join(cache, "kube-controller-manager"),
  };
  const missing: BinaryName[] = [];
  for (const name of names) {
    if (await isFile(paths[name])) continue;
    if (paths[name].startsWith(cache)) missing.push(name);
    else throw new Error(`Cannot find "${name}": KUBEBUILDER_ASSETS is ${assets}, which does not hold it`);
  }
  if (missing.length > 0) await build(cache, missing);
  return paths;
}

async function binariesFolder(): Promise<string> {
  const pins = [await Deno.readFile(join(HERE, "go.mod")), await Deno.readFile(join(HERE, "go.sum"))];
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(pins).arrayBuffer());
  const key = [...new Uint8Array(digest)].slice(0, 8).map((byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
  return cacheFolder("envtest", key);
}

async function build(folder: string, names: readonly BinaryName[]): Promise<void> {
  await requireGo();
  say(`envtest: ${names.join(", ")} into ${folder} (the first time takes about ten minutes)`);
  await alone(folder, async () => {
    for (const name of names) {
      // Another builder may have finished it while we waited.
      if (!await isFile(join(folder, name))) await buildOne(folder, name);
    }
  });
}

async function buildOne(folder: string, name: BinaryName): Promise<void> {
  const startedAt = performance.now();
  const temporary = join(folder, `.${name}.tmp`);
  const child = new Deno.Command("go", {
    args: ["build", "-v", "-trimpath", "-ldflags", await linkerFlags(), "-o", temporary, PACKAGES[name]],
    cwd: HERE,
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
  const version = await pinned(/^\s*k8s\.io\/kubernetes v(\d+\.\d+\.\d+)/m);
  const [major, minor] = version.split(".");
  const variable = "k8s.io/component-base/version";
  return `-s -w -X ${variable}.gitVersion=v${version} -X ${variable}.gitMajor=${major} -X ${variable}.gitMinor=${minor}`;
}

async function requireGo(): Promise<void> {
  const wanted = await pinned(/^go (\d+\.\d+)/m);
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command("go", { args: ["version"], cwd: HERE, env: { GOWORK: "off" } }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      `Cannot build the test control plane: "go" is not on PATH (Go ${wanted} or newer is needed; or set ` +
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
    `Cannot build the test control plane: Go ${wanted} or newer is needed, here is: ${said.trim()}`,
  );
}

async function pinned(pattern: RegExp): Promise<string> {
  const match = pattern.exec(await Deno.readTextFile(join(HERE, "go.mod")));
  if (!match?.[1]) throw new Error(`Cannot read "scripts/envtest/go.mod": nothing matches ${pattern}`);
  return match[1];
}

const EXTRA = "kube-controller-manager";

async function main(_: unknown, words: readonly string[]): Promise<void> {
  const unknown = words.find((word) => word !== EXTRA);
  if (unknown !== undefined) throw new Error(`Cannot build "${unknown}": expected ${EXTRA} or nothing`);
  const names: BinaryName[] = ["etcd", "kube-apiserver"];
  if (words.length > 0) names.push(EXTRA);
  const binaries = await ensureBinaries(names);
  say(`envtest: ready in ${dirname(binaries["kube-apiserver"])}`);
}

if (import.meta.main) await runScript({ help: HELP, takesWords: true }, main);
