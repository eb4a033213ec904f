/** `get` and `rule`: Observations one a line, worst first. */
import { type Command, Option } from "commander";
import { watch } from "../../kube/watch.ts";
import { fieldSelectorOf, isSelected, labelSelectorOf, type Selection } from "../../read/selection.ts";
import { OBSERVATIONS, type StoredObservation } from "../../store/observations.ts";
import { errorMessage } from "../../model/error_message.ts";
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

/** Prints the existing Observations and then new ones. A changed one is printed again only if it becomes Active again. */
async function printNew({ api }: Reader, { selection, printer, note, now }: WatchOptions): Promise<void> {
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  Deno.addSignalListener("SIGINT", interrupt);
  Deno.addSignalListener("SIGTERM", interrupt);
  const labelSelector = labelSelectorOf(selection);
  const fieldSelector = fieldSelectorOf(selection);
  const shown = new Set<string>();
  const waiting: StoredObservation[] = [];
  let isSynced = false;
  let isTold = false;
  try {
    const events = watch<StoredObservation>(api, OBSERVATIONS, {
      signal: stop.signal,
      ...(labelSelector && { labelSelector }),
      ...(fieldSelector && { fieldSelector }),
      ...(selection.namespace && { namespace: selection.namespace }),
    });
    for await (const event of events) {
      if (event.type === "error") {
        if (event.state === "forbidden" || event.state === "absent") throw event.error;
        if (!isTold) note(`${errorMessage(event.error)}. Trying again\n`);
        isTold = true;
      } else if (event.type === "synced") isTold = false;
      else if (event.type === "delete") shown.delete(event.object.metadata.uid ?? "");
      else if (event.type === "apply") {
        const uid = event.object.metadata.uid ?? "";
        if (shown.has(uid) || !isSelected(event.object, { ...selection, nowMs: now() })) continue;
        shown.add(uid);
        waiting.push(event.object);
      }
      // The first lines give the table its widths.
      if (event.type === "synced") isSynced = true;
      if (waiting.length > 0 && (isSynced || waiting.length >= BATCH)) {
        printer.page(waiting.splice(0));
        printer.flush();
      }
    }
  } finally {
    Deno.removeSignalListener("SIGINT", interrupt);
    Deno.removeSignalListener("SIGTERM", interrupt);
  }
}
