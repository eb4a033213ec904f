import { join } from "node:path";
import { parse, stringify } from "yaml";
import { VERSION } from "../src/version.ts";
import { nameOf, type Platform, PLATFORMS } from "./support/platform.ts";
import { exec } from "./support/run.ts";
import { runScript, say } from "./support/script.ts";

const HELP = `
Usage: deno run -A scripts/release.ts compile
       deno run -A scripts/release.ts pack [--from URL]

Makes the files of a release in dist/release/.

  compile    the program for each platform, in a folder of its own
  pack       of these: an archive for each platform with the licence, checksums.txt, and zen.yaml, the manifest of krew

  --from     the folder that the archives will be downloaded from (default: the release of this version on the project's home)
`;

const ROOT = new URL("../", import.meta.url).pathname;
const FOLDER = join(ROOT, "dist/release");

async function compile(): Promise<void> {
  // Each bundle replaces dist/.
  const work = await Deno.makeTempDir({ dir: ROOT, prefix: ".release-" });
  try {
    for (const platform of PLATFORMS) {
      const { os, arch } = platform;
      say(`release: compiling for ${nameOf(platform)}`);
      const script = join(ROOT, "scripts/compile.ts");
      await exec(Deno.execPath(), ["run", "-A", script, "--platform", nameOf(platform)], {
        // A release is of one version on every platform: named, the compiler is not replaced by another.
        env: { DENO_COMPILER: Deno.env.get("DENO_COMPILER") || Deno.execPath() },
      });
      const folder = join(work, `${os}-${arch}`);
      await Deno.mkdir(folder);
      await Deno.rename(join(ROOT, "dist", programOf(os)), join(folder, programOf(os)));
    }
    await Deno.rename(work, FOLDER);
    await Deno.chmod(FOLDER, 0o755);
  } catch (error) {
    await Deno.remove(work, { recursive: true });
    throw error;
  }
}

/** Archives, checksums and manifest, from what `compile()` left. */
async function pack(from: string): Promise<void> {
  const platforms: object[] = [];
  const sums: string[] = [];
  for (const { os, arch } of PLATFORMS) {
    const folder = join(FOLDER, `${os}-${arch}`);
    const archive = `zen-watcher-v${VERSION}-${os}-${arch}.tar.gz`;
    await Deno.copyFile(join(ROOT, "LICENSE"), join(folder, "LICENSE"));
    await Deno.chmod(join(folder, programOf(os)), 0o755);
    // The same files give the same archive.
    const same = [
      "--sort=name",
      "--owner=0",
      "--group=0",
      "--numeric-owner",
      "--mtime=@0",
      "--use-compress-program=gzip -n",
    ];
    await exec("tar", [...same, "-C", folder, "-cf", join(FOLDER, archive), "LICENSE", programOf(os)]);
    const sha256 = await sha256Of(join(FOLDER, archive));
    sums.push(`${sha256}  ${archive}\n`);
    platforms.push({
      selector: selectorOf({ os, arch }),
      uri: `${from}/${archive}`,
      sha256,
      bin: programOf(os),
    });
  }
  await Deno.writeTextFile(join(FOLDER, "checksums.txt"), sums.join(""));
  await Deno.writeTextFile(join(FOLDER, "zen.yaml"), await krewManifest(platforms));
  say(`release: ${PLATFORMS.length} archives, checksums.txt and zen.yaml are in ${FOLDER}`);
}

/** The manifest of the plugin `kubectl zen`, for krew's index. */
async function krewManifest(platforms: readonly object[]): Promise<string> {
  const { home } = await chart();
  const manifest = {
    apiVersion: "krew.googlecontainertools.github.com/v1alpha2",
    kind: "Plugin",
    metadata: { name: "zen" },
    spec: {
      version: `v${VERSION}`,
      homepage: home,
      shortDescription: "Read findings of security tools",
      description:
        "Reads the Observations that zen-watcher keeps of what security tools report, with your own rights:\n" +
        "what is worst, who has a CVE, what every tool says about a workload, what changed, why a finding is\n" +
        "not there, and a file for the auditor (CSV, SARIF).\n",
      caveats: "For completion of `kubectl zen`, run `kubectl zen completion kubectl --help`.\n",
      platforms,
    },
  };
  return stringify(manifest, { lineWidth: 0 });
}

function selectorOf({ os, arch }: Pick<Platform, "os" | "arch">): object {
  if (os !== "windows") return { matchLabels: { os, arch } };
  return {
    matchLabels: { os },
    matchExpressions: [{ key: "arch", operator: "In", values: ["amd64", "arm64"] }],
  };
}

function programOf(os: Platform["os"]): string {
  return os === "windows" ? "zen-watcher.exe" : "zen-watcher";
}

async function sha256Of(file: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(file))).toHex();
}

async function chart(): Promise<{ readonly home: string }> {
  return parse(await Deno.readTextFile(join(ROOT, "helm/zen-watcher/Chart.yaml")));
}

async function main(
  { from }: { readonly from?: string | undefined },
  [what]: readonly string[],
): Promise<void> {
  if (what === "compile") return await compile();
  if (what === "pack") return await pack(from ?? `${(await chart()).home}/releases/download/v${VERSION}`);
  throw new Error(`Cannot make "${what ?? ""}": expected compile or pack`);
}

if (import.meta.main) {
  await runScript({ help: HELP, options: { from: { type: "string" } }, takesWords: true }, main);
}
