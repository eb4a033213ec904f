import type { Settings } from "../settings.ts";

/** The lease of a shard set (SPEC section 9). */
export function leaseName({ instance }: Pick<Settings, "instance">): string {
  return instance === "default" ? "zen-watcher-leader-election" : `zen-watcher-leader-election-${instance}`;
}

/** The Pod's name, which a restarted container shares, so that it takes its own lease back; else unique to this process. */
export function identityOf({ podName }: Pick<Settings, "podName">): string {
  return podName === "" ? `${Deno.hostname()}_${crypto.randomUUID()}` : podName;
}
