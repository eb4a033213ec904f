import type { Settings } from "../settings.ts";

/** The Pod's name, which a restarted container shares, so that it takes its own lease back; else unique to this process. */
export function identityOf({ podName }: Pick<Settings, "podName">): string {
  return podName === "" ? `${Deno.hostname()}_${crypto.randomUUID()}` : podName;
}
