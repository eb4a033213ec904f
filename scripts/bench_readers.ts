import type { KubeApi } from "../src/kube/api.ts";
import type { Json } from "../src/model/json.ts";
import { OBSERVATIONS } from "../src/store/observations.ts";
import { transportTo } from "../tests/cluster/watching.ts";
import { startEnvtest } from "../tests/support/envtest.ts";
import { BENCH_NAMESPACES, benchFinding, keyOf } from "./bench/findings.ts";
import { type FigureRow, row, tableOf, verdictOn } from "./bench/figures.ts";
import { freshBundle } from "./bundle.ts";
import { createNamespaces, installCrds } from "./support/feed.ts";
import { kubeconfigPermissions, V8_FLAGS } from "./support/permissions.ts";
import { print, runScript, type Values } from "./support/script.ts";

const HELP = `
Usage: deno task bench:readers [--count 50000]

Stores this many Observations on a real API server (see deno task envtest) and runs the readers' commands of the bundle, as a user
does. Prints for each the time to its first line, its whole time and its peak memory. Absolute figures depend on the
machine. Exits with 1 where a command fails or takes more than 200 MiB.
`;
const OPTIONS = { count: { type: "string" } } as const;

const CREATES_AT_ONCE = 24;
const POLL_MS = 20;
const COMMANDS: readonly string[] = [
  "top",
  "top rules",
  "top images",
  "get -A",
  "get -A --severity CRITICAL",
  "get -n team-7",
  "rule CVE-2024-1094",
  "workload service-7 -A",
  "diff --since 24h",
  "why --rule CVE-2024-1094 --workload service-94 -A",
  "export -o csv",
  "export -o json",
  "export -o sarif",
  "export -o ocsf",
  "export -o defectdojo",
];

async function main({ count = "50000" }: Values<typeof OPTIONS>): Promise<number> {
  const entry = await freshBundle();
  await using cluster = await startEnvtest();
  using api = transportTo(cluster);
  await installCrds(api);
  await createNamespaces(api, BENCH_NAMESPACES);
  await store(api, Number(count));
  const rows: FigureRow[] = [];
  // The first start of a bundle compiles it; later ones find that in the runtime's cache.
  await run(entry, ["top"], cluster.kubeconfigPath);
  for (const command of COMMANDS) {
    const { firstMs, wholeMs, peakMiB } = await run(entry, command.split(" "), cluster.kubeconfigPath);
    rows.push(
      row(`${command}: first line`, firstMs / 1_000, "s", { atMost: 5 }),
      row(`${command}: whole time`, wholeMs / 1_000, "s"),
      row(`${command}: peak memory`, peakMiB, "MiB", { atMost: 200 }),
    );
  }
  print(tableOf(rows));
  return verdictOn(rows);
}

async function store(api: KubeApi, count: number): Promise<void> {
  let next = 0;
  const one = async () => {
    for (let index = next++; index < count; index = next++) {
      const { status, metadata, ...object } = benchFinding(index);
      const { uid: _uid, resourceVersion: _version, creationTimestamp: _created, ...meta } = metadata;
      await api.create(OBSERVATIONS, { ...object, metadata: meta });
      if (status?.phase !== "Resolved") continue;
      const [namespace = "", name = ""] = keyOf(index).split("/");
      await api.patch(OBSERVATIONS, name, { status: status as Json }, {
        namespace,
        subresource: "status",
        type: "merge",
      });
    }
  };
  await Promise.all(Array.from({ length: CREATES_AT_ONCE }, one));
}

async function run(entry: string, command: readonly string[], kubeconfig: string) {
  const startedAt = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...kubeconfigPermissions(), V8_FLAGS, entry, ...command, "--kubeconfig", kubeconfig],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let peakKib = 0;
  const watched = setInterval(async () => {
    const status = await Deno.readTextFile(`/proc/${child.pid}/status`).catch(() => "");
    peakKib = Math.max(peakKib, Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0));
  }, POLL_MS);
  let firstMs = NaN;
  for await (const _ of child.stdout) {
    if (Number.isNaN(firstMs)) firstMs = performance.now() - startedAt;
  }
  const { code } = await child.status;
  clearInterval(watched);
  if (code !== 0) throw new Error(`Cannot measure "${command.join(" ")}": it ended with exit code ${code}`);
  return { firstMs, wholeMs: performance.now() - startedAt, peakMiB: peakKib / 1_024 };
}

if (import.meta.main) await runScript({ help: HELP, options: OPTIONS }, main);
