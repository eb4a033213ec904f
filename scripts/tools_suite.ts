import { runWrapper } from "./support/script.ts";
import { ensureTool } from "./tools.ts";

const HELP = `
Usage: deno task test:tools [--all] [OPTIONS OF deno test]

Lets real tools report to the program and compares what each found with what is stored, one by one.

  --all    also those that take minutes to build or install: Prometheus with Alertmanager, and Checkov
`;

const ALL = "--all";
/** What the quick form leaves out. */
const LONG = ["tests/tools/alertmanager_test.ts", "tests/tools/checkov_test.ts"];

async function suite(words: readonly string[]): Promise<number> {
  const all = words.includes(ALL);
  if (all) { for (const tool of ["promtool", "alertmanager", "checkov"] as const) await ensureTool(tool); }
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "-A", "--sanitize-ops", "--sanitize-resources", "tests/tools/"],
      ...(all ? [] : [`--ignore=${LONG.join(",")}`]),
      ...words.filter((word) => word !== ALL),
    ],
  }).spawn().status;
  return code;
}

if (import.meta.main) await runWrapper(HELP, suite);
