/** OCI images as files: layers from folders, and the archive that `ctr images import`, `kind load` and `docker load` take. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { type Platform, platformOf } from "../support/platform.ts";
import { exec } from "../support/run.ts";
import type { ImageConfig } from "./dockerfile.ts";

/** An image to write. */
export interface Image {
  /** `ghcr.io/kube-zen/zen-watcher:0.1.0`. */
  readonly reference: string;
  readonly config: ImageConfig;
  /** Default: this machine's. */
  readonly arch?: Platform["arch"];
  /** Tar files, the lowest first. */
  readonly layers: readonly string[];
  /** RFC 3339. */
  readonly created?: string;
}

/** Who owns the files of a layer, as `uid:gid`, and which file of the folder is in it: by default all, root's. */
export interface LayerOptions {
  readonly owner?: string;
  readonly path?: string;
}

/** Writes a folder's content into a tar file that depends on nothing but names, modes and contents. */
export async function writeLayer(folder: string, file: string, options: LayerOptions = {}): Promise<void> {
  const { owner = "0:0", path = "." } = options;
  const [uid, gid] = owner.split(":");
  await exec("tar", [
    // Whatever the umask was.
    "--mode=go+rX",
    ...["--sort=name", "--format=gnu", "--mtime=@0", "--numeric-owner", `--owner=${uid}`, `--group=${gid}`],
    ...["-C", folder, "-cf", file, path],
  ]);
}

/** Writes the archive. Resolves with the digest of the image's manifest. */
export async function writeImage(file: string, image: Image): Promise<string> {
  const { reference, config, layers, created = "1970-01-01T00:00:00Z" } = image;
  const platform = { architecture: image.arch ?? platformOf().arch, os: "linux" };
  const work = await Deno.makeTempDir({ prefix: "zen-image-" });
  try {
    await Deno.mkdir(`${work}/blobs/sha256`, { recursive: true });
    const put = async (mediaType: string, bytes: Uint8Array<ArrayBuffer>) => {
      const hex = sha256(bytes);
      await Deno.writeFile(`${work}/blobs/sha256/${hex}`, bytes);
      return {
        mediaType: `application/vnd.oci.image.${mediaType}`,
        digest: `sha256:${hex}`,
        size: bytes.length,
      };
    };
    const blobs = [];
    const diffIds: string[] = [];
    for (const layer of layers) {
      const bytes = await Deno.readFile(layer);
      diffIds.push(`sha256:${sha256(bytes)}`);
      blobs.push(await put("layer.v1.tar+gzip", new Uint8Array(gzipSync(bytes, { level: 6 }))));
    }
    const configBlob = await put(
      "config.v1+json",
      json({ created, ...platform, config, rootfs: { type: "layers", diff_ids: diffIds } }),
    );
    const manifest = await put(
      "manifest.v1+json",
      json({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: configBlob,
        layers: blobs,
      }),
    );
    const annotations = {
      "io.containerd.image.name": reference,
      "org.opencontainers.image.ref.name": reference.split(":").at(-1) ?? "",
    };
    const files: Readonly<Record<string, unknown>> = {
      "oci-layout": { imageLayoutVersion: "1.0.0" },
      "index.json": {
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.index.v1+json",
        manifests: [{ ...manifest, platform, annotations }],
      },
      // What `docker load` reads.
      "manifest.json": [{
        Config: blobPath(configBlob),
        RepoTags: [reference.replace(/^docker\.io\//, "")],
        Layers: blobs.map(blobPath),
      }],
    };
    for (const [name, content] of Object.entries(files)) {
      await Deno.writeFile(`${work}/${name}`, json(content));
    }
    await writeLayer(work, file);
    return manifest.digest;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

function blobPath({ digest }: { readonly digest: string }): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
