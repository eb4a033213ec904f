/** `get` and `rule`: Observations one a line, worst first. */
import { type Command, Option } from "commander";
import { hasStatus } from "../../kube/api.ts";
import type { KubeClient } from "../../kube/client.ts";
import { watch } from "../../kube/watch.ts";
import { elsewhereLeftOut, fieldsElsewhere, readError } from "../../read/observations.ts";
import { isUnsupportedField } from "../../read/pages.ts";
import { fieldSelectorOf, isSelected, labelSelectorOf, type Selection } from "../../read/selection.ts";
import { OBSERVATIONS, type StoredObservation } from "../../store/observations.ts";
import { addCommand, type CommandContext, usage } from "../command.ts";
import { LINE_FORMATS, type LineFormat, type Printer, printerOf, printWorstFirst } from "./lines.ts";
import { openReader, type Reader, type ReaderFlags, readerFlags, timeOf } from "./reader.ts";

interface GetFlags extends ReaderFlags {
  readonly rule?: string;
  readonly workload?: string;
  readonly all?: boolean;
  readonly since?: string;
  readonly watch?: boolean;
  readonly output?: LineFormat;
}

/** Adds the command `get`. */
export function get(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "get",
    summary: "list Observations, worst first",
    description: "Lists the Active Observations, worst first, one a line.",
    examples: [
      ["get -n shop", "of one namespace"],
      ["get -A --severity HIGH+ --since 24h", "HIGH and worse, first seen since yesterday"],
      ["get -n shop --severity CRITICAL -w", "and each new one as it comes"],
      ["get --rule CVE-2024-3094 -o json", "as kubectl prints them, for scripts"],
    ],
  });
  lineFlags(readerFlags(command))
    .option("--rule <rule>", "the source's id of what was found")
    .option("--workload <workload>", "the workload it was found on")
    .option("--since <time>", "first seen since: 24h, 7d, 2026-11-01, or RFC 3339")
    .option("-w, --watch", "print each new one as it comes, until interrupted")
    .action(async (flags: GetFlags) => {
      if (flags.watch && (flags.output === "json" || flags.output === "yaml")) {
        throw usage("get", `-w prints lines: it cannot be given with -o ${flags.output}`);
      }
      const now = context.io.now();
      const sinceMs = flags.since === undefined ? undefined : timeOf(flags.since, { flag: "--since", now });
      using reader = await openReader(flags, context);
      const selection: Selection = {
        ...reader.selection,
        rule: flags.rule,
        workload: flags.workload,
        sinceMs,
        phase: flags.all ? undefined : "Active",
      };
      const printer = await printerOf({
        output: flags.output,
        io: context.io,
        reader,
        all: flags.all === true,
      });
      if (flags.watch) {
        await printNew(reader, { selection, printer, note: context.io.stderr, now: context.io.now });
      } else {
        const count = await printWorstFirst(reader, { selection, printer });
        printer.end();
        if (count === 0) context.io.stderr("No Observation is found.\n");
      }
      await context.finish(0);
    });
}

/** Adds the command `rule`. */
export function rule(program: Command, context: CommandContext): void {
  const command = addCommand(program, {
    name: "rule <rule>",
    summary: "show where a rule was found: who has this CVE",
    description:
      "Lists the Observations of a rule, which is the source's own id of what was found: a CVE, a check, a policy.",
    examples: [
      ["rule CVE-2024-3094", "who has it"],
      ["rule disallow-latest-tag/require-image-tag --all", "with those that are Accepted or Resolved"],
    ],
  });
  lineFlags(readerFlags(command)).action(async (wanted: string, flags: GetFlags) => {
    using reader = await openReader(flags, context);
    const printer = await printerOf({
      output: flags.output,
      io: context.io,
      reader,
      all: flags.all === true,
    });
    // CVE ids and the like are often typed in lower case.
    let count = 0;
    for (const id of new Set([wanted, wanted.toUpperCase()])) {
      if (count > 0) break;
      const selection: Selection = { ...reader.selection, rule: id, phase: flags.all ? undefined : "Active" };
      count = await printWorstFirst(reader, { selection, printer });
    }
    printer.end();
    if (count === 0) {
      context.io.stderr(`No ${flags.all ? "" : "Active "}Observation has the rule "${wanted}".\n`);
    }
    await context.finish(0);
  });
}

function lineFlags(command: Command): Command {
  return command
    .option("--all", "what is not Active any more too")
    .addOption(new Option("-o, --output <format>", "format of the output").choices(LINE_FORMATS));
}

const BATCH = 500;

interface WatchOptions {
  readonly selection: Selection;
  readonly printer: Printer;
  readonly note: (text: string) => void;
  readonly now: () => number;
}

/**
 * Prints the existing Observations and then new ones. A changed one is printed again only if it becomes Active again. With a
 * namespace, what belongs to it and is stored elsewhere is watched too, where the user may.
 */
async function printNew({ api }: Reader, { selection, printer, note, now }: WatchOptions): Promise<void> {
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  Deno.addSignalListener("SIGINT", interrupt);
  Deno.addSignalListener("SIGTERM", interrupt);
  const { namespace } = selection;
  const places: readonly WatchedPlace[] = namespace === undefined
    ? [{}]
    : [{ namespace }, { fields: fieldsElsewhere(namespace) }];
  const shown = new Set<string>();
  const waiting: StoredObservation[] = [];
  let isListed = false;
  // The first lines give the table its widths.
  const flush = () => {
    if (waiting.length === 0 || (!isListed && waiting.length < BATCH)) return;
    printer.page(waiting.splice(0));
    printer.flush();
  };
  const sink: WatchSink = {
    note,
    // A namespace does not wait for the list of all others.
    listed(place) {
      isListed ||= place === places[0];
      flush();
    },
    apply(observation) {
      const uid = observation.metadata.uid ?? "";
      if (shown.has(uid) || !isSelected(observation, { ...selection, nowMs: now() })) return;
      shown.add(uid);
      waiting.push(observation);
      flush();
    },
    gone: ({ metadata }) => shown.delete(metadata.uid ?? ""),
  };
  try {
    await Promise.all(places.map(async (place) => {
      try {
        await watchPlace(api, place, { selection, sink, signal: stop.signal });
      } catch (error) {
        const isElsewhere = place.fields !== undefined && namespace !== undefined;
        if (!isElsewhere || !(error instanceof Error) || !hasStatus(error.cause, 403)) throw error;
        note(`${elsewhereLeftOut(namespace, "watch")}\n`);
      }
    }));
  } finally {
    stop.abort();
    Deno.removeSignalListener("SIGINT", interrupt);
    Deno.removeSignalListener("SIGTERM", interrupt);
  }
}

/** What one watch reads. */
interface WatchedPlace {
  /** Absent: all namespaces. */
  readonly namespace?: string;
  /** Further field selector. */
  readonly fields?: string;
}

/** Takes what watches read. */
interface WatchSink {
  note(text: string): void;
  /** The first list of a watch is complete. */
  listed(place: WatchedPlace): void;
  apply(observation: StoredObservation): void;
  gone(observation: StoredObservation): void;
}

interface PlaceOptions {
  readonly selection: Selection;
  readonly sink: WatchSink;
  readonly signal: AbortSignal;
  /** False where the API server does not support field selectors (before 1.31). */
  readonly hasFields?: boolean;
}

/** Watches until the signal aborts. An error before the first list is complete ends it, as it ends a command that reads once. */
async function watchPlace(
  api: KubeClient,
  place: WatchedPlace,
  { selection, sink, signal, hasFields = true }: PlaceOptions,
): Promise<void> {
  const labelSelector = labelSelectorOf(selection);
  const fieldSelector = hasFields ? [fieldSelectorOf(selection), place.fields].filter(Boolean).join(",") : "";
  let isListed = false;
  let isTold = false;
  const events = watch<StoredObservation>(api, OBSERVATIONS, {
    signal,
    ...(labelSelector && { labelSelector }),
    ...(fieldSelector && { fieldSelector }),
    ...(place.namespace !== undefined && { namespace: place.namespace }),
  });
  for await (const event of events) {
    switch (event.type) {
      case "error": {
        if (fieldSelector !== "" && isUnsupportedField(event.error)) {
          return await watchPlace(api, place, { selection, sink, signal, hasFields: false });
        }
        const failed = readError(event.error, place.namespace);
        const isFinal = event.state !== "failing" || (!isListed && event.reason !== "expired");
        if (isFinal) throw failed;
        if (!isTold) sink.note(`${failed.message}. Trying again\n`);
        isTold = true;
        break;
      }
      case "synced":
        if (!isListed) sink.listed(place);
        isListed = true;
        isTold = false;
        break;
      case "delete":
        sink.gone(event.object);
        break;
      case "apply":
        sink.apply(event.object);
        break;
      case "init":
        break;
    }
  }
}
