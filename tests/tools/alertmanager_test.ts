/**
 * Prometheus and Alertmanager as they run in a cluster: what a rule fires goes through Alertmanager's groups to the Ingester
 * of examples/alertmanager.yaml, is resolved there, and survives a restart of the program in between.
 */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { ensureTool } from "../../scripts/tools.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { choosePorts } from "../support/control_plane.ts";
import { startDevWorld } from "../support/dev_world.ts";
import { eventually } from "../support/eventually.ts";
import { loadExamples } from "../support/examples.ts";
import { startPrometheus } from "../support/prometheus.ts";
import { Reaper, ServerProcess } from "../support/server_process.ts";
import { checkReport } from "./report.ts";

const TOKEN = "token-of-alertmanager";
const PODS = 20;
const TIMEOUT_MS = 90_000;
const RULES = new URL("../../helm/zen-watcher/files/rules.yaml", import.meta.url).pathname;

Deno.test("Prometheus loads the chart's rules; its alerts through Alertmanager are stored once, resolved, and survive a restart", async () => {
  const ports = { ours: choosePorts().apiServer, target: choosePorts().apiServer };
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await world.create([
    {
      apiVersion: "v1",
      kind: "Secret",
      metadata: {
        name: "alertmanager-webhook",
        namespace: "zen-system",
        labels: { "zen.kube-zen.io/webhook-auth": "true" },
      },
      data: { token: btoa(TOKEN) },
    },
    ...(await loadExamples("alertmanager.yaml")) as unknown as JsonObject[],
  ]);
  await using alertmanager = await startAlertmanager(ports.ours);
  await using prometheus = await startPrometheus(configuration(alertmanager.address, ports.target));
  const start = () => world.replica("zen-watcher-0", { env: { WATCHER_PORT: String(ports.ours) } });
  // Half of the targets answer once a server listens there; the others never do.
  const all = podNames(0, PODS);
  const [healed, down] = [podNames(0, PODS / 2), podNames(PODS / 2, PODS)];
  {
    await using _app = await start();
    await eventually("every alert to be stored", () => {
      assertEquals(podsIn(world.observations(), "Active"), all);
      return true;
    }, { timeoutMs: TIMEOUT_MS });
    assertEquals(await firingIn(alertmanager.address), all, "what Alertmanager has");
    await rulesAreLoaded(prometheus.address);
  }
  // Not running while half of them end: Alertmanager tries again.
  await using _target = Deno.serve(
    { port: ports.target, hostname: "127.0.0.1", onListen() {} },
    () => new Response("up_again 1\n"),
  );
  await eventually("Alertmanager to have half of them", async () => {
    assertEquals(await firingIn(alertmanager.address), down);
    return true;
  }, { timeoutMs: TIMEOUT_MS });
  await using _app = await start();
  await eventually("those that ended to be Resolved", () => {
    assertEquals(podsIn(world.observations(), "Resolved"), healed);
    assertEquals(podsIn(world.observations(), "Active"), down);
    return true;
  }, { timeoutMs: TIMEOUT_MS });
  checkReport("Prometheus and Alertmanager", all, podsIn(world.observations()));
});

/** Targets that do not answer, one for each Pod, and a rule that fires for them at once. */
function configuration(alertmanager: string, target: number): string {
  const folder = Deno.makeTempDirSync({ prefix: "zen-rules-" });
  const rule = {
    alert: "TargetDown",
    expr: 'up{job="shop"} == 0',
    labels: { severity: "critical" },
    annotations: { summary: "{{ $labels.pod }} does not answer" },
  };
  const own = join(folder, "rules.yaml");
  Deno.writeTextFileSync(own, JSON.stringify({ groups: [{ name: "own", interval: "1s", rules: [rule] }] }));
  const static_configs = podNames(0, PODS).map((pod, index) => ({
    // Nothing listens on port 1.
    targets: [`127.0.0.1:${index < PODS / 2 ? target : 1}`],
    labels: { namespace: "shop", pod, instance: pod },
  }));
  return JSON.stringify({
    global: { scrape_interval: "1s", evaluation_interval: "1s" },
    rule_files: [own, RULES],
    alerting: { alertmanagers: [{ static_configs: [{ targets: [alertmanager] }] }] },
    scrape_configs: [{ job_name: "shop", static_configs }],
  });
}

async function startAlertmanager(port: number): Promise<AsyncDisposable & { readonly address: string }> {
  const program = await ensureTool("alertmanager");
  const reaper = await Reaper.start("zen-alertmanager-");
  const config = join(reaper.folder, "alertmanager.json");
  const url = `http://127.0.0.1:${port}/ingest/alertmanager`;
  await Deno.writeTextFile(
    config,
    JSON.stringify({
      route: { receiver: "zen-watcher", group_by: ["alertname"], group_wait: "1s", group_interval: "2s" },
      receivers: [{
        name: "zen-watcher",
        webhook_configs: [{
          url,
          send_resolved: true,
          http_config: { authorization: { credentials: TOKEN } },
        }],
      }],
    }),
  );
  const address = `127.0.0.1:${choosePorts().apiServer}`;
  const server = new ServerProcess(reaper, "alertmanager", [
    program,
    `--config.file=${config}`,
    `--storage.path=${join(reaper.folder, "data")}`,
    `--web.listen-address=${address}`,
    "--cluster.listen-address=",
  ]);
  const stop = async () => {
    await server.stop("SIGKILL");
    await reaper[Symbol.asyncDispose]();
  };
  try {
    await server.start();
    await server.ready(async () => {
      const response = await fetch(`http://${address}/-/ready`);
      await response.body?.cancel();
      return response.ok;
    }, TIMEOUT_MS);
  } catch (error) {
    await stop();
    throw error;
  }
  return { address, [Symbol.asyncDispose]: stop };
}

/** The Pods of the alerts that Alertmanager says are firing. */
async function firingIn(address: string): Promise<string[]> {
  const response = await fetch(`http://${address}/api/v2/alerts?active=true`);
  const alerts: { labels: { pod: string } }[] = await response.json();
  return alerts.map(({ labels }) => labels.pod).sort();
}

/** Every rule of the chart is evaluated, without an error. */
async function rulesAreLoaded(address: string): Promise<void> {
  await eventually("every rule to be evaluated", async () => {
    const response = await fetch(`http://${address}/api/v1/rules`);
    const { data }: {
      data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] };
    } = await response.json();
    const rules = data.groups.flatMap(({ rules }) => rules);
    const bad = rules.filter(({ health }) => health !== "ok");
    assertEquals(bad.map(({ name, health, lastError }) => `${name}: ${health} ${lastError ?? ""}`), []);
    return rules.length > 30;
  }, { timeoutMs: TIMEOUT_MS });
}

function podNames(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => `web-${String(from + index).padStart(2, "0")}`);
}

/** The Pods that stored alerts of a phase are about, doubles included. */
function podsIn(observations: readonly JsonObject[], phase?: string): string[] {
  return observations.flatMap(({ spec, status }) => {
    if (!isObject(spec) || spec.source !== "alertmanager" || !isObject(spec.resource)) return [];
    const is = isObject(status) ? String(status.phase) : "";
    return phase === undefined || is === phase ? [String(spec.resource.name)] : [];
  }).sort();
}
