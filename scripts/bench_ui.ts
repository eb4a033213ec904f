import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import type { Json, JsonObject } from "../src/model/json.ts";
import { OBSERVATIONS } from "../src/store/observations.ts";
import type { State } from "../src/ui/protocol.ts";
import { BENCH_NAMESPACES, benchFinding, findingNamespace, keyOf } from "./bench/findings.ts";
import { type FigureRow, percentile, row, tableOf } from "./bench/figures.ts";
import { pageRows } from "./bench/page.ts";
import { residentMemory } from "./bench/processes.ts";
import { freshBundle } from "./bundle.ts";
import { createNamespaces, installCrds } from "./support/feed.ts";
import { linesOf } from "./support/lines.ts";
import { kubeconfigPermissions, V8_FLAGS } from "./support/permissions.ts";
import { print, runScript, type Values } from "./support/script.ts";

const HELP = `
Usage: deno task bench:ui [--count 50000] [--seconds 20]

Measures the server part of the page (the bundle, as a user runs it) on an embedded API server with this many Observations: the
first list, the answers to the page's questions, memory, and the same while 50 Observations change each second. Prints a table.
Absolute figures depend on the machine.
`;
const OPTIONS = { count: { type: "string" }, seconds: { type: "string" } } as const;

const STORED = "observations.zen.kube-zen.io";
const TRIES = 15;
const CHANGES_PER_SECOND = 50;
/** What people do on the page. */
const QUESTIONS: Readonly<Record<string, string>> = {
  "findings, worst first": "/api/findings?limit=100&try=",
  "filter by severity": "/api/findings?severity=CRITICAL&limit=100&try=",
  "filter by namespace and text": "/api/findings?namespace=team-7&text=overflow%20libx&limit=100&try=",
  "text in all phases": "/api/findings?phase=all&text=CVE-2024-1&limit=100&try=",
  "sort by rule": "/api/findings?sort=rule&limit=100&try=",
  "sort by last seen": "/api/findings?sort=lastSeenAt&order=desc&limit=100&try=",
  "workloads": "/api/groups?by=workloads&limit=100&try=",
  "rules": "/api/groups?by=rules&limit=100&try=",
  "overview": "/api/overview?try=",
  "values of filters": "/api/facets?try=",
};

async function main({ count = "50000", seconds = "20" }: Values<typeof OPTIONS>): Promise<void> {
  const entry = await freshBundle();
  await using cluster = startDevCluster();
  using api = createKubeClient(fixedConnection({ server: cluster.url }));
  await installCrds(api);
  await createNamespaces(api, BENCH_NAMESPACES);
  const { objects } = cluster.cluster.resources.get(STORED) ?? {};
  if (!objects) throw new Error(`Cannot store Observations: ${STORED} is not served`);
  for (let index = 0; index < Number(count); index++) {
    const { apiVersion: _, kind: __, ...observation } = benchFinding(index);
    objects.put(keyOf(index), observation as unknown as JsonObject);
  }
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/kubeconfig`, cluster.kubeconfig());
  // The first start of a bundle compiles it; later ones find that in the runtime's cache.
  await (await startUi(entry, `${folder}/kubeconfig`))[Symbol.asyncDispose]();
  await using ui = await startUi(entry, `${folder}/kubeconfig`);
  const rows: FigureRow[] = [];
  const get = async <T>(path: string): Promise<T> => {
    const response = await fetch(`${ui.url}${path}`, { headers: { "x-zen-secret": ui.secret } });
    if (!response.ok) throw new Error(`Cannot get ${path}: ${response.status} ${await response.text()}`);
    return await response.json();
  };
  await until(async () => (await get<State>("/api/state")).listed.read > 0);
  rows.push(row("first rows after the start", performance.now() - ui.startedAt, "ms"));
  await until(async () => (await get<State>("/api/state")).listed.done);
  rows.push(row(`all ${count} listed after the start`, performance.now() - ui.startedAt, "ms"));
  const first = performance.now();
  await Promise.all([get("/api/overview"), get("/api/findings?limit=100")]);
  rows.push(row("overview and list, first time", performance.now() - first, "ms", { atMost: 1_000 }));
  rows.push(...await ask(get, ""));
  const { workingSetMiB } = await residentMemory(ui.pid);
  rows.push(row("resident memory", workingSetMiB, "MiB", { atMost: 250 }));
  rows.push(...await pageRows({ origin: ui.url, secret: ui.secret, total: Number(count) }));
  const stop = performance.now() + Number(seconds) * 1_000;
  const changing = change(stop, async (index) => {
    const name = keyOf(index).split("/")[1] ?? "";
    const patch = {
      status: { occurrences: index + 2, lastSeenAt: new Date().toISOString() },
    } as unknown as Json;
    await api.patch(OBSERVATIONS, name, patch, {
      namespace: findingNamespace(index),
      type: "merge",
      subresource: "status",
    });
  });
  while (performance.now() < stop) {
    rows.push(
      ...(await ask(get, `, ${CHANGES_PER_SECOND} changes a second`)).filter(() => performance.now() >= stop),
    );
  }
  const changed = await changing;
  const after = await residentMemory(ui.pid);
  const beside = `${changed} changes`;
  rows.push(row("resident memory after that", after.workingSetMiB, "MiB", { atMost: 250, beside }));
  print(tableOf(rows));
  await Deno.remove(folder, { recursive: true });
}

/** The median of each question; no two requests are the same, so that no answer was kept. */
async function ask(get: (path: string) => Promise<unknown>, when: string): Promise<FigureRow[]> {
  const rows: FigureRow[] = [];
  for (const [what, path] of Object.entries(QUESTIONS)) {
    const tookMs: number[] = [];
    for (let index = 0; index < TRIES; index++) {
      const startedAt = performance.now();
      await get(`${path}${crypto.randomUUID()}`);
      tookMs.push(performance.now() - startedAt);
    }
    const beside = `95 % within ${Math.round(percentile(tookMs, 0.95))}`;
    rows.push(row(`${what}${when}`, percentile(tookMs, 0.5), "ms", { atMost: 200, beside }));
  }
  return rows;
}

/** Changes Observations at a steady rate; resolves with how many. */
async function change(untilMs: number, one: (index: number) => Promise<void>): Promise<number> {
  let changed = 0;
  const startedAt = performance.now();
  while (performance.now() < untilMs) {
    await one(changed++ % 1_000);
    const dueMs = startedAt + changed * 1_000 / CHANGES_PER_SECOND;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - performance.now())));
  }
  return changed;
}

async function startUi(entry: string, kubeconfig: string) {
  const startedAt = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...kubeconfigPermissions(), V8_FLAGS, entry, "ui", "--no-open", "--kubeconfig", kubeconfig],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  for await (const line of linesOf(child.stdout)) {
    const url = new URL(line);
    const token = url.hash.replace("#token=", "");
    const response = await fetch(`${url.origin}/api/session`, {
      method: "POST",
      body: JSON.stringify({ token }),
    });
    const { secret } = await response.json();
    return {
      url: url.origin,
      secret: String(secret),
      pid: child.pid,
      startedAt,
      async [Symbol.asyncDispose]() {
        child.kill("SIGINT");
        await child.status;
      },
    };
  }
  throw new Error("Cannot start the page: it printed no address");
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => setTimeout(resolve, 20));
}

if (import.meta.main) await runScript({ help: HELP, options: OPTIONS }, main);
