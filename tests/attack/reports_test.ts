/**
 * Reports and payloads whose findings share one long text: each finding costs about as much as an ordinary one, however long
 * that text is, and none is lost.
 */
import { assertEquals } from "@std/assert";
import process from "node:process";
import { LONG, SHOW } from "./form.ts";
import { report } from "../cluster/watching.ts";
import { DRAW_CONTEXT, EVENT_SETTINGS, feedOf } from "../support/source_runtime.ts";
import { sourceOf } from "../../src/mapped/activate.ts";
import { compileMapped } from "../../src/mapped/compile.ts";
import type { Json, JsonObject } from "../../src/model/json.ts";
import { systemClock } from "../../src/model/time.ts";
import { createDedup } from "../../src/pipeline/dedup.ts";
import { createIntake } from "../../src/pipeline/intake.ts";
import { createTimeSlices, NO_LIMITS } from "../../src/pipeline/limits.ts";
import { SOURCES } from "../../src/sources/registry.ts";
import type { Source } from "../../src/sources/source.ts";

const MIB = 2 ** 20;
/** As long as a text can be in an object that etcd holds; in the long form, in a body. */
const TEXT_BYTES = LONG ? 16 * MIB : MIB;
const FINDINGS = 400;
/** Ordinary findings that one may cost: 8 KiB of details, all of them secrets, take forty times as long as a few words. */
const MAX_COST = 80;
/** Memory in use, above that of the payload. */
const MAX_MIB = 128;

function long(unit: string, bytes = TEXT_BYTES): string {
  return unit.repeat(bytes / unit.length);
}

function many<T extends Json>(of: (index: number) => T): T[] {
  return Array.from({ length: FINDINGS }, (_, index) => of(index));
}

const SECRETS = "password=x --token y ";

function policyReport(results: readonly JsonObject[], more: JsonObject = {}): JsonObject {
  return {
    apiVersion: "wgpolicyk8s.io/v1alpha2",
    kind: "PolicyReport",
    metadata: { name: "r", namespace: "shop" },
    results: results.map((result) => ({ policy: "p", rule: "r", result: "fail", ...result })),
    ...more,
  };
}

/** One result with many resources. */
function resources(result: JsonObject, kind = "Pod"): JsonObject {
  const each = many((index) => ({
    apiVersion: "v1",
    kind,
    name: `web-5d4f8c7b9d-${index}`,
    namespace: "shop",
  }));
  return policyReport([{ ...result, resources: each }]);
}

function trivyReport(kind: string, content: JsonObject, labels: JsonObject = {}): JsonObject {
  return {
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind,
    metadata: { name: "r", namespace: "shop", labels },
    report: content,
  };
}

const vulnerabilities = () =>
  many((index) => ({ vulnerabilityID: `CVE-2026-${index}`, resource: "libssl3" }));
const checks = () => many((index) => ({ checkID: `KSV${index}`, messages: ["ReplicaSet 'web' has it"] }));
const failedChecks = () =>
  many((index) => ({ check_id: `CKV_${index}`, check_name: "t", resource: "Deployment.shop.web" }));
const controls = (control: JsonObject, test: JsonObject = {}) => ({
  Controls: [{
    version: "cis-1.8",
    node_type: "node",
    tests: [{
      section: "4.1",
      desc: "Kubelet",
      results: many((index) => ({ test_number: `4.1.${index}`, status: "FAIL" })),
      ...test,
    }],
    ...control,
  }],
});

/** By source, and what its findings share. */
const REPORTS: Readonly<Record<string, readonly [source: string | Source, payload: () => Json]>> = {
  "kyverno: a message of many resources": ["kyverno", () => resources({ message: long("some words 12 ") })],
  "kyverno: an unfinished escape sequence": ["kyverno", () => resources({ message: `\x1b[${long("0")}` })],
  "kyverno: a policy": ["kyverno", () => resources({ policy: long("p-") })],
  "kyverno: another engine's message": [
    "kyverno",
    () => resources({ source: "tracee", message: long("some words 12 ") }),
  ],
  "kyverno: another engine's message that names Pods": [
    "kyverno",
    () => resources({ source: "tracee", message: long("web-5d4f8c7b9d-1 ") }),
  ],
  "kyverno: another engine's properties": ["kyverno", () =>
    resources({
      source: "tracee",
      properties: {
        reason: long(SECRETS, MIB / 2),
        resource: long("ab", MIB / 2),
        index: `c${long("ab", 9)}`,
      },
    })],
  "kyverno: the engine of a report": [
    "kyverno",
    () => policyReport(many((index) => ({ rule: `r${index}` })), { source: long("engine ") }),
  ],
  "kyverno: the name of a report": [
    "kyverno",
    () =>
      policyReport(many((index) => ({ rule: `r${index}` })), {
        metadata: { namespace: "shop", name: long("name ") },
      }),
  ],
  "kyverno: the scope of a report": [
    "kyverno",
    () =>
      policyReport(many((index) => ({ rule: `r${index}` })), { scope: { kind: "Pod", name: long("name-") } }),
  ],
  "trivy: a repository": ["trivy", () =>
    trivyReport("VulnerabilityReport", {
      artifact: { repository: long("repo/") },
      vulnerabilities: vulnerabilities(),
    })],
  "trivy: a container": [
    "trivy",
    () =>
      trivyReport("VulnerabilityReport", { vulnerabilities: vulnerabilities() }, {
        "trivy-operator.container.name": long("c-"),
      }),
  ],
  "trivy: the name of a ReplicaSet": [
    "trivy",
    () =>
      trivyReport("ConfigAuditReport", { checks: checks() }, {
        "trivy-operator.resource.kind": "ReplicaSet",
        "trivy-operator.resource.name": `${long("a")}-5d4f8c7b9d`,
      }),
  ],
  "kube-bench: a benchmark": ["kube-bench", () => controls({ version: long("cis-") })],
  "kube-bench: a section": ["kube-bench", () => controls({}, { desc: long("Kubelet ") })],
  "checkov: a framework": [
    "checkov",
    () => ({ check_type: long("kubernetes "), results: { failed_checks: failedChecks() } }),
  ],
  "an Ingester: a text above the items": [
    mapped({ message: "$.title", details: { title: "$.title" } }),
    () => ({ title: long(SECRETS), items: many((index) => ({ index })) }),
  ],
  "an Ingester: an object above the items": [
    mapped({ message: ".index", details: { labels: "$.labels" }, identity: ["$.labels", ".index"] }),
    () => ({
      labels: Object.fromEntries(
        Array.from({ length: 9_000 }, (_, index) => [`k${index}`, long("word ", 100)]),
      ),
      items: many((index) => ({ index })),
    }),
  ],
};

function mapped(mapping: JsonObject): Source {
  const compiled = compileMapped({
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "Ingester",
    metadata: { name: "tool", namespace: "zen-system" },
    spec: {
      source: "tool",
      type: "webhook",
      webhook: { path: "/tool" },
      mapping: {
        forEach: ".items[*]",
        severity: "high",
        category: "security",
        eventType: "finding",
        ...mapping,
      },
    },
  });
  const source = compiled.ok && sourceOf(compiled.value, {
    id: "Ingester zen-system/tool",
    namespace: "zen-system",
    revision: "1",
    builtin: undefined,
    resources: [],
    secret: () => "",
  });
  if (!source) throw new Error(`Cannot compile a mapping: ${JSON.stringify(compiled)}`);
  return source;
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

interface Cost {
  readonly findings: number;
  readonly msOfFinding: number;
  /** The most memory in use beyond that of the payload. */
  readonly mib: number;
}

/** Takes a payload in as the program does, with a store that takes everything. */
async function costOf(named: string | Source, body: Json): Promise<Cost> {
  const source = typeof named === "string" ? SOURCES.find(({ name }) => name === named) : named;
  if (!source) throw new Error(`Cannot find source "${named}"`);
  const before = Deno.memoryUsage().heapUsed;
  let most = 0, decided = 0;
  const intake = createIntake({
    steps: {
      filter: () => {
        if (decided++ % 64 === 0) most = Math.max(most, Deno.memoryUsage().heapUsed - before);
        return undefined;
      },
      inScope: () => true,
      admits: () => "admitted",
      dedup: createDedup({ index: { newest: () => undefined }, maxSize: 10_000 }),
    },
    limits: { ...NO_LIMITS, slices: createTimeSlices(systemClock) },
    store: { write: () => Promise.resolve({ outcome: { kind: "created" } }), repeat() {} },
    recorder: { open: () => ({ settle() {} }), payloadError() {} },
    settings: EVENT_SETTINGS,
    context: () => DRAW_CONTEXT,
  });
  const start = cpuMs();
  const payload = {
    body,
    origin: { namespace: "shop", name: "r", confined: false },
    receivedAt: systemClock.now(),
  };
  const { received } = await intake.take(source, payload, {
    feed: feedOf(source),
    signal: new AbortController().signal,
    correlationId: "",
  });
  return { findings: received, msOfFinding: (cpuMs() - start) / received, mib: most / MIB };
}

const ORDINARY = () => resources({ message: "some words 12" });

for (const [name, [source, payload]] of Object.entries(REPORTS)) {
  Deno.test(`${name}, of ${TEXT_BYTES / MIB} MiB and shared by ${FINDINGS} findings, costs each of them little`, async () => {
    await costOf("kyverno", ORDINARY()); // compiles it
    const { msOfFinding: ordinaryMs } = await costOf("kyverno", ORDINARY());
    const { findings, msOfFinding, mib } = await costOf(source, payload());
    if (SHOW) {
      report(name, { "findings": findings, "µs of CPU for each": 1_000 * msOfFinding, "MiB": mib });
    }
    assertEquals(findings, FINDINGS);
    const excess = [
      ...(msOfFinding > MAX_COST * ordinaryMs ? [`${msOfFinding / ordinaryMs} ordinary findings`] : []),
      ...(mib > MAX_MIB ? [`${mib} MiB`] : []),
    ];
    assertEquals(excess, []);
  });
}
