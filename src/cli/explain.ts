/** `zen-watcher explain`: what the server would make of a payload, step by step, and why. */
import type { PayloadError } from "../model/outcome.ts";
import type { KubeObject } from "../kube/api.ts";
import { compileFilters, type FilterDocument } from "../filters/filter.ts";
import type { Settings } from "../settings.ts";
import { type Arguments, outputOf, usage } from "./args.ts";
import { type ConfigFile, readConfigFile } from "./config_file.ts";
import { connect } from "./connect.ts";
import { readPayloads } from "./input.ts";
import { CommandError, type Io } from "./io.ts";
import { type LiveConfig, readLiveConfig } from "./live_config.ts";
import { plural, render, renderProblem } from "./report.ts";
import { createDryRun, type ExplainedEvent } from "./operate/dry_run.ts";
import { chooseSource } from "./source.ts";

/** What `-o json` prints. */
interface Explanation {
  readonly source: string;
  readonly events: readonly ExplainedEvent[];
  readonly errors: readonly PayloadError[];
}

/** Explains the payloads of `-f`; 1 where nothing could be read. */
export async function explain(
  args: Arguments,
  { io, settings: configured }: { io: Io; settings: Settings },
): Promise<number> {
  const settings = { ...configured, podNamespace: args.namespace ?? configured.podNamespace };
  const format = outputOf(args, "explain");
  const { source } = args;
  const files = [...args.filename, ...args.positionals];
  if (source === undefined) throw usage("explain", "expected --source NAME");
  if (files.length === 0) throw usage("explain", "expected -f PAYLOAD");
  const config = await configOf(args, { io, settings });
  const explanation = await explainFiles(files, { source, config, io, settings });
  io.stdout(format ? render(explanation, format) : renderExplanation(explanation));
  return explanation.events.length === 0 && explanation.errors.length > 0 ? 1 : 0;
}

/** A configuration file without mistakes, or the command's error. */
export async function readGoodConfig(
  file: string,
  { io, settings }: { readonly io: Io; readonly settings: Settings },
): Promise<Pick<ConfigFile, "filters" | "mapped">> {
  const text = await io.readText(file);
  const config = readConfigFile(text, { file, settings });
  if (config.problems.length === 0) {
    if (config.checked === 0) {
      throw new CommandError(`Cannot load "${file}": it holds no filters, Ingester or ObservationMapping`);
    }
    for (const why of config.off) io.stderr(`${why}\n`);
    return config;
  }
  const told = config.problems.map((problem) => renderProblem(problem, text)).join("");
  throw new CommandError(`Cannot load "${file}":\n${told.trimEnd()}`);
}

/** The filters of the file, else the cluster's; the Ingesters of files, and the cluster's. */
async function configOf(args: Arguments, { io, settings }: { io: Io; settings: Settings }): Promise<Config> {
  const live = await liveConfig(args, settings);
  const own = args.filters === undefined ? undefined : await readGoodConfig(args.filters, { io, settings });
  const named = [];
  for (const file of args.ingester) named.push(...(await readGoodConfig(file, { io, settings })).mapped);
  return { filters: own?.filters ?? live.filters, named, live: live.mapped };
}

interface Config {
  readonly filters: readonly FilterDocument[];
  readonly named: readonly KubeObject[];
  readonly live: readonly KubeObject[];
}

/** A cluster is asked only where one is named: else `explain` works off line. */
async function liveConfig({ kubeconfig, context }: Arguments, settings: Settings): Promise<LiveConfig> {
  if (kubeconfig === undefined && context === undefined) return { filters: [], mapped: [] };
  using api = await connect({ kubeconfig, context }, settings);
  return await readLiveConfig(api, settings);
}

interface ExplainOptions {
  readonly source: string;
  readonly config: Config;
  readonly io: Io;
  readonly settings: Settings;
}

async function explainFiles(
  files: readonly string[],
  { source, config, io, settings }: ExplainOptions,
): Promise<Explanation> {
  const { definition, runtime, filter } = chooseSource(source, { ...config, settings });
  const filters = compileFilters([...config.filters, ...(filter ? [filter] : [])]);
  const dryRun = createDryRun({ runtime, filters, settings });
  const errors: PayloadError[] = [];
  let deleted = 0;
  for (const path of files) {
    const read = readPayloads({ path, text: await io.readText(path) }, { definition, receivedAt: io.now() });
    errors.push(...read.errors);
    deleted += read.deleted;
    for (const payload of read.payloads) await dryRun.take(payload);
  }
  if (deleted > 0) {
    io.stderr(
      `Left out ${
        plural(deleted, "deleted object")
      }: what a watch tells as deleted reports nothing any more\n`,
    );
  }
  return { source, events: dryRun.events, errors: [...errors, ...dryRun.errors] };
}

function renderExplanation({ source, events, errors }: Explanation): string {
  const blocks = events.map((event, index) => renderEvent(event, index + 1));
  const problems = errors.map(({ reason, path, message }) =>
    `error{${reason}}${path === "" ? "" : ` at ${path}`}: ${message}\n`
  );
  return [...blocks, ...problems, summary({ source, events, errors })].join("\n");
}

function renderEvent({ outcome, reason, steps, observation }: ExplainedEvent, number: number): string {
  const title = `${number}. ${reason === null ? outcome : `${outcome}{${reason}}`}\n`;
  const lines = steps.map(({ step, verdict, detail }) =>
    `   ${step.padEnd(9)} ${verdict.padEnd(10)} ${detail}\n`
  );
  const object = observation ? indent(render(observation, "yaml")) : "";
  return title + lines.join("") + object;
}

function indent(text: string): string {
  return text.trimEnd().split("\n").map((line) => `   | ${line}\n`).join("");
}

function summary({ source, events, errors }: Explanation): string {
  const counts = new Map<string, number>();
  for (const { outcome, reason } of events) {
    const word = reason === null ? outcome : `${outcome}{${reason}}`;
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const said = [...counts].map(([word, count]) => `${count} ${word}`).join(", ");
  const problems = errors.length > 0 ? `; ${plural(errors.length, "error")}` : "";
  return `${source}: ${plural(events.length, "event")}${said === "" ? "" : `: ${said}`}${problems}\n`;
}
