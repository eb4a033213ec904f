/** Debian's packages, unpacked without being installed. */
import { join } from "node:path";
import { alone, cacheFolder } from "../support/cache.ts";
import { isFile } from "../support/files.ts";
import { run } from "../support/run.ts";

/** Debian 12, bookworm. */
export const DEBIAN = "12";

/** Downloads packages of this machine's archive into the user's cache. Resolves with their files, in the order of `names`. */
export async function downloadPackages(names: readonly string[]): Promise<string[]> {
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
  await run("dpkg-deb", ["--extract", file, folder]);
}

/** What a package says of itself, as dpkg's status file has it. */
export async function controlOf(file: string): Promise<string> {
  return await run("dpkg-deb", ["--field", file]);
}

async function apt(folder: string, args: readonly string[]): Promise<string> {
  const download = ["-qq", "-o", "APT::Sandbox::User=", "download", ...args];
  const options = { cwd: folder, why: "the image is made of Debian's packages: run apt-get update" };
  return await run("apt-get", download, options);
}
