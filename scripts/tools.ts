import { basename, dirname, join, resolve } from "node:path";
import { alone, cacheFolder } from "./support/cache.ts";
import { isFile } from "./support/files.ts";
import { exec } from "./support/run.ts";
import { runScript, say } from "./support/script.ts";

const HELP = `
Usage: deno run -A scripts/tools.ts [NAME…]

Finds or builds the tools that tests use, at fixed versions, outside the repository: helm, opa, actionlint,
krew, validate-krew-manifest, promtool, chromium-headless-shell, alertmanager, checkov, gatekeeper and reports-controller
(Kyverno's). Without a name: all but the last four.
`;

/** Go's tools, by name: the package and its version. */
const GO_TOOLS = {
  helm: { package: "helm.sh/helm/v3/cmd/helm", version: "v3.22.0" },
  opa: { package: "github.com/open-policy-agent/opa", version: "v1.22.2" },
  actionlint: { package: "github.com/rhysd/actionlint/cmd/actionlint", version: "v1.7.12" },
  krew: { package: "sigs.k8s.io/krew/cmd/krew", version: "v0.4.3" },
  "validate-krew-manifest": { package: "sigs.k8s.io/krew/cmd/validate-krew-manifest", version: "v0.4.3" },
} as const;
/** From Debian's archive, with the packages that hold them: promtool's Go module does not install by itself. */
const DEBIAN_TOOLS = {
  promtool: ["prometheus"],
  "chromium-headless-shell": ["chromium-headless-shell", "fonts-dejavu-core"],
} as const;

/**
 * Go programs that are built in a copy of their module: with `file`, which their release would make, made first. Files and
 * folders of the module that are `kept` are put beside the program.
 */
const GO_COPIES = {
  alertmanager: {
    module: "github.com/prometheus/alertmanager",
    version: "v0.35.0",
    package: "./cmd/alertmanager",
    file: "ui/app/dist/index.html",
    kept: [],
  },
  gatekeeper: {
    module: "github.com/open-policy-agent/gatekeeper/v3",
    version: "v3.23.1",
    package: ".",
    file: undefined,
    kept: ["deploy/gatekeeper.yaml"],
  },
  "reports-controller": {
    module: "github.com/kyverno/kyverno",
    version: "v1.19.1",
    package: "./cmd/reports-controller",
    file: undefined,
    kept: ["config/crds", "config/install-latest-testing.yaml"],
  },
} as const;
const PYTHON_TOOLS = { checkov: "3.3.30" } as const;

export type ToolName =
  | keyof typeof GO_TOOLS
  | keyof typeof DEBIAN_TOOLS
  | keyof typeof GO_COPIES
  | keyof typeof PYTHON_TOOLS;

/** The path of a tool, built or installed first where it is not there. */
export async function ensureTool(name: ToolName): Promise<string> {
  switch (name) {
    case "promtool":
    case "chromium-headless-shell":
      return await ensureCommand(name, DEBIAN_TOOLS[name]);
    case "alertmanager":
    case "gatekeeper":
    case "reports-controller":
      return await fromCopy(name);
    case "checkov":
      return await fromPython(name);
    default:
      return await fromGo(name);
  }
}

async function fromCopy(name: keyof typeof GO_COPIES): Promise<string> {
  const { module, version, package: path, file, kept } = GO_COPIES[name];
  const folder = cacheFolder("tools", `${name}-${version}`);
  return await made(join(folder, name), async (output) => {
    const why = `Go is needed to build ${name}`;
    const { Dir } = JSON.parse(
      await exec("go", ["mod", "download", "-json", `${module}@${version}`], { why }),
    );
    const copy = await Deno.makeTempDir({ prefix: "zen-tool-" });
    try {
      // The module cache is read-only.
      await exec("cp", ["-R", `${Dir}/.`, copy]);
      await exec("chmod", ["-R", "u+w", copy]);
      if (file !== undefined) {
        await Deno.mkdir(dirname(join(copy, file)), { recursive: true });
        await Deno.writeTextFile(join(copy, file), "");
      }
      for (const each of kept) await exec("cp", ["-R", "-T", join(copy, each), join(folder, basename(each))]);
      const env = { CGO_ENABLED: "0", GOWORK: "off", GOFLAGS: "-mod=mod -buildvcs=false" };
      const build = ["build", "-trimpath", "-ldflags", "-s -w", "-o", output, path];
      await exec("go", build, { why, env, cwd: copy });
    } finally {
      await Deno.remove(copy, { recursive: true });
    }
  });
}

async function fromPython(name: keyof typeof PYTHON_TOOLS): Promise<string> {
  const version = PYTHON_TOOLS[name];
  const folder = cacheFolder("tools", `${name}-${version}`);
  return await made(join(folder, "bin", name), async () => {
    const why = `Python with venv and pip is needed for ${name}`;
    await exec("python3", ["-m", "venv", folder], { why });
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", `${name}==${version}`];
    await exec(join(folder, "bin/python3"), pip, { why });
  });
}

/** A file of the cache, which one process makes while others wait for it. */
async function made(file: string, make: (output: string) => Promise<void>): Promise<string> {
  if (await isFile(file)) return file;
  return await alone(dirname(file), async () => {
    // Another builder may have finished it while we waited.
    if (await isFile(file)) return file;
    say(`tools: making ${file} (the first time takes some minutes)`);
    await make(file);
    return file;
  });
}

async function fromGo(name: keyof typeof GO_TOOLS): Promise<string> {
  const { package: path, version } = GO_TOOLS[name];
  const folder = cacheFolder("tools", `${name}-${version}`);
  return await made(join(folder, name), async () => {
    await exec("go", ["install", `${path}@${version}`], {
      why: `Go is needed to build ${name}`,
      env: { GOBIN: folder, CGO_ENABLED: "0", GOWORK: "off", GOFLAGS: "" },
    });
  });
}

/** The path of a command, whose Debian packages are installed where it is not on PATH. */
export async function ensureCommand(name: string, packages: readonly string[]): Promise<string> {
  const found = await onPath(name);
  if (found !== undefined) return found;
  const debian = packages.join(" ");
  const why = `${name} is not on PATH, and Debian's "${debian}", which holds it, cannot be installed here`;
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  say(`tools: installing Debian's ${debian} for ${name}`);
  await exec("apt-get", ["update", "-qq"], { why, env });
  await exec("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], { why, env });
  const installed = await onPath(name);
  if (installed === undefined) throw new Error(`Cannot find "${name}": ${debian} does not hold it`);
  return installed;
}

async function onPath(name: string): Promise<string | undefined> {
  for (const folder of (Deno.env.get("PATH") ?? "").split(":").filter(Boolean)) {
    const file = resolve(folder, name);
    if (await isFile(file)) return file;
  }
  return undefined;
}

async function main(_: unknown, words: readonly string[]): Promise<void> {
  const usual: readonly ToolName[] = [
    "helm",
    "opa",
    "actionlint",
    "krew",
    "validate-krew-manifest",
    "promtool",
    "chromium-headless-shell",
  ];
  const known: readonly ToolName[] = [
    ...usual,
    "alertmanager",
    "checkov",
    "gatekeeper",
    "reports-controller",
  ];
  for (const word of words.length > 0 ? words : usual) {
    const name = known.find((each) => each === word);
    if (!name) throw new Error(`Cannot find tool "${word}": expected ${known.join(", ")}`);
    say(`tools: ${name}: ${await ensureTool(name)}`);
  }
}

if (import.meta.main) await runScript({ help: HELP, takesWords: true }, main);
