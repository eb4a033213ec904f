/** What four kinds of sources bring while something breaks, and what must be stored of it. */
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { hasStatus, type KubeApi, type KubeObject, type ResourceType } from "../../src/kube/api.ts";
import { CONFIG_MAPS } from "../../src/kube/core_resources.ts";
import { alert } from "../support/alerts.ts";
import { eventually } from "../support/eventually.ts";
import { changeReports, insist } from "../support/reports.ts";
import { storedIn } from "./stored.ts";
import { pause } from "./form.ts";

/** One for each way in. */
export const KINDS = ["falco", "audit", "trivy", "kube-bench"] as const;
export type Kind = typeof KINDS[number];

export interface ChaosLoadOptions {
  readonly api: KubeApi;
  /** Where senders may go now. */
  readonly urls: () => readonly string[];
  /** Of this run alone. */
  readonly namespace: string;
  readonly alerts: number;
  readonly auditBatches: number;
  readonly reports: number;
  readonly nodes: number;
}

/** What became of a kind's load. */
export interface Result {
  readonly kind: Kind;
  /** Acknowledged events, and findings the API server holds: each must be stored. */
  readonly accepted: number;
  readonly lost: number;
  readonly doubled: number;
}

const EVENTS_PER_BATCH = 5;
const FINDINGS_PER_REPORT = 4;
const FINDINGS_PER_NODE = 8;
/** The longest a sender waits, whatever `Retry-After` says, so that a test is not all waiting. */
const MAX_WAIT_MS = 2_000;

/** One run's load. */
export class ChaosLoad {
  readonly #options: ChaosLoadOptions;
  readonly #total: number;
  #done = 0;
  #turn = 0;
  readonly #accepted: Record<Kind, Set<string>> = {
    falco: new Set(),
    audit: new Set(),
    trivy: new Set(),
    "kube-bench": new Set(),
  };
  /** Requests that got a 503, or no answer at all. */
  refused = 0;
  unanswered = 0;

  constructor(options: ChaosLoadOptions) {
    this.#options = options;
    const { alerts, auditBatches, reports, nodes } = options;
    this.#total = alerts + auditBatches + reports * FINDINGS_PER_REPORT + nodes * FINDINGS_PER_NODE;
  }

  /** Sends and writes everything, until all of it is taken. */
  async run(): Promise<void> {
    const { api, namespace, alerts, auditBatches, reports, nodes } = this.#options;
    const step = () => void this.#done++;
    await Promise.all([
      this.#inParallel(6, alerts, async (index) => {
        await this.alert(`pod-${index}`, index);
        step();
      }),
      this.#inParallel(3, auditBatches, async (batch) => {
        const ids = Array.from({ length: EVENTS_PER_BATCH }, (_, event) => `${batch}-${event}`);
        await this.audit(ids);
        step();
      }),
      changeReports(api, {
        namespace,
        reports: [0, reports],
        found: [0, FINDINGS_PER_REPORT],
        onWrite: step,
      }),
      this.#inParallel(2, nodes, async (node) => {
        for (let found = 1; found <= FINDINGS_PER_NODE; found++) {
          await this.node(`node-${node}`, found);
          step();
        }
      }),
    ]);
    for (let report = 0; report < reports; report++) {
      for (let found = 0; found < FINDINGS_PER_REPORT; found++) {
        this.#accepted.trivy.add(`app-${report} CVE-2026-${1_000 + found}`);
      }
    }
  }

  /** Waits until this share of the load is taken. */
  async reached(share: number): Promise<void> {
    await eventually(`${share * 100} % of the load to be taken`, () => this.#done >= this.#total * share, {
      timeoutMs: 300_000,
    });
  }

  /** One alert and its repeat half a second later, each sent until it is taken. */
  async alert(pod: string, index: number): Promise<void> {
    const now = Date.now();
    for (const offsetMs of [0, 500]) {
      const body = alert(this.#options.namespace, index, new Date(now + offsetMs).toISOString());
      const named = { ...body, output_fields: { ...fieldsOf(body), "k8s.pod.name": pod } };
      await this.#untilTaken("/falco/webhook", named);
    }
    this.#accepted.falco.add(pod);
  }

  /** One batch of deletes by their audit ids. */
  async audit(ids: readonly string[]): Promise<void> {
    const { namespace } = this.#options;
    const items = ids.map((id): JsonObject => ({
      auditID: `${namespace}-${id}`,
      stage: "ResponseComplete",
      verb: "delete",
      user: { username: "jane" },
      objectRef: { resource: "pods", apiVersion: "v1", namespace, name: `gone-${id}` },
      responseStatus: { code: 200 },
      requestReceivedTimestamp: new Date().toISOString(),
    }));
    await this.#untilTaken("/audit/webhook", { kind: "EventList", apiVersion: "audit.k8s.io/v1", items });
    for (const id of ids) this.#accepted.audit.add(`gone-${id}`);
  }

  /** A report with one vulnerability, numbered beyond those of the load. */
  async report(index: number): Promise<void> {
    const { api, namespace } = this.#options;
    await changeReports(api, { namespace, reports: [index, index + 1], found: [0, 1] });
    this.#accepted.trivy.add(`app-${index} CVE-2026-1000`);
  }

  /** A node's results with so many failures. */
  async node(node: string, found: number): Promise<void> {
    const { api, namespace } = this.#options;
    const name = `${namespace}-${node}`;
    await insist(() => apply(api, resultsOf(name, found)));
    this.#accepted["kube-bench"].add(`${name} 1.1.${found}`);
  }

  /** What is stored of this run by source, doubles included. */
  async stored(): Promise<Record<Kind, string[]>> {
    const { api, namespace } = this.#options;
    const stored: Record<Kind, string[]> = { falco: [], audit: [], trivy: [], "kube-bench": [] };
    for (const place of [namespace, "zen-system"]) {
      for await (const item of storedIn(api, place)) note(item, { stored, namespace });
    }
    return stored;
  }

  /** Waits until all that was accepted is stored; then counts. */
  async results(): Promise<Result[]> {
    let stored = await this.stored();
    try {
      await eventually("all that was accepted to be stored", async () => {
        stored = await this.stored();
        const missing = KINDS.map((kind) => this.#missing(kind, stored[kind]));
        if (missing.every((count) => count === 0)) return true;
        throw new Error(KINDS.map((kind, index) => `${kind}: ${missing[index]} missing`).join(", "));
      }, { timeoutMs: 240_000 });
    } catch {
      // The result says how many are lost.
    }
    return KINDS.map((kind) => ({
      kind,
      accepted: this.#accepted[kind].size,
      lost: this.#missing(kind, stored[kind]),
      doubled: stored[kind].length - new Set(stored[kind]).size,
    }));
  }

  #missing(kind: Kind, stored: readonly string[]): number {
    const there = new Set(stored);
    return [...this.#accepted[kind]].filter((key) => !there.has(key)).length;
  }

  async #inParallel(width: number, count: number, work: (index: number) => Promise<void>): Promise<void> {
    const queue = Array.from({ length: count }, (_, index) => index).values();
    const worker = async () => {
      for (const index of queue) await work(index);
    };
    await Promise.all(Array.from({ length: width }, worker));
  }

  /** As a Service's client: a replica that does not answer is skipped. */
  async #untilTaken(path: string, body: JsonObject): Promise<void> {
    for (;;) {
      const urls = this.#options.urls();
      const url = urls[this.#turn++ % Math.max(1, urls.length)];
      if (url !== undefined && await this.#taken(url + path, JSON.stringify(body))) return;
      if (url === undefined) await pause(100);
    }
  }

  async #taken(url: string, body: string): Promise<boolean> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, { method: "POST", body, signal: AbortSignal.timeout(90_000) });
      text = await response.text();
    } catch {
      this.unanswered++;
      await pause(100);
      return false;
    }
    if (response.status === 200) return true;
    if (response.status !== 503) throw new Error(`Cannot post to ${url}: HTTP ${response.status} ${text}`);
    this.refused++;
    const retryAfterMs = Number(response.headers.get("retry-after")) * 1_000;
    if (!(retryAfterMs > 0)) throw new Error(`Cannot post to ${url}: 503 without Retry-After: ${text}`);
    await pause(Math.min(MAX_WAIT_MS, retryAfterMs));
    return false;
  }
}

function fieldsOf({ output_fields }: JsonObject): JsonObject {
  return isObject(output_fields) ? output_fields : {};
}

function note(
  { spec }: KubeObject,
  { stored, namespace }: { stored: Record<Kind, string[]>; namespace: string },
): void {
  if (!isObject(spec) || !isObject(spec.resource)) return;
  const { name } = spec.resource;
  const details = isObject(spec.details) ? spec.details : {};
  switch (spec.source) {
    case "falco":
    case "audit":
      if (spec.resource.namespace === namespace) stored[spec.source].push(String(name));
      return;
    case "trivy":
      if (spec.resource.namespace === namespace) stored.trivy.push(`${name} ${details.vulnerabilityID}`);
      return;
    case "kube-bench":
      if (String(name).startsWith(`${namespace}-`)) {
        stored["kube-bench"].push(`${name} ${details.testNumber}`);
      }
  }
}

/** kube-bench's own form, with `found` failed tests. */
function resultsOf(node: string, found: number): KubeObject {
  const results = Array.from({ length: found }, (_, index) => ({
    test_number: `1.1.${index + 1}`,
    test_desc: `Ensure that file ${index} is safe`,
    remediation: "chmod 600",
    status: "FAIL",
    scored: true,
  }));
  const controls = {
    id: "1",
    version: "cis-1.10",
    text: "Control Plane",
    node_type: "node",
    tests: [{ section: "1.1", desc: "Files", results }],
    total_fail: found,
  };
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: node, namespace: "kube-bench", labels: { app: "kube-bench", node } },
    data: { "results.json": JSON.stringify({ Controls: [controls] }) },
  };
}

async function apply(api: KubeApi, object: KubeObject): Promise<void> {
  const { name = "", namespace = "" } = object.metadata;
  const type: ResourceType = CONFIG_MAPS;
  try {
    await api.create(type, object, { namespace });
  } catch (error) {
    if (!hasStatus(error, 409)) throw error;
    await api.patch(type, name, { data: object["data"] as JsonObject }, { namespace, type: "merge" });
  }
}
