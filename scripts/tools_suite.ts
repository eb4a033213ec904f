import { runWrapper } from "./support/script.ts";
import { ensureTool } from "./tools.ts";

const HELP = `
Usage: deno task test:tools [--all] [OPTIONS OF deno test]

Lets real tools report to the program and compares what each found with what is stored, one by one.

Without --all only kube-controller-manager's Events. The API server's audit webhook, and Prometheus with the rules and
dashboards, are among the tests against a real API server. In no package registry are Falco, falcosidekick, Trivy Operator,
kube-bench, Kubescape, Polaris and cert-manager's controller: tests/fixtures holds what they really sent.

  --all    also those that take minutes to build or install: Prometheus with Alertmanager, Checkov, Gatekeeper's audit and
           Kyverno's reports-controller
`;

const ALL = "--all";
/** What the quick form leaves out. */
const LONG = ["alertmanager", "checkov", "gatekeeper", "reports_controller"].map((name) =>
  `tests/tools/${name}_test.ts`
);

async function suite(words: readonly string[]): Promise<number> {
  const all = words.includes(ALL);
  if (all) {
    for (const tool of ["promtool", "alertmanager", "checkov", "gatekeeper", "reports-controller"] as const) {
      await ensureTool(tool);
    }
  }
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
