/** The whole program while its API server is killed and comes back. */
import { assert, assertEquals } from "@std/assert";
import { startController } from "../../scripts/support/controller.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import type { KubeApi, KubeObject } from "../../src/kube/api.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { ownAccount } from "../support/rights.ts";
import { createOnce, report, transportTo } from "./watching.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import { insist, VULNERABILITY_REPORTS } from "../support/reports.ts";
import { CRDS } from "../support/crds.ts";

const ALERTS = 1_000;
const REPORTS = 500;
/** Each adds a vulnerability to a report; the first creates it. */
const CHANGES_PER_REPORT = 10;

const cluster = await startEnvtest();
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());

Deno.test("API server killed twice in the middle of 1,000 alerts and 5,000 report changes: nothing missed, nothing doubled", async () => {
  await cluster.applyCrds(CRDS);
  const namespace = await cluster.createNamespace("restart");
  const kubeconfig = `${cluster.folder}/own.kubeconfig`;
  await Deno.writeTextFile(kubeconfig, cluster.kubeconfig({ as: await ownAccount(cluster) }), {
    mode: 0o600,
  });
  await using controller = await startController({ kubeconfig });
  using api = transportTo(cluster);

  const beganAt = performance.now();
  let done = 0;
  const restarts: Promise<number>[] = [];
  const step = () => {
    done++;
    if (done === 1_500 || done === 4_000) restarts.push(killAndHeal(api, namespace));
  };
  const [refused] = await Promise.all([
    sendAlerts(`${controller.url}/falco/webhook`, { namespace, step }),
    changeReports(api, { namespace, step }),
  ]);
  const healedMs = Math.max(...await Promise.all(restarts));
  const wantedFindings = REPORTS * CHANGES_PER_REPORT;
  const startedAt = performance.now();
  const before = await subjectsBySource(api, namespace);
  const { falco = [], trivy = [] } = await eventually("every Observation to be there", async () => {
    const subjects = await subjectsBySource(api, namespace);
    if (new Set(subjects.falco).size >= ALERTS && new Set(subjects.trivy).size >= wantedFindings) {
      return subjects;
    }
    throw new Error(`${subjects.falco?.length} alerts and ${subjects.trivy?.length} findings are there`);
  }, { timeoutMs: 300_000 });
  report("kill -9 of the API server, twice", {
    alerts: falco.length,
    findings: trivy.length,
    requestsRefused: refused,
    writingMs: startedAt - beganAt,
    findingsWhenWritten: before.trivy?.length ?? 0,
    caughtUpMs: performance.now() - startedAt,
    healedMs,
  });
  assertEquals(restarts.length, 2);
  assertEquals([falco.length, new Set(falco).size], [ALERTS, ALERTS]);
  assertEquals([trivy.length, new Set(trivy).size], [wantedFindings, wantedFindings]);
  await eventually("the books to balance with nothing in flight", () => balanced(controller.url));
});

/** Kills the API server and starts it again; returns how long after it was ready the next Observation was there. */
async function killAndHeal(api: KubeApi, namespace: string): Promise<number> {
  await cluster.killApiServer("SIGKILL");
  await cluster.startApiServer();
  const readyAt = performance.now();
  const count = async () => {
    const { items, metadata } = await api.list(OBSERVATIONS, { namespace, limit: 1 });
    return items.length + (metadata.remainingItemCount ?? 0);
  };
  const before = await eventually("a first count", count);
  await eventually("the next Observation", async () => await count() > before);
  return performance.now() - readyAt;
}

/** Posts alerts of one Pod each, as a sender that believes every 503; returns how often it was refused. */
async function sendAlerts(
  url: string,
  { namespace, step }: { namespace: string; step: () => void },
): Promise<number> {
  const queue = Array.from({ length: ALERTS }, (_, index) => index).values();
  let refused = 0;
  const sender = async () => {
    for (const index of queue) {
      while (!await accepted(url, alert(namespace, index))) {
        refused++;
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
      step();
    }
  };
  await Promise.all(Array.from({ length: 8 }, sender));
  return refused;
}

async function accepted(url: string, body: JsonObject): Promise<boolean> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  assert(response.status === 200 || response.status === 503, `${response.status} ${text}`);
  return response.status === 200;
}

function alert(namespace: string, index: number): JsonObject {
  return {
    hostname: "node-1",
    rule: "Terminal shell in container",
    priority: "Notice",
    source: "syscall",
    time: new Date().toISOString(),
    output: "A shell was spawned in a container",
    output_fields: { "k8s.ns.name": namespace, "k8s.pod.name": `pod-${index}`, "proc.name": "sh" },
  };
}

async function changeReports(
  api: KubeApi,
  { namespace, step }: { namespace: string; step: () => void },
): Promise<void> {
  const queue = Array.from({ length: REPORTS }, (_, index) => index).values();
  const writer = async () => {
    for (const index of queue) {
      const object = vulnerabilityReport(namespace, index);
      await insist(() => createOnce(api, VULNERABILITY_REPORTS, object));
      step();
      for (let found = 2; found <= CHANGES_PER_REPORT; found++) {
        const patch = { report: { vulnerabilities: vulnerabilities(found) } };
        await insist(() =>
          api.patch(VULNERABILITY_REPORTS, object.metadata.name ?? "", patch, { namespace, type: "merge" })
        );
        step();
      }
    }
  };
  await Promise.all(Array.from({ length: 4 }, writer));
}

function vulnerabilityReport(namespace: string, index: number): KubeObject {
  return {
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind: "VulnerabilityReport",
    metadata: {
      name: `statefulset-app-${index}-main`,
      namespace,
      labels: {
        "trivy-operator.resource.kind": "StatefulSet",
        "trivy-operator.resource.name": `app-${index}`,
        "trivy-operator.resource.namespace": namespace,
        "trivy-operator.container.name": "main",
      },
    },
    report: {
      artifact: { repository: "library/app", tag: "1.0" },
      scanner: { name: "Trivy", vendor: "Aqua Security", version: "0.35.0" },
      vulnerabilities: vulnerabilities(1),
    },
  };
}

function vulnerabilities(count: number): JsonObject[] {
  return Array.from({ length: count }, (_, index) => ({
    vulnerabilityID: `CVE-2024-${1000 + index}`,
    resource: "openssl",
    installedVersion: "3.0.1",
    fixedVersion: "3.0.2",
    severity: "HIGH",
    title: "A bug",
    target: "",
  }));
}

/** What the Observations of a namespace are about, one subject each, by source. */
async function subjectsBySource(api: KubeApi, namespace: string): Promise<Record<string, string[]>> {
  const { items } = await api.list(OBSERVATIONS, { namespace });
  const subjects: Record<string, string[]> = { falco: [], trivy: [] };
  for (const { spec } of items) {
    if (!isObject(spec) || !isObject(spec.resource) || !isObject(spec.details)) continue;
    subjects[String(spec.source)]?.push(`${spec.resource.name} ${spec.details.vulnerabilityID ?? ""}`);
  }
  return subjects;
}

/** `events = created + deduped + filtered + failed` with nothing in flight, for every source. */
async function balanced(url: string): Promise<boolean> {
  const { books } = await (await fetch(`${url}/tools/status`)).json();
  assert(isObject(books) && isObject(books.falco) && isObject(books.trivy), JSON.stringify(books));
  return Object.values(books).filter(isObject).every((account) => {
    const { events, created, deduped, filtered, failed, inFlight } = account;
    return inFlight === 0 && events === Number(created) + Number(deduped) + Number(filtered) + Number(failed);
  });
}
