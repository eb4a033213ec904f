/** `explain`: what the server would make of a payload, step by step, and why. */
import type { Command } from "commander";
import type { ExceptionDocument } from "../../exceptions/document.ts";
import type { FilterDocument } from "../../filters/filter.ts";
import type { KubeObject } from "../../kube/api.ts";
import type { Settings } from "../../settings.ts";
import {
  addCommand,
  clusterFlags,
  type CommandContext,
  controllerNamespaceFlag,
  filenameFlag,
  type Format,
  outputFlag,
  repeated,
  type RuleFlags,
  settingsOf,
  usage,
} from "../command.ts";
import type { Io } from "../io.ts";
import { plural } from "../output/problems.ts";
import type { ExplainedEvent } from "./dry_run.ts";
import type { Explanation } from "./explanation.ts";

interface ExplainFlags extends RuleFlags {
  readonly source?: string;
  readonly filters?: string;
  readonly ingester?: readonly string[];
  readonly live?: boolean;
}

/** Adds the command `explain`. */
export function explain(program: Command, { io, settings, finish }: CommandContext): void {
  const command = addCommand(program, {
    name: "explain",
    summary: "show what becomes of a payload, step by step, and why",
    description:
      "Takes a payload through the server's own steps, without writing anything, and shows the verdict of each " +
      "step and the Observation in the end. A payload is JSON, YAML or NDJSON, one object, a list, or a whole request.",
    examples: [
      ["explain --source falco -f alert.json", "one alert, without filters"],
      [
        "explain --source trivy -f report.yaml --filters filter.yaml",
        "with the filters or exceptions of a file",
      ],
      ["explain --source falco -f alert.json --live", "with the filters and Ingesters of the cluster"],
      ["explain --source my-tool --ingester ingester.yaml -f -", "a mapped source, from standard input"],
    ],
  });
  command.option("--source <source>", "the source that the payload comes from: built in, or of an Ingester");
  filenameFlag(command, "the payload, or - for standard input; a later file may repeat an earlier one");
  controllerNamespaceFlag(outputFlag(command));
  clusterFlags(command)
    .argument("[file...]", "further payloads")
    .option(
      "--filters <file>",
      "the filter document, its ConfigMap, ObservationFilters or ObservationExceptions",
    )
    .addOption(repeated("--ingester <file>", "Ingesters or ObservationMappings; may be given again"))
    .option(
      "--live",
      "take filters and Ingesters that no file gives from the cluster (also by --kubeconfig, --context, --as)",
    )
    .action((files: readonly string[], flags: ExplainFlags) => {
      const paths = [...flags.filename ?? [], ...files];
      const { source } = flags;
      if (source === undefined) throw usage("explain", "expected --source NAME");
      if (paths.length === 0) throw usage("explain", "expected -f PAYLOAD");
      return finish(explainFiles(paths, { source, flags, io, settings: settingsOf(settings, flags) }));
    });
}

interface ExplainContext {
  readonly source: string;
  readonly flags: ExplainFlags;
  readonly io: Io;
  readonly settings: Settings;
}

/** 1 where nothing could be read. */
async function explainFiles(paths: readonly string[], context: ExplainContext): Promise<number> {
  const { source, flags, io, settings } = context;
  const { explainInputs } = await import("./explanation.ts");
  const { render } = await import("../output/structured.ts");
  const inputs = paths.map((path) => ({ path, receivedAt: io.now() }));
  const config = await configOf(context);
  const { deleted, ...explanation } = await explainInputs(inputs, { source, ...config, settings, io });
  if (deleted > 0) {
    const objects = plural(deleted, "deleted object");
    io.stderr(`Left out ${objects}: an object that a watch says is deleted reports nothing\n`);
  }
  if (flags.output) io.stdout(render(explanation, flags.output));
  else {
    for (const [index, event] of explanation.events.entries()) {
      io.stdout(`${renderEvent(event, index + 1, render)}\n`);
    }
    io.stdout(renderEnd(explanation));
  }
  return explanation.events.length === 0 && explanation.errors.length > 0 ? 1 : 0;
}

interface Config {
  readonly filters: readonly FilterDocument[];
  readonly exceptions: readonly ExceptionDocument[];
  readonly named: readonly KubeObject[];
  readonly live: readonly KubeObject[];
}

/** The filters of the file, else the cluster's; the Ingesters of files, and the cluster's. */
async function configOf(context: ExplainContext): Promise<Config> {
  const { flags, io, settings } = context;
  const { readGoodConfig } = await import("./config_file.ts");
  const live = await liveConfig(context);
  const own = flags.filters === undefined ? undefined : await readGoodConfig(flags.filters, { io, settings });
  const named = [];
  for (const file of flags.ingester ?? []) {
    named.push(...(await readGoodConfig(file, { io, settings })).mapped);
  }
  return {
    filters: own?.filters ?? live.filters,
    exceptions: own && own.exceptions.length > 0 ? own.exceptions : live.exceptions,
    named,
    live: live.mapped,
  };
}

async function liveConfig({ flags, io, settings }: ExplainContext) {
  const { kubeconfig, context, as, asGroup, asUid } = flags;
  const isNamed = [kubeconfig, context, as, asGroup, asUid].some((flag) => flag !== undefined);
  if (!flags.live && !isNamed) return { filters: [], exceptions: [], mapped: [] };
  const { connect } = await import("../connect.ts");
  const { readLiveConfig, readLiveExceptions } = await import("./live_config.ts");
  using api = await connect(flags, settings);
  const { missing, ...config } = await readLiveConfig(api, { settings });
  for (const what of missing) io.stderr(`Left out: ${what}\n`);
  const exceptions = await readLiveExceptions(api, { settings, now: io.now() });
  if (!exceptions) {
    const { EXCEPTIONS_UNREADABLE } = await import("../../read/exceptions.ts");
    io.stderr(`${EXCEPTIONS_UNREADABLE}\n`);
  }
  return { ...config, exceptions: exceptions ?? [] };
}

function renderEvent(
  { outcome, reason, steps, observation }: ExplainedEvent,
  number: number,
  render: (value: object, format: Format) => string,
): string {
  const title = `${number}. ${outcomeWord({ outcome, reason })}\n`;
  const lines = steps.map(({ step, verdict, detail }) =>
    `   ${step.padEnd(9)} ${verdict.padEnd(10)} ${detail.replaceAll("\n", " ")}\n`
  );
  const object = observation ? indent(render(observation, "yaml")) : "";
  return title + lines.join("") + object;
}

function indent(text: string): string {
  return text.trimEnd().split("\n").map((line) => `   | ${line}\n`).join("");
}

/** What could not be read, and the summary. */
function renderEnd({ source, events, errors, skipped }: Explanation): string {
  const problems = errors.map(({ reason, path, message }) =>
    `error{${reason}}${path === "" ? "" : ` at ${path}`}: ${message}\n`
  );
  const noInput = skipped.map((why) => `no input: ${why}\n`);
  if (noInput.length > 0 && events.length === 0 && errors.length === 0) return noInput.join("");
  const counts = Map.groupBy(events, outcomeWord);
  const words = [...counts].map(([word, same]) => `${same.length} ${word}`).join(", ");
  const unread = errors.length > 0 ? `; ${plural(errors.length, "error")}` : "";
  const summary = `${source}: ${plural(events.length, "event")}${
    words === "" ? "" : `: ${words}`
  }${unread}\n`;
  return [...noInput, ...problems, summary].join("\n");
}

function outcomeWord({ outcome, reason }: Pick<ExplainedEvent, "outcome" | "reason">): string {
  return reason === null ? outcome : `${outcome}{${reason}}`;
}
