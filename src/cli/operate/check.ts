/** `check`: what is wrong with the files of rule writers, and with the rights, before a cluster says so. */
import type { Command } from "commander";
import type { KubeObject } from "../../kube/api.ts";
import type { Settings } from "../../settings.ts";
import {
  addCommand,
  clusterFlags,
  type CommandContext,
  controllerNamespaceFlag,
  filenameFlag,
  outputFlag,
  type RuleFlags,
  settingsOf,
  usage,
} from "../command.ts";
import { CommandError, type Io } from "../io.ts";
import type { RbacReport } from "./rbac.ts";

/** Endings of the files that are read in a folder. */
const CONFIG_FILE = /\.(ya?ml|json)$/;

interface CheckFlags extends RuleFlags {
  readonly rbac?: boolean;
}

/** Adds the command `check`. */
export function check(program: Command, { io, settings, finish }: CommandContext): void {
  const command = addCommand(program, {
    name: "check",
    summary: "check filters, exceptions, Ingesters, ObservationMappings and test cases, or rights",
    description:
      "Reads filters (the filter document, its ConfigMap, ObservationFilters), ObservationExceptions, Ingesters, " +
      "ObservationMappings and the cases of `test`, says which each document is, and shows all mistakes with file, line, column and path. It skips other kinds.",
    examples: [
      ["check -f examples", "every .yaml and .json file below a folder"],
      ["check -f filter.yaml -o json", "for scripts; the exit code is 1 where a mistake was found"],
      [
        "check --rbac -f ingester.yaml",
        "what this user may not do of what zen-watcher and the Ingester need",
      ],
    ],
  });
  filenameFlag(command, "a file, a folder, or - for standard input");
  controllerNamespaceFlag(command);
  clusterFlags(outputFlag(command))
    .argument("[file...]", "further files and folders")
    .option("--rbac", "ask the API server which rights are missing, and print the rules that add them")
    .action((files: readonly string[], flags: CheckFlags) => {
      const paths = [...flags.filename ?? [], ...files];
      if (paths.length === 0 && !flags.rbac) throw usage("check", "expected -f FILE, or --rbac");
      return finish(checkAll(paths, { flags, io, settings: settingsOf(settings, flags) }));
    });
}

interface CheckOptions {
  readonly flags: CheckFlags;
  readonly io: Io;
  readonly settings: Settings;
}

async function checkAll(paths: readonly string[], options: CheckOptions): Promise<number> {
  const { flags, io, settings } = options;
  const { checkFiles } = await import("./check_files.ts");
  const checked = await checkFiles(await expand(paths, io), {
    io,
    settings,
    quiet: flags.output !== undefined,
  });
  const rbac = flags.rbac ? await readRights(checked.mapped, options) : undefined;
  if (flags.output) {
    const { mapped: _mapped, ...report } = checked;
    const { render } = await import("../output/structured.ts");
    io.stdout(render({ ...report, ...(rbac && { rbac }) }, flags.output));
  } else if (rbac) {
    const { renderRbac } = await import("./rbac.ts");
    io.stderr(rbac.unknown.map((why) => `${why}\n`).join(""));
    io.stdout(renderRbac(rbac));
  }
  return checked.problems.length > 0 || (rbac?.denied ?? 0) > 0 ? 1 : 0;
}

async function readRights(
  mapped: readonly KubeObject[],
  { flags, settings }: CheckOptions,
): Promise<RbacReport> {
  const { connect } = await import("../connect.ts");
  const { readRbac } = await import("./rbac.ts");
  using api = await connect(flags, settings);
  return await readRbac({ api, settings, mapped });
}

/** Files, and the configuration files of folders. */
async function expand(paths: readonly string[], io: Io): Promise<string[]> {
  const files: string[] = [];
  for (const path of paths) {
    const inside = await io.listFolder(path);
    const chosen = inside ? inside.filter((file) => CONFIG_FILE.test(file)) : [path];
    if (chosen.length === 0) {
      throw new CommandError(`Cannot check "${path}": there is no .yaml or .json file in it`);
    }
    files.push(...chosen);
  }
  return files;
}
