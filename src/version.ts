import config from "../deno.json" with { type: "json" };

/** The version of this build. */
export const VERSION: string = config.version;

/** The commit this build was made from: `scripts/bundle.ts` sets it, a run from the sources has none. */
export const COMMIT: string = (globalThis as { ZEN_WATCHER_COMMIT?: string }).ZEN_WATCHER_COMMIT ?? "unknown";
