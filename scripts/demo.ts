import { openSampleCluster } from "./support/cluster.ts";
import { startController } from "./support/controller.ts";
import { createNamespaces, feedSamples, installCrds } from "./support/feed.ts";
import {
  bookProblems,
  observationsTable,
  outcomesTable,
  sampleDifferences,
  untilStored,
} from "./support/found.ts";
import {
  confirmSamples,
  SAMPLE_INSTANCES,
  SAMPLE_OPTIONS,
  type SampleFlags,
} from "./support/named_cluster.ts";
import { print, runScript } from "./support/script.ts";

const HELP = `
Usage: deno task demo [--kubeconfig FILE] [--context NAME] [--yes]

Plays the samples against the embedded development API server (or the named cluster), waits, and prints what became of them.
Exits with 0 only if the books balance and exactly the expected Observations are stored.

Into a named cluster it installs CRDs, namespaces and samples: it says which, and asks first. --yes agrees. deno task dev --clean
removes them again.
`;
const INSTANCE = SAMPLE_INSTANCES.demo;
const NAMESPACE = "zen-demo";
const DEADLINE_MS = 55_000;

async function demo(flags: SampleFlags): Promise<number> {
  const startedAt = performance.now();
  await using cluster = await openSampleCluster(flags);
  print(`Cluster: ${cluster.description}\n`);
  const { api } = cluster;
  await confirmSamples(cluster, { flags, namespace: NAMESPACE });
  await installCrds(api);
  await createNamespaces(api, [NAMESPACE]);
  await using controller = await startController({
    kubeconfig: cluster.kubeconfig,
    env: { POD_NAMESPACE: NAMESPACE, INSTANCE },
    args: flags.context === undefined ? [] : ["--context", flags.context],
  });
  print(`Controller: ${controller.url}, ready\n`);
  print(`Fed: ${await feedSamples(api, { url: controller.url, namespace: NAMESPACE })}\n\n`);
  const found = await untilStored({ api, url: controller.url, instance: INSTANCE, deadlineMs: DEADLINE_MS });
  const problems = [...bookProblems(found), ...sampleDifferences(found)];
  print(`${outcomesTable(found)}\n${observationsTable(found)}`);
  if (problems.length > 0) {
    print(`\nNot as expected:\n${problems.map((problem) => `  - ${problem}\n`).join("")}`);
    print(`\nThe controller's last lines:\n${controller.lines.slice(-15).join("\n")}\n`);
  }
  controller.kill("SIGTERM");
  const { code } = await controller.exited;
  if (code !== 0) problems.push(`the controller ended with code ${code}`);
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  print(
    problems.length === 0
      ? `\nThe books balance, every Observation is there. ${seconds} s\n`
      : `\nFailed. ${seconds} s\n`,
  );
  return problems.length === 0 ? 0 : 1;
}

if (import.meta.main) await runScript({ help: HELP, options: SAMPLE_OPTIONS }, demo);
