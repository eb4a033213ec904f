/** The images that two nodes need to run the chart: zen-watcher in two versions, and what a cluster has of its own. */
import { join } from "node:path";
import { buildImage, compileForImage } from "../image.ts";
import { writeImage, writeLayer } from "../image/archive.ts";
import { type Binaries, ensureBinaries } from "../envtest/build.ts";
import { isFile } from "../support/files.ts";
import { VERSION } from "../../src/version.ts";

/** The other version, to upgrade to. */
export const NEXT_TAG = `${VERSION}-next`;
/** The Pods' own container. */
export const PAUSE_IMAGE = "node.test/pause:1";

/** Programs that run from images of their own. */
const PROGRAMS = ["pause", "coredns"] as const;
const METRICS_SERVER = "metrics-server";

/** Builds what is missing: every program of a control plane and of a node; with `all`, metrics-server too, which takes long. */
export async function ensureNodeBinaries({ all = false } = {}): Promise<Binaries> {
  return await ensureBinaries([
    ...all ? [METRICS_SERVER] as const : [],
    ...[
      "etcd",
      "kube-apiserver",
      "kube-controller-manager",
      "kube-scheduler",
      "kubelet",
      "kube-proxy",
    ] as const,
    ...["kube-router", ...PROGRAMS] as const,
  ]);
}

/** Writes the images as archives into `folder`. */
export async function writeNodeImages(folder: string): Promise<void> {
  const binaries = await ensureNodeBinaries();
  const work = await Deno.makeTempDir({ prefix: "zen-node-images-" });
  try {
    const program = await compileForImage(work);
    for (const tag of [VERSION, NEXT_TAG]) {
      await buildImage({ program, output: join(folder, `zen-watcher-${tag}.tar`), tag });
    }
    const isBuilt = await isFile(binaries[METRICS_SERVER]);
    for (const name of [...PROGRAMS, ...isBuilt ? [METRICS_SERVER] as const : []]) {
      const root = join(work, name);
      await Deno.mkdir(join(root, "tmp"), { recursive: true });
      await Deno.copyFile(binaries[name], join(root, name));
      await Deno.chmod(root, 0o755);
      await writeLayer(root, `${root}.tar`);
      await writeImage(join(folder, `${name}.tar`), {
        reference: `node.test/${name}:1`,
        config: { Entrypoint: [`/${name}`] },
        layers: [`${root}.tar`],
      });
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}
