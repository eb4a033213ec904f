import { join } from "node:path";
import { alone, cacheFolder } from "./support/cache.ts";
import { isFile } from "./support/files.ts";
import { run } from "./support/run.ts";
import { runScript, say } from "./support/script.ts";

const HELP = `
Usage: deno run -A scripts/tools.ts [helm] [opa] [promtool] [chromium-headless-shell]

Finds or builds the tools that tests of the packaging use, at fixed versions, outside the repository. Without a name: all.
`;

/** Go's tools, by name: the package and its version. */
const GO_TOOLS = {
  helm: { package: "helm.sh/helm/v3/cmd/helm", version: "v3.22.0" },
  opa: { package: "github.com/open-policy-agent/opa", version: "v1.22.2" },
} as const;
/** From Debian's archive, with the packages that hold them: promtool's Go module does not install by itself. */
const DEBIAN_TOOLS = {
  promtool: ["prometheus"],
  "chromium-headless-shell": ["chromium-headless-shell", "fonts-dejavu-core"],
} as const;

export type ToolName = keyof typeof GO_TOOLS | keyof typeof DEBIAN_TOOLS;

/** The path of a tool, built or installed first where it is not there. */
export async function ensureTool(name: ToolName): Promise<string> {
  return name === "helm" || name === "opa" ? await fromGo(name) : await fromDebian(name);
}

async function fromGo(name: keyof typeof GO_TOOLS): Promise<string> {
  const { package: path, version } = GO_TOOLS[name];
  const folder = cacheFolder("tools", `${name}-${version}`);
  const file = join(folder, name);
  if (await isFile(file)) return file;
  return await alone(folder, async () => {
    // Another builder may have finished it while we waited.
    if (await isFile(file)) return file;
    say(`tools: building ${name} ${version} into ${folder} (the first time takes some minutes)`);
    await run("go", ["install", `${path}@${version}`], {
      why: `Go is needed to build ${name}`,
      env: { GOBIN: folder, CGO_ENABLED: "0", GOWORK: "off", GOFLAGS: "" },
    });
    return file;
  });
}

async function fromDebian(name: keyof typeof DEBIAN_TOOLS): Promise<string> {
  const found = await onPath(name);
  if (found !== undefined) return found;
  const packages = DEBIAN_TOOLS[name];
  const debian = packages.join(" ");
  const why = `${name} is not on PATH, and Debian's "${debian}", which holds it, cannot be installed here`;
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  say(`tools: installing Debian's ${debian} for ${name}`);
  await run("apt-get", ["update", "-qq"], { why, env });
  await run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], { why, env });
  const installed = await onPath(name);
  if (installed === undefined) throw new Error(`Cannot find "${name}": ${debian} does not hold it`);
  return installed;
}

async function onPath(name: string): Promise<string | undefined> {
  for (const folder of (Deno.env.get("PATH") ?? "").split(":").filter(Boolean)) {
    const file = join(folder, name);
    if (await isFile(file)) return file;
  }
  return undefined;
}

async function main(_: unknown, words: readonly string[]): Promise<void> {
  const known: readonly ToolName[] = ["helm", "opa", "promtool", "chromium-headless-shell"];
  for (const word of words.length > 0 ? words : known) {
    const name = known.find((each) => each === word);
    if (!name) throw new Error(`Cannot find tool "${word}": expected ${known.join(", ")}`);
    say(`tools: ${name}: ${await ensureTool(name)}`);
  }
}

if (import.meta.main) await runScript({ help: HELP, takesWords: true }, main);
