/** `zen-watcher check`: says what is wrong with filters, Ingesters and ObservationMappings before a cluster does. */
import type { KubeObject } from "../kube/api.ts";
import type { Settings } from "../settings.ts";
import { type Arguments, outputOf, usage } from "./args.ts";
import { readConfigFile } from "./config_file.ts";
import { connect } from "./connect.ts";
import { CommandError, type Io } from "./io.ts";
import { checkRbac, type RbacReport, readRbac } from "./rbac.ts";
import { plural, render, renderProblem } from "./report.ts";

/** Endings of files that are read in a folder. */
const CONFIG_FILE = /\.(ya?ml|json)$/;

/** Checks the files of `-f`; 0 where nothing is wrong. */
export async function check(
  args: Arguments,
  { io, settings: configured }: { io: Io; settings: Settings },
): Promise<number> {
  const settings = { ...configured, podNamespace: args.namespace ?? configured.podNamespace };
  const format = outputOf(args, "check");
  const paths = [...args.filename, ...args.positionals];
  if (paths.length === 0 && !args.rbac) throw usage("check", "expected -f FILE, or --rbac");
  const read = [];
  for (const file of await expand(paths, io)) {
    const text = await io.readText(file);
    read.push({ text, ...readConfigFile(text, { file, settings }) });
  }
  const problems = read.flatMap((file) => file.problems);
  const checked = read.reduce((sum, file) => sum + file.checked, 0);
  const skipped = read.reduce((sum, file) => sum + file.skipped, 0);
  const code = problems.length > 0 ? 1 : 0;
  const mapped = read.flatMap((file) => file.mapped);
  if (format) {
    const rows = problems.map(({ position, ...problem }) => ({ ...problem, ...position }));
    const rbac = args.rbac ? await rbacReport(args, { settings, mapped }) : undefined;
    io.stdout(render({ checked, skipped, problems: rows, ...(rbac && { rbac }) }, format));
    return rbac && rbac.denied > 0 ? 1 : code;
  }
  if (paths.length > 0) {
    for (const file of read) {
      for (const problem of file.problems) io.stderr(renderProblem(problem, file.text));
    }
    const others = skipped > 0 ? `, ${skipped} of other kinds skipped` : "";
    io.stdout(`${plural(checked, "document")} checked${others}: ${plural(problems.length, "mistake")}\n`);
  }
  if (!args.rbac) return code;
  using api = await connect(args, settings);
  return await checkRbac({ api, io, settings, mapped }) || code;
}

async function rbacReport(
  args: Arguments,
  { settings, mapped }: { settings: Settings; mapped: readonly KubeObject[] },
): Promise<RbacReport> {
  using api = await connect(args, settings);
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
