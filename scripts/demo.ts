import type { KubeApi, KubeObject } from "../src/kube/api.ts";
import { CLUSTER_OPTIONS, type ClusterFlags, openSampleCluster } from "./support/cluster.ts";
import { startController } from "./support/controller.ts";
import { createNamespaces, feedSamples, installCrds, tally } from "./support/feed.ts";
import { OBSERVATIONS } from "../src/store/observations.ts";
import { print, runScript } from "./support/script.ts";
import { table } from "./support/table.ts";
import expected from "./samples/expected.json" with { type: "json" };

const HELP = `
Usage: deno task demo [--kubeconfig FILE] [--context NAME]

Plays the samples against the embedded development API server (or the named cluster), waits, and prints what became of them.
Exits with 0 only if the books balance and exactly the expected Observations are stored.
`;
const INSTANCE = "demo";
const NAMESPACE = "zen-demo";
const DEADLINE_MS = 55_000;
const POLL_MS = 250;
const SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN"];

type Counts = Readonly<Record<string, number>>;
type Accounts = Readonly<Record<string, Counts>>;

async function demo(target: ClusterFlags): Promise<number> {
  const startedAt = performance.now();
  await using cluster = await openSampleCluster(target);
  print(`Cluster: ${cluster.description}\n`);
  const { api } = cluster;
  await installCrds(api);
  await createNamespaces(api, [NAMESPACE]);
  await using controller = await startController({
    kubeconfig: cluster.kubeconfig,
    env: { POD_NAMESPACE: NAMESPACE, INSTANCE },
    args: target.context === undefined ? [] : ["--context", target.context],
  });
  print(`Controller: ${controller.url}, ready\n`);
  print(`Fed: ${await feedSamples(api, { url: controller.url, namespace: NAMESPACE })}\n\n`);
  const observe = async () => ({
    accounts: await accountsOf(controller.url),
    stored: tally(await observations(api)),
  });
  const { accounts, stored } = await settled(observe);
  const problems = [...bookProblems(accounts), ...differences(stored)];
  printTables(accounts, stored);
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

/** Waits until nothing is in flight and what is stored is what is expected, or the deadline. */
async function settled<T extends { accounts: Accounts; stored: Accounts }>(
  observe: () => Promise<T>,
): Promise<T> {
  for (const deadline = performance.now() + DEADLINE_MS;;) {
    const seen = await observe();
    const quiet = bookProblems(seen.accounts).length === 0;
    if ((quiet && differences(seen.stored).length === 0) || performance.now() > deadline) return seen;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function accountsOf(url: string): Promise<Accounts> {
  const response = await fetch(`${url}/tools/status`);
  return (await response.json()).books;
}

async function observations(api: KubeApi): Promise<readonly KubeObject[]> {
  const { items } = await api.list(OBSERVATIONS, { labelSelector: `zen.kube-zen.io/instance=${INSTANCE}` });
  return items;
}

function bookProblems(accounts: Accounts): string[] {
  return Object.entries(accounts).flatMap(([source, account]) => {
    const { events = 0, created = 0, deduped = 0, filtered = 0, failed = 0, inFlight = 0 } = account;
    const sum = created + deduped + filtered + failed;
    if (inFlight === 0 && events === sum) return [];
    return [
      `the books of ${source} do not balance: ${events} events, ${sum} outcomes, ${inFlight} in flight`,
    ];
  });
}

function differences(stored: Accounts): string[] {
  const wanted: Accounts = expected;
  const sources = new Set([...Object.keys(wanted), ...Object.keys(stored)]);
  return [...sources].flatMap((source) =>
    SEVERITIES.flatMap((severity) => {
      const want = wanted[source]?.[severity] ?? 0;
      const have = stored[source]?.[severity] ?? 0;
      return want === have ? [] : [`${source} ${severity}: expected ${want} Observations, found ${have}`];
    })
  );
}

function printTables(accounts: Accounts, stored: Accounts): void {
  const outcomes = ["events", "created", "deduped", "filtered", "failed"];
  const rows = (counts: Accounts, columns: readonly string[]) =>
    Object.entries(counts).sort(([a], [b]) => a < b ? -1 : 1)
      .map(([source, row]) => [source, ...columns.map((column) => String(row[column] ?? 0))]);
  print(table(["SOURCE", ...outcomes.map((name) => name.toUpperCase())], rows(accounts, outcomes)));
  print("\n" + table(["OBSERVATIONS", ...SEVERITIES], rows(stored, SEVERITIES)));
}

if (import.meta.main) await runScript({ help: HELP, options: CLUSTER_OPTIONS }, demo);
