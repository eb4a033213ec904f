/** The image that `deno task image` builds: what it says, what it holds, and that it is the same each time. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { parse } from "yaml";
import { buildImage, compileForImage, repository } from "../../scripts/image.ts";
import { readLastStage } from "../../scripts/image/dockerfile.ts";
import { exec } from "../../scripts/support/run.ts";
import { IMAGE_ENV } from "../../scripts/support/permissions.ts";
import { VERSION } from "../../src/version.ts";
import { librariesOf } from "../support/pod_root.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const debian = (await Deno.readTextFile("/etc/os-release").catch(() => "")).includes('VERSION_ID="12"');

Deno.test({
  name: debian
    ? "task image builds the same image twice, and it says what Dockerfile and chart say"
    : "task image builds the same image twice (skipped: needs Debian 12)",
  ignore: !debian,
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "zen-image-test-" });
    try {
      const digests: string[] = [];
      for (const name of ["first", "second"]) {
        await Deno.mkdir(join(folder, name));
        const program = await compileForImage(join(folder, name));
        const { digest, config } = await buildImage({ program, output: join(folder, `${name}.tar`) });
        digests.push(digest);
        await assertMatchesChart(config);
      }
      assertEquals(digests[0], digests[1]);
      assertEquals(
        await Deno.readFile(join(folder, "first.tar")),
        await Deno.readFile(join(folder, "second.tar")),
      );
      await exec("tar", ["-C", join(folder, "first"), "-xf", join(folder, "first.tar")]);
      await assertLayout(join(folder, "first"), digests[0] ?? "");
      await assertContent(join(folder, "first"));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("readLastStage() fills arguments in and refuses an instruction that it does not know", () => {
  const stage = readLastStage(
    'ARG BASE=a:1\nFROM b AS build\nRUN x\nFROM ${BASE}\n# words\nARG V=1\nLABEL v="$V" \\\n      w="a b"\nUSER 1:2\n' +
      "EXPOSE 8080 9090\nENV A=$V B=2\nCOPY --from=build --chown=0:0 --chmod=0555 /x /y\n" +
      'ENTRYPOINT ["/y"]\n',
    { V: "2" },
  );
  assertEquals(stage, {
    base: "a:1",
    config: {
      User: "1:2",
      Env: ["A=2", "B=2"],
      Entrypoint: ["/y"],
      ExposedPorts: { "8080/tcp": {}, "9090/tcp": {} },
      Labels: { v: "2", w: "a b" },
    },
    copies: [{ from: "/x", to: "/y", owner: "0:0", mode: 0o555 }],
  });
  assertThrows(() => readLastStage("FROM a\nRUN chmod x\n"), Error, '"RUN chmod x" is not known here');
  assertThrows(() => readLastStage("FROM a\nCOPY x y\n"), Error, '"COPY x y" names no stage');
});

type Config = Awaited<ReturnType<typeof buildImage>>["config"];

async function assertMatchesChart(config: Config): Promise<void> {
  const values = parse(await Deno.readTextFile(`${ROOT}helm/zen-watcher/values.yaml`));
  const { runAsUser, runAsGroup } = values.podSecurityContext;
  assertEquals(config.User, `${runAsUser}:${runAsGroup}`);
  assertEquals(config.Entrypoint, ["/zen-watcher"]);
  const { port, metricsPort, tlsPort } = values.service;
  assertEquals(
    Object.keys(config.ExposedPorts ?? {}).sort(),
    [port, tlsPort, metricsPort].map((each) => `${each}/tcp`),
  );
  for (const [name, value] of Object.entries(IMAGE_ENV)) {
    assert(config.Env?.includes(`${name}=${value}`), name);
  }
  assertEquals(config.Labels?.["org.opencontainers.image.version"], VERSION);
  assertEquals(config.Labels?.["org.opencontainers.image.licenses"], "Apache-2.0");
}

/** Every blob has the digest and size that its description says, from the index down. */
async function assertLayout(folder: string, digest: string): Promise<void> {
  const { manifests: [manifest] } = JSON.parse(await Deno.readTextFile(join(folder, "index.json")));
  assertEquals(manifest.digest, digest);
  assertEquals(manifest.annotations["io.containerd.image.name"], `${await repository()}:${VERSION}`);
  const { config, layers } = JSON.parse(new TextDecoder().decode(await blob(folder, manifest)));
  const { rootfs } = JSON.parse(new TextDecoder().decode(await blob(folder, config)));
  assertEquals(rootfs.diff_ids.length, layers.length);
  for (const layer of layers) await blob(folder, layer);
  const [forDocker] = JSON.parse(await Deno.readTextFile(join(folder, "manifest.json")));
  assertEquals(forDocker.Layers.length, layers.length);
  for (const path of [forDocker.Config, ...forDocker.Layers]) await Deno.stat(join(folder, path));
}

async function blob(
  folder: string,
  { digest, size }: { digest: string; size: number },
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await Deno.readFile(join(folder, "blobs", digest.replace(":", "/")));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  assertEquals([`sha256:${hash.toHex()}`, bytes.length], [digest, size]);
  return bytes;
}

/** What the program is linked with is there; no shell is, and nothing that its user could change outside its home and /tmp. */
async function assertContent(folder: string): Promise<void> {
  const [{ Layers }] = JSON.parse(await Deno.readTextFile(join(folder, "manifest.json")));
  const lines: string[] = [];
  for (const layer of Layers) {
    lines.push(...(await exec("tar", ["--numeric-owner", "-tvzf", join(folder, layer)])).trim().split("\n"));
  }
  const files = lines.map((line) => {
    const [, mode = "", owner = "", path = ""] = /^(\S+) (\d+\/\d+) .*? \.(\/.*?)(?: -> .*)?$/.exec(line) ??
      [];
    return { mode, owner, path };
  });
  const paths = new Set(files.map(({ path }) => path));
  for (const library of await librariesOf(join(folder, "zen-watcher"))) {
    assert(paths.has(library), `${library} is not in the image`);
  }
  for (const path of ["/zen-watcher", "/etc/ssl/certs/ca-certificates.crt", "/var/lib/dpkg/status.d/libc6"]) {
    assert(paths.has(path), `${path} is not in the image`);
  }
  assertEquals(
    [...paths].filter((path) => /\/(sh|bash|dash|apt|dpkg)$/.test(path) && path.includes("bin/")),
    [],
  );
  const writable = files.filter(({ mode, owner }) =>
    !mode.startsWith("l") && (owner !== "0/0" || mode[8] === "w")
  );
  assertEquals(writable.map(({ path }) => path).sort(), [
    "/home/nonroot/",
    "/tmp/",
    "/var/lock/",
    "/var/tmp/",
  ]);
}
