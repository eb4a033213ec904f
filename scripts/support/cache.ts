/** The user's cache: what scripts build or download once, outside the repository. */
import { join } from "node:path";

/** A folder below the project's in the user's cache. Need not exist. */
export function cacheFolder(...names: readonly string[]): string {
  const home = Deno.env.get("HOME");
  const base = Deno.env.get("XDG_CACHE_HOME") || (home ? join(home, ".cache") : undefined);
  if (!base) {
    throw new Error(
      `Cannot place "${names.join("/")}": neither XDG_CACHE_HOME nor HOME is set. Set XDG_CACHE_HOME`,
    );
  }
  return join(base, "zen-watcher", ...names);
}

/** Makes `folder` and runs `make` while no other process does the same. */
export async function alone<T>(folder: string, make: () => Promise<T>): Promise<T> {
  await Deno.mkdir(folder, { recursive: true });
  using lock = await Deno.open(join(folder, ".lock"), { create: true, write: true });
  await lock.lock(true);
  try {
    return await make();
  } finally {
    await lock.unlock();
  }
}
