/** Debian's packages, unpacked without being installed. */
import { join } from "node:path";
import { alone, cacheFolder } from "../support/cache.ts";
import { isFile } from "../support/files.ts";
import { isThisMachine, type Platform } from "../support/platform.ts";
import { exec } from "../support/run.ts";

/** Debian 12, bookworm. */
export const DEBIAN = "12";

/** Downloads a platform's packages into the user's cache. Resolves with their files, in the order of `names`. */
export async function downloadPackages(names: readonly string[], platform: Platform): Promise<string[]> {
  const release = await Deno.readTextFile("/etc/os-release").catch(() => "");
  if (!release.includes(`VERSION_ID="${DEBIAN}"`)) {
    throw new Error(
      `Cannot download "${
        names[0]
      }": this machine is not Debian ${DEBIAN}. Build the image on one, or with docker build`,
    );
  }
  const folder = cacheFolder("debian", DEBIAN);
  return await alone(folder, async () => {
    const state = isThisMachine(platform) ? [] : await foreignState(folder, platform.arch);
    const apt = (cwd: string, args: readonly string[]) => aptGet([...state, "-qq", "download", ...args], cwd);
    // `'URL' FILE SIZE HASH`, of the newest version that the archive has; nothing for a file that is there already.
    const uris = await apt("/", ["--print-uris", ...names]);
    const files = [...uris.matchAll(/^'\S+' (([^_\s]+)_\S+\.deb) /gm)];
    const missing: string[] = [];
    for (const [, file = "", name = ""] of files) {
      if (!await isFile(join(folder, file))) missing.push(name);
    }
    if (missing.length > 0) await apt(folder, missing);
    return names.map((wanted) => {
      const found = files.find(([, , name]) => name === wanted);
      if (!found) {
        throw new Error(`Cannot download "${wanted}": the archive does not hold it. Run apt-get update`);
      }
      return join(folder, found[1] ?? "");
    });
  });
}

/** Unpacks a package. No script of it runs. */
export async function unpack(file: string, folder: string): Promise<void> {
  await exec("dpkg-deb", ["--extract", file, folder]);
}

/** What a package says of itself, as dpkg's status file has it. */
export async function controlOf(file: string): Promise<string> {
  return await exec("dpkg-deb", ["--field", file]);
}

/** The options that let apt-get read the archive of another architecture, from lists of its own: this machine's stay as they are. */
async function foreignState(folder: string, arch: string): Promise<readonly string[]> {
  const state = join(folder, `apt-${arch}`);
  for (const part of ["lists/partial", "cache/archives/partial"]) {
    await Deno.mkdir(join(state, part), { recursive: true });
  }
  const options = [
    ...[`APT::Architecture=${arch}`, `APT::Architectures::=${arch}`, "Dir::State::status=/dev/null"],
    ...[`Dir::State::lists=${state}/lists`, `Dir::Cache=${state}/cache`],
  ].flatMap((option) => ["-o", option]);
  await aptGet([...options, "-qq", "update"], "/");
  return options;
}

async function aptGet(args: readonly string[], cwd: string): Promise<string> {
  const why = "the image is made of Debian's packages: run apt-get update";
  return await exec("apt-get", ["-o", "APT::Sandbox::User=", ...args], { cwd, why });
}
