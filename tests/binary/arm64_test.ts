/**
 * The program and the image for arm64, built on amd64. With ZEN_BINARY=long, an emulator starts its program with the libraries of
 * the image.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { buildImage, compileForImage } from "../../scripts/image.ts";
import { downloadPackages, unpack } from "../../scripts/image/debian.ts";
import { platformOf } from "../../scripts/support/platform.ts";
import { exec } from "../../scripts/support/run.ts";
import { say } from "../../scripts/support/script.ts";
import { VERSION } from "../../src/version.ts";

const ARM64 = platformOf("linux/arm64");
/** `e_machine` of an ELF file for it. */
const EM_AARCH64 = 183;
const MAX_BYTES = 100_000_000;

const isDebian = (await Deno.readTextFile("/etc/os-release").catch(() => "")).includes('VERSION_ID="12"');
const isLong = Deno.env.get("ZEN_BINARY") === "long";
const builds = isDebian && platformOf().arch === "amd64";

Deno.test({
  name:
    "the image for arm64 is built: its program is for arm64, at most 100 MB, and starts under an emulator" +
    (!builds ? " (skipped: needs Debian 12 on amd64)" : isLong ? "" : " (not run: ZEN_BINARY=long runs it)"),
  ignore: !builds,
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "zen-arm64-" });
    try {
      const program = await compileForImage(folder, ARM64);
      const output = join(folder, "image.tar");
      await buildImage({ program, output, platform: ARM64 });
      const root = join(folder, "root");
      assertEquals(await unpackImage(output, root), "arm64");
      const inImage = join(root, "zen-watcher");
      assertEquals(await machineOf(inImage), EM_AARCH64);
      const { size } = await Deno.stat(inImage);
      say(`size: ${(size / 1e6).toFixed(1)} MB`);
      assert(size <= MAX_BYTES, `${size} bytes`);
      if (!isLong) return;

      const emulator = join(folder, "emulator/usr/bin/qemu-aarch64-static");
      for (const file of await downloadPackages(["qemu-user-static"], platformOf())) {
        await unpack(file, join(folder, "emulator"));
      }
      // No more than a start: in one of two tries, the emulator itself hung with the controller in it.
      const start = (args: string[]) => exec(emulator, ["-L", root, inImage, ...args]);
      assertStringIncludes(await start(["--version"]), `zen-watcher ${VERSION} (commit `);
      assertStringIncludes(await start(["top", "--help"]), "Usage: zen-watcher top");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

/** Unpacks the layers of an archive into `root`; resolves with the architecture that its configuration names. */
async function unpackImage(archive: string, root: string): Promise<string> {
  const folder = `${root}.image`;
  for (const each of [root, folder]) await Deno.mkdir(each);
  await exec("tar", ["-C", folder, "-xf", archive]);
  const [{ Config, Layers }] = JSON.parse(await Deno.readTextFile(join(folder, "manifest.json")));
  for (const layer of Layers) await exec("tar", ["-C", root, "-xzf", join(folder, layer)]);
  return JSON.parse(await Deno.readTextFile(join(folder, Config))).architecture;
}

/** The `e_machine` of an ELF file. */
async function machineOf(file: string): Promise<number> {
  using opened = await Deno.open(file);
  const header = new Uint8Array(64);
  await opened.read(header);
  return new DataView(header.buffer).getUint16(0x12, true);
}
