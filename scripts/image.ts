import { dirname, join } from "node:path";
import { parse } from "yaml";
import { compileBundle } from "./compile.ts";
import { bundle, commitOf } from "./bundle.ts";
import { writeImage, writeLayer } from "./image/archive.ts";
import { controlOf, DEBIAN, downloadPackages, unpack } from "./image/debian.ts";
import { type ImageConfig, readLastStage } from "./image/dockerfile.ts";
import { nameOf, type Platform, platformOf, PLATFORMS } from "./support/platform.ts";
import { exec } from "./support/run.ts";
import { runScript, say, type Values } from "./support/script.ts";
import { VERSION } from "../src/version.ts";

/** The platforms of the release's image. */
const IMAGE_PLATFORMS = PLATFORMS.filter(({ os }) => os === "linux");

const HELP = `
Usage: deno task image [--platform linux/ARCH] [--program FILE] [--output FILE] [--tag TAG]

Builds the image for one platform without Docker and without a registry: the Dockerfile's last stage on the content of its base,
distroless/cc, taken from Debian's packages. Needs Debian ${DEBIAN}. The same commit and packages give the same digest.

  --platform       ${IMAGE_PLATFORMS.map(nameOf).join(" or ")}; default: this machine's
  --program FILE   what \`deno task compile --pod\` made for the platform; else it is compiled first
  --output FILE    the archive, for \`ctr images import\`, \`kind load image-archive\` and \`docker load\`;
                   default: dist/zen-watcher-image.tar
  --tag TAG        default: the version
`;

const ROOT = new URL("../", import.meta.url).pathname;

/** The base of the Dockerfile, whose packages these are. */
const BASE = "gcr.io/distroless/cc-debian12:nonroot";
const PACKAGES = [
  ...["base-files", "netbase", "tzdata", "ca-certificates", "libc6", "libssl3"],
  ...["gcc-12-base", "libgcc-s1", "libgomp1", "libstdc++6"],
];
/** The working directory and environment of the base image. */
const BASE_CONFIG = {
  WorkingDir: "/home/nonroot",
  Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
};
const BASE_FILES: Readonly<Record<string, string>> = {
  "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\n" +
    "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n" +
    "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
  "etc/group": "root:x:0:\nnobody:x:65534:\ntty:x:5:\nstaff:x:50:\nnonroot:x:65532:\n",
  "etc/nsswitch.conf": "passwd: files\nhosts: files dns\n",
};

/** What `buildImage()` builds. */
export interface ImageOptions {
  /** The program, compiled for a Pod. */
  readonly program: string;
  /** The archive to write. */
  readonly output: string;
  readonly tag?: string;
  /** What the program is compiled for. Default: this machine's. */
  readonly platform?: Platform;
}

/** Where the chart's values say that the image is, with its registry. */
export async function repository(): Promise<string> {
  const { image } = parse(await Deno.readTextFile(`${ROOT}helm/zen-watcher/values.yaml`));
  const path = [image.registry, image.repository].filter(Boolean).join("/");
  // As container runtimes read a name without a host.
  return path.split("/")[0]?.includes(".") ? path : `docker.io/${path}`;
}

/** Writes the image's archive. Resolves with its reference, its digest and its configuration. */
export async function buildImage(
  { program, output, tag = VERSION, platform = platformOf() }: ImageOptions,
): Promise<{
  readonly reference: string;
  readonly digest: string;
  readonly config: ImageConfig;
}> {
  const revision = await commitOf(ROOT);
  const created = await exec("git", ["show", "--no-patch", "--format=%cI", "HEAD"], { cwd: ROOT })
    .then((text) => text.trim(), () => "1970-01-01T00:00:00Z");
  const args = { VERSION: tag, REVISION: revision, CREATED: created };
  const { base, config: said, copies } = readLastStage(await Deno.readTextFile(`${ROOT}Dockerfile`), args);
  if (base !== BASE) {
    throw new Error(
      `Cannot build the image: the Dockerfile starts from "${base}", and these are the packages of "${BASE}". ` +
        "Change PACKAGES in scripts/image.ts with it",
    );
  }
  // The base is made here, and not that image.
  const { "org.opencontainers.image.base.name": _, ...Labels } = said.Labels ?? {};
  const config = { ...BASE_CONFIG, ...said, Env: [...BASE_CONFIG.Env, ...said.Env ?? []], Labels };
  const work = await Deno.makeTempDir({ prefix: "zen-image-" });
  try {
    const layers = await baseLayers(work, platform);
    for (const [index, { to, owner, mode }] of copies.entries()) {
      const folder = join(work, `copy-${index}`);
      await Deno.mkdir(folder);
      await Deno.copyFile(program, join(folder, to));
      await Deno.chmod(join(folder, to), mode);
      await Deno.chmod(folder, 0o755);
      await writeLayer(folder, `${folder}.tar`, { owner });
      layers.push(`${folder}.tar`);
    }
    const reference = `${await repository()}:${tag}`;
    const { arch } = platform;
    return {
      reference,
      digest: await writeImage(output, { reference, config, arch, layers, created }),
      config,
    };
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** The layers of distroless/cc: packages without documentation, shells and scripts; and the home of its user. */
async function baseLayers(work: string, platform: Platform): Promise<string[]> {
  const root = join(work, "base");
  const status = join(root, "var/lib/dpkg/status.d");
  await Deno.mkdir(status, { recursive: true });
  for (const file of await downloadPackages(PACKAGES, platform)) {
    await unpack(file, root);
    const control = await controlOf(file);
    const [, name = ""] = /^Package: (\S+)$/m.exec(control) ?? [];
    // Where scanners read the versions of distroless's packages.
    await Deno.writeTextFile(join(status, name), control);
  }
  await joinCertificates(root);
  // The packages' licences stay, in usr/share/doc.
  for (const folder of ["ca-certificates", "man", "lintian", "bug"]) {
    await removeFolder(join(root, "usr/share", folder));
  }
  for (const folder of ["usr/sbin", "sbin"]) await removeFolder(join(root, folder));
  for (const folder of ["tmp", "root", "home", "proc", "sys", "dev", "run"]) {
    await Deno.mkdir(join(root, folder), { recursive: true });
  }
  for (const [path, text] of Object.entries(BASE_FILES)) await Deno.writeTextFile(join(root, path), text);
  await Deno.chmod(root, 0o755);
  for (const path of ["tmp", "var/tmp"]) await Deno.chmod(join(root, path), 0o1777);
  const home = join(work, "home");
  await Deno.mkdir(join(home, "home/nonroot"), { recursive: true });
  await writeLayer(root, `${root}.tar`);
  await writeLayer(home, `${home}.tar`, { owner: "65532:65532", path: "./home/nonroot" });
  return [`${root}.tar`, `${home}.tar`];
}

/** One file of all roots, as Debian's own script would make it. */
async function joinCertificates(root: string): Promise<void> {
  const folder = join(root, "usr/share/ca-certificates/mozilla");
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) names.push(name);
  const texts = await Promise.all(names.sort().map((name) => Deno.readTextFile(join(folder, name))));
  await Deno.mkdir(join(root, "etc/ssl/certs"), { recursive: true });
  await Deno.writeTextFile(join(root, "etc/ssl/certs/ca-certificates.crt"), texts.join(""));
}

async function removeFolder(folder: string): Promise<void> {
  await Deno.remove(folder, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/** Bundles and compiles the program for a Pod into `folder`, by default for this machine. */
export async function compileForImage(folder: string, platform = platformOf()): Promise<string> {
  const program = join(folder, "zen-watcher");
  await bundle("main.ts", join(folder, "bundle"));
  await compileBundle(join(folder, "bundle"), { output: program, place: "pod", platform });
  return program;
}

const OPTIONS = {
  platform: { type: "string" },
  program: { type: "string" },
  output: { type: "string" },
  tag: { type: "string" },
} as const;

async function main(options: Values<typeof OPTIONS>): Promise<void> {
  const { platform: name, program, output = `${ROOT}dist/zen-watcher-image.tar`, tag = VERSION } = options;
  const platform = platformOf(name);
  if (!IMAGE_PLATFORMS.includes(platform)) {
    const known = IMAGE_PLATFORMS.map(nameOf).join(" or ");
    throw new Error(
      `Cannot build an image for "${nameOf(platform)}": expected ${known}. Name one with --platform`,
    );
  }
  await Deno.mkdir(dirname(output), { recursive: true });
  const work = await Deno.makeTempDir({ prefix: "zen-image-" });
  try {
    const compiled = program ?? await compileForImage(work, platform);
    const { reference, digest } = await buildImage({ program: compiled, output, tag, platform });
    const { size } = await Deno.stat(output);
    say(
      `image: ${reference}@${digest}, for ${nameOf(platform)}, ${(size / 1e6).toFixed(0)} MB, in ${output}`,
    );
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

if (import.meta.main) await runScript({ help: HELP, options: OPTIONS }, main);
