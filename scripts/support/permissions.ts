/** The least permissions the program runs with. A test keeps the in-cluster set minimal. */
import { EXPORT_FOLDER } from "../../src/cli/read/export_file.ts";
import { ALL_SETTINGS, SETTINGS } from "../../src/settings.ts";

/** What npm packages in the bundle ask the environment for at their start. */
const PACKAGE_ENV = ["LOG_STREAM", "LOG_TOKENS"];
/**
 * Only so much young generation as the load needs, and a full collection when the heap has grown by a third: by itself
 * V8 lets 18 MB of live objects grow to 70 before it looks. Costs no measurable time, halves what a burst adds. The memory of
 * large texts goes back when they are collected: by itself V8 keeps up to 32 MiB of it.
 */
export const V8_FLAGS = "--v8-flags=--max-semi-space-size=4,--heap-growing-percent=30,--no-large-page-pool";
/**
 * The image's environment. The connection to the API server trusts the cluster's CA and nothing else. The C library allocates
 * from two arenas: with one for each thread of the runtime, the program holds 36 MiB more at rest. It gives blocks of 128 KiB
 * and more back when they are freed: by itself it raises that bound to the largest block freed so far, a body of 16 MiB, and
 * keeps all below. The CPU time is the same.
 */
export const IMAGE_ENV: Readonly<Record<string, string>> = {
  DENO_TLS_CA_STORE: "system",
  SSL_CERT_FILE: "/dev/null",
  SSL_CERT_DIR: "/nonexistent",
  MALLOC_ARENA_MAX: "2",
  MALLOC_MMAP_THRESHOLD_: "131072",
  MALLOC_TRIM_THRESHOLD_: "131072",
};

/**
 * In a Pod: the settings by name, the service account's folder, the memory limit, the files the settings name, and a device
 * by which free file descriptors are counted.
 */
export function podPermissions(files: readonly string[] = []): string[] {
  const env = ALL_SETTINGS.map((setting) => setting.env);
  return [
    "--no-prompt",
    "--allow-net",
    `--allow-env=${[...env, ...PACKAGE_ENV].sort().join(",")}`,
    `--allow-read=${
      [SETTINGS.serviceAccountFolder.fallback, "/etc/zen-watcher", "/dev/null", EXPORT_FOLDER, ...files].join(
        ",",
      )
    }`,
    `--allow-write=${EXPORT_FOLDER}`,
    "--allow-sys=hostname,systemMemoryInfo",
  ];
}

/** With a kubeconfig: what client-node and the exec plugins it may name need on top, and files in any folder. */
export function kubeconfigPermissions(): string[] {
  return [
    "--no-prompt",
    "--allow-net",
    "--allow-env",
    "--allow-read",
    "--allow-write",
    "--allow-sys",
    "--allow-run",
  ];
}
