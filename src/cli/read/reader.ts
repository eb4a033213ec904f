/** What the commands that read Observations have in common: flags, the connection, progress, tables. */
import type { Command } from "commander";
import { Option } from "commander";
import type { KubeClient } from "../../kube/client.ts";
import { SEVERITIES, type Severity } from "../../model/observation.ts";
import { parseTime, spanMs } from "../../model/time.ts";
import type { ReadOptions } from "../../read/observations.ts";
import type { Progress } from "../../read/pages.ts";
import type { Selection } from "../../read/selection.ts";
import { type ClusterFlags, clusterFlags, type CommandContext, FlagError } from "../command.ts";
import { connectionOf, patientClient } from "../connect.ts";
import type { Io } from "../io.ts";
import type { TableTarget } from "../output/table.ts";

/** Flags of every reader. */
export interface ReaderFlags extends ClusterFlags {
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
  readonly selector?: string;
  readonly severity?: string;
  readonly source?: string;
  readonly kind?: string;
}

/** Adds those that name the cluster, the user and the namespace. */
export function scopeFlags(command: Command): Command {
  return clusterFlags(command)
    .option(
      "-n, --namespace <namespace>",
      "what belongs to this namespace (default: the context's, else all)",
    )
    .addOption(
      new Option("-A, --all-namespaces", "all namespaces, whatever the context says").conflicts("namespace"),
    );
}

/** Adds all of them. */
export function readerFlags(command: Command): Command {
  return scopeFlags(command)
    .option("-l, --selector <labels>", "label selector")
    .option("--severity <severity>", "severities: HIGH, CRITICAL,HIGH, or HIGH+ for HIGH and worse")
    .option("--source <source>", "source")
    .option("--kind <kind>", "kind of the affected resource");
}

/** What a reader works with; closes its connections when it is disposed of. */
export interface Reader extends Disposable {
  readonly api: KubeClient;
  /** What `-n`, `-A`, `-l`, `--severity`, `--source` and `--kind` choose. */
  readonly selection: Selection;
  /** For `readObservations`: progress and notes. */
  readonly reading: ReadOptions;
  /** Where the cluster was found. */
  readonly description: string;
  readonly table: TableTarget;
  /** When it was opened, in milliseconds since the epoch. */
  readonly now: number;
}

/** Connects to the cluster of the flags. */
export async function openReader(
  flags: ReaderFlags,
  { io, settings, printStyled }: CommandContext,
): Promise<Reader> {
  const severities = flags.severity === undefined ? undefined : severitiesOf(flags.severity);
  const connection = await connectionOf(flags, settings());
  const api = patientClient(connection);
  const namespace = flags.allNamespaces ? undefined : flags.namespace ?? connection.namespace;
  const now = io.now();
  return {
    api,
    now,
    selection: {
      namespace,
      nowMs: now,
      labels: flags.selector,
      severities,
      source: flags.source,
      kind: flags.kind,
    },
    reading: { onPage: progressOf(io, "Observations"), onNote: (note) => io.stderr(`${note}\n`) },
    description: connection.description,
    table: {
      print: printStyled,
      terminal: io.terminal?.(),
    },
    [Symbol.dispose]() {
      io.progress?.("");
      api.close();
    },
  };
}

/** Progress is shown from the second second on. */
const QUIET_MS = 1_000;
/** Between two lines of progress. */
const REFRESH_MS = 200;

/** Shows how many of `what` are read, as they come. */
export function progressOf(io: Io, what: string): (progress: Progress) => void {
  let dueAt = io.now() + QUIET_MS;
  return ({ read, remaining }) => {
    const now = io.now();
    if (now < dueAt) return;
    dueAt = now + REFRESH_MS;
    const of = remaining === undefined ? "" : ` of ${(read + remaining).toLocaleString("en")}`;
    io.progress?.(`${read.toLocaleString("en")}${of} ${what} read`);
  };
}

/** `HIGH`, `CRITICAL,HIGH`, `HIGH+`, in any case. */
export function severitiesOf(text: string): Severity[] {
  const chosen = text.toUpperCase().split(",").flatMap((word) => {
    const index = SEVERITIES.findIndex((severity) => severity === word.replace(/\+$/, ""));
    if (index < 0) {
      throw new FlagError(
        `expected --severity to be of ${SEVERITIES.join("|")}, or HIGH+, received "${text}"`,
      );
    }
    return word.endsWith("+") ? SEVERITIES.slice(0, index + 1) : SEVERITIES.slice(index, index + 1);
  });
  return SEVERITIES.filter((severity) => chosen.includes(severity));
}

/** A time as flags take it: `24h` and `7d` before now, a day (`2026-11-01`, in UTC), or RFC 3339. Milliseconds since the epoch. */
export function timeOf(text: string, { flag, now }: { readonly flag: string; readonly now: number }): number {
  const span = spanMs(text);
  if (span !== undefined) return now - span;
  const time = parseTime(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
  if (time) return time.ms;
  throw new FlagError(
    `expected ${flag} to be like 24h, 7d, 2026-11-01 or 2026-11-01T08:00:00Z, received "${text}"`,
  );
}

/** `3d`, `5h`, `2m`: how long ago a time is. */
export function ageOf(time: string, now: number): string {
  const ms = parseTime(time)?.ms;
  if (ms === undefined) return "";
  const seconds = Math.max(0, Math.floor((now - ms) / 1_000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 2 * 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
