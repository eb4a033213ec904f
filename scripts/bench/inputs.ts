/** What is sent: alerts of Falco as the samples have them, audit batches, Trivy's reports, and bare Observations. */
import type { Json, JsonObject } from "../../src/model/json.ts";
import { isObject } from "../../src/model/json.ts";
import type { NormalEvent } from "../../src/model/event.ts";
import type { KubeObject, ResourceType } from "../../src/kube/api.ts";
import { toObservation } from "../../src/pipeline/normalize.ts";
import { falco } from "../../src/sources/falco/mod.ts";
import { RESERVED_SOURCES } from "../../src/sources/registry.ts";
import type { Source } from "../../src/sources/source.ts";
import { runtimeOf } from "../../src/sources/active.ts";
import { readSettings } from "../../src/settings.ts";
import { NAMESPACE } from "./access.ts";

/** Which bodies; every number makes one of its own, the same number the same event. */
export type Input = "alert" | "observation" | "audit";

export const AUDIT_BATCH = 400;
/** Of a batch's events so many are acts of interest; the others are read and left. */
export const AUDIT_RELEVANT = 20;

/** What carries the number of an event in every stored Observation and every line of a watch. */
export function nameOf(run: string, index: number): string {
  return `bench-${run}-${index}`;
}

/** Finds the number again. */
export function numberPattern(run: string): RegExp {
  return new RegExp(`bench-${run}-(\\d+)`);
}

const SAMPLES = new URL("../samples/", import.meta.url);
const settings = readSettings(() => undefined);

/** A source as the program runs it under default settings. */
export function runtimeFor(source: Source) {
  const [feed] = source.feeds;
  if (!feed) throw new Error(`Cannot run source "${source.name}": it has no feed`);
  const context = () => ({ ownUser: "", reservedSources: RESERVED_SOURCES });
  return runtimeOf({ source, feed }, { settings, context });
}

/** The normal events of a payload. */
export function normalEvents(source: Source, body: Json): NormalEvent[] {
  const runtime = runtimeFor(source);
  const payload = { body, origin: { confined: false }, receivedAt: Date.now() };
  return [...runtime.draw(payload)].flatMap((drawn) =>
    "event" in drawn ? [runtime.normalize(drawn.event, payload)] : []
  );
}

/** Makes bodies, as text: what is timed is sending, not making them. */
export async function bodyMaker(input: Input, run: string): Promise<(index: number) => string> {
  if (input === "audit") return (index) => JSON.stringify(auditBatch(run, index));
  const template = await alertTemplate();
  if (input === "alert") return (index) => JSON.stringify(alert(template, run, index));
  return (index) => {
    const [event] = normalEvents(falco, alert(template, run, index));
    if (!event) throw new Error("Cannot make an Observation: the sample alert gives no event");
    return JSON.stringify(toObservation(event, 1, { instance: "default", eventId: crypto.randomUUID() }));
  };
}

/** The first sample alert. */
export async function alertTemplate(): Promise<JsonObject> {
  const [line = ""] = (await Deno.readTextFile(new URL("falco.ndjson", SAMPLES))).split("\n");
  const value: unknown = JSON.parse(line);
  if (!isObject(value)) throw new Error("Cannot read the sample alert: it is no object");
  return value;
}

/** The alert about a Pod of its own, at this moment. */
export function alert(template: JsonObject, run: string, index: number): JsonObject {
  const fields = isObject(template.output_fields) ? template.output_fields : {};
  const time = new Date().toISOString();
  return {
    ...template,
    time,
    output_fields: {
      ...fields,
      "evt.time.iso8601": Date.now() * 1e6,
      "k8s.ns.name": NAMESPACE,
      "k8s.pod.name": nameOf(run, index),
    },
  };
}

/** A batch as the API server's webhook backend posts them: two stages a request, one request in ten of interest. */
function auditBatch(run: string, batch: number): JsonObject {
  const requests = AUDIT_BATCH / 2;
  const each = requests / AUDIT_RELEVANT;
  const items = Array.from({ length: requests }, (_, index) => {
    const name = nameOf(run, batch * AUDIT_RELEVANT + Math.floor(index / each));
    return auditEvents({ name, isExec: index % each === 0, number: batch * requests + index });
  });
  return { kind: "EventList", apiVersion: "audit.k8s.io/v1", metadata: {}, items: items.flat() };
}

function auditEvents(
  { name, isExec, number }: { name: string; isExec: boolean; number: number },
): JsonObject[] {
  const time = new Date().toISOString();
  const base: JsonObject = {
    level: "Metadata",
    auditID: `${name}-${number}`,
    requestURI: `/api/v1/namespaces/${NAMESPACE}/pods/${name}${isExec ? "/exec?command=sh" : ""}`,
    verb: isExec ? "create" : "get",
    user: { username: "jane", groups: ["developers", "system:authenticated"] },
    sourceIPs: ["10.0.0.7"],
    userAgent: "kubectl/v1.34.1 (linux/amd64) kubernetes/93248f9",
    objectRef: {
      resource: "pods",
      namespace: NAMESPACE,
      name,
      apiVersion: "v1",
      ...(isExec ? { subresource: "exec" } : {}),
    },
    requestReceivedTimestamp: time,
    stageTimestamp: time,
  };
  return [
    { ...base, stage: "RequestReceived" },
    {
      ...base,
      stage: "ResponseComplete",
      responseStatus: { metadata: {}, code: isExec ? 101 : 200 },
      annotations: { "authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "" },
    },
  ];
}

export const REPORTS: ResourceType = {
  group: "aquasecurity.github.io",
  version: "v1alpha1",
  plural: "vulnerabilityreports",
  kind: "VulnerabilityReport",
  namespaced: true,
};
export const FINDINGS_PER_REPORT = 50;

/** A report of one workload's vulnerabilities. */
export function vulnerabilityReport(run: string, index: number): KubeObject {
  const name = nameOf(run, index);
  return {
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind: "VulnerabilityReport",
    metadata: {
      name: `replicaset-${name}-app`,
      namespace: NAMESPACE,
      labels: {
        "trivy-operator.resource.kind": "ReplicaSet",
        "trivy-operator.resource.name": name,
        "trivy-operator.resource.namespace": NAMESPACE,
        "trivy-operator.container.name": "app",
      },
    },
    report: {
      updateTimestamp: "2026-01-01T00:00:00Z",
      registry: { server: "index.docker.io" },
      artifact: { repository: "library/app", tag: "1.0" },
      scanner: { name: "Trivy", vendor: "Aqua Security", version: "0.57.0" },
      summary: { criticalCount: 1, highCount: 9, mediumCount: 40, lowCount: 0, unknownCount: 0 },
      vulnerabilities: Array.from({ length: FINDINGS_PER_REPORT }, (_, number) => vulnerability(number)),
    },
  };
}

function vulnerability(number: number): JsonObject {
  return {
    vulnerabilityID: `CVE-2026-${10_000 + number}`,
    resource: `lib${number % 10}`,
    installedVersion: "1.2.3-4",
    fixedVersion: "1.2.4-1",
    severity: number === 0 ? "CRITICAL" : number < 10 ? "HIGH" : "MEDIUM",
    title: `lib${number % 10}: a buffer overflow in the parser of a header allows remote code execution`,
    primaryLink: `https://avd.aquasec.com/nvd/cve-2026-${10_000 + number}`,
    score: 7.5,
    target: "library/app (debian 12.5)",
    links: [],
  };
}
