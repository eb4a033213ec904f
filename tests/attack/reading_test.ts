/**
 * Hostile text through every way in: what it costs is bounded by its length. Costs are processor time, measured against a
 * plain pass over as many bytes in the same run, so that a slow or busy machine changes nothing.
 */
import { assert, assertEquals } from "@std/assert";
import { createHmac } from "node:crypto";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { LONG, SHOW } from "./form.ts";
import { report } from "../cluster/watching.ts";
import { HOSTILE_TEXTS } from "../support/hostile_texts.ts";
import { postFeeds } from "../support/post_feeds.ts";
import { DRAW_CONTEXT, EVENT_SETTINGS } from "../support/source_runtime.ts";
import { parseFilterDocuments } from "../../src/filters/document.ts";
import { createHttpApp, type HttpApp } from "../../src/http/app.ts";
import { addressSet, createBodyLimits } from "../../src/http/request.ts";
import type { KubeObject } from "../../src/kube/api.ts";
import { sourceOf } from "../../src/mapped/activate.ts";
import { compileMapped } from "../../src/mapped/compile.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { systemClock } from "../../src/model/time.ts";
import { createDedup } from "../../src/pipeline/dedup.ts";
import { createIntake } from "../../src/pipeline/intake.ts";
import { createTextLimits, createTimeSlices, NO_LIMITS } from "../../src/pipeline/limits.ts";
import { audit } from "../../src/sources/audit/mod.ts";
import { falco } from "../../src/sources/falco/mod.ts";
import { configMapPayload } from "../../src/sources/feeds/pulled.ts";
import { SOURCES } from "../../src/sources/registry.ts";
import type { Source } from "../../src/sources/source.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";

/** Alerts and audit events of few long parts, each of which a reader could cut up or rewrite as a whole. */
const LONG_PARTS: Readonly<Record<string, (bytes: number) => Uint8Array>> = {
  "an alert with long arguments": alertOf('"output_fields":{"evt.args":"', "fd=12 ", '"}'),
  "an alert with a tag of dots": alertOf('"tags":["T1548', ".", '"]'),
  "an alert with a name of dots": alertOf('"output_fields":{"proc.', ".", '":1}'),
  "an alert with a list of texts": alertOf('"output_fields":{"f":["', `token=${"v".repeat(1_200)}","`, '"]}'),
  "an alert with a long name before others": alertOf(
    '"output_fields":{"',
    "k",
    `":{${Array.from({ length: 1_000 }, (_, index) => `"f${index}":1`).join()}}}`,
  ),
  "an audit event with escapes in its query": execOf("%41"),
  "an audit event with broken escapes in its query": execOf("%ff"),
  "an audit event with many arguments in its query": execOf("a&command="),
  "an audit event of many privileged containers": (bytes) =>
    auditEventOf(podBody(
      `{"spec":{"containers":[${
        listOf(
          (index) => `{"name":"c${index}","image":"i${index}","securityContext":{"privileged":true}}`,
          bytes,
        )
      }]}}`,
    )),
  "an audit event of a long patch": (bytes) =>
    auditEventOf(podBody(
      `[${listOf(() => '{"op":"copy","path":"/spec/ephemeralContainers/0","from":"/x"}', bytes)}]`,
      "ephemeralcontainers",
    )),
  "an audit event whose refusal repeats its user": (bytes) => {
    const told = '" cannot '.repeat((bytes - 400) / 40);
    return auditEventOf(
      `"user":{"username":"${told}"},"responseStatus":{"code":403,"message":"${told.repeat(3)}"}`,
    );
  },
};
const TEXTS = { ...HOSTILE_TEXTS, ...LONG_PARTS };
const MIB = 2 ** 20;
const BYTES = LONG ? 16 * MIB : MIB / 2;
/** The lowest of this many measurements, and of more where that is too slow, since the first ones run before the code is compiled. */
const ROUNDS = LONG ? 2 : 3, MOST_ROUNDS = 12;
/** Plain passes over a text that reading it may cost: a pass takes about 0.4 ms per MiB, reading at most 40 ms. */
const MAX_PASSES = 100;
/** Plain passes over a MiB between two turns of the event loop: 50 ms. */
const MAX_SLICE_PASSES = 125;
/** A request costs something however short its text is. */
const FIXED_PASSES = 20;

/** An exec whose command is `unit` again and again. */
function execOf(unit: string): (bytes: number) => Uint8Array {
  return (bytes) =>
    auditEventOf(
      `"requestURI":"/x?command=${unit.repeat((bytes - 400) / unit.length)}",` +
        '"objectRef":{"resource":"pods","subresource":"exec","namespace":"shop","name":"web"}',
    );
}

/** The members of an event about a Pod with this body. */
function podBody(requestObject: string, subresource = ""): string {
  return `"objectRef":{"resource":"pods","subresource":"${subresource}","name":"web"},"requestObject":${requestObject}`;
}

/** As many items as fit into the bytes. */
function listOf(item: (index: number) => string, bytes: number): string {
  const items: string[] = [];
  for (let length = 400; length < bytes;) length += items[items.push(item(items.length)) - 1]!.length + 1;
  return items.slice(0, -1).join();
}

/** Reports of one long text each, by the source that reads them. */
const REPORTS: Readonly<Record<string, Readonly<Record<string, (bytes: number) => Uint8Array>>>> = {
  trivy: {
    "a message that names its ReplicaSet": trivyCheck("messages", "ReplicaSet 'web-5d4f8c7b9d' "),
    "a message that nearly names it": trivyCheck("messages", `ReplicaSet.apps....${"a".repeat(63)}`),
    "a description": trivyCheck("description", "ReplicaSet 'web-5d4f8c7b9d' "),
    "the id of a check": trivyCheck("checkID", "1"),
    "the target of a vulnerability": (bytes) =>
      trivyReport("VulnerabilityReport", {
        vulnerabilities: [{ vulnerabilityID: "CVE-2026-1", target: long("(a a a ", bytes) }],
      }),
    "the path of a secret": (bytes) =>
      trivyReport("ExposedSecretReport", { secrets: [{ ruleID: "r", target: long("(a a a ", bytes) }] }),
  },
  kyverno: {
    "a message of numbers": policyReport("message", "1.2 "),
    "a rule": policyReport("rule", "autogen-"),
    "the name of a resource": (bytes) =>
      policyResult({ resources: [{ kind: "Pod", name: long("a-", bytes) }] }),
    "a property": (bytes) => policyResult({ properties: { details: long("token=x ", bytes) } }),
  },
  "kube-bench": {
    "a remediation": kubeBenchResult("remediation", "kubelet --token=x "),
    "a status": kubeBenchResult("status", "fail "),
    "the number of a test": kubeBenchResult("test_number", "1."),
  },
  checkov: {
    "the resource of an overlay": checkovResult("resource", "overlay::A"),
    "the file of an image": checkovResult("file_path", "a (a@a lines:1-1 (sha256:1) "),
    "a title": checkovResult("check_name", "word (a "),
  },
};

function long(unit: string, bytes: number): string {
  return unit.repeat((bytes - 1_000) / unit.length);
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

function trivyReport(kind: string, content: JsonObject): Uint8Array {
  const labels = {
    "trivy-operator.resource.kind": "ReplicaSet",
    "trivy-operator.resource.name": "web-5d4f8c7b9d",
    "trivy-operator.resource.namespace": "shop",
  };
  return json({
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind,
    metadata: { name: "r", namespace: "shop", labels },
    report: content,
  });
}

function trivyCheck(field: string, unit: string): (bytes: number) => Uint8Array {
  return (bytes) => {
    const text = `web-5d4f8c7b9d ${long(unit, bytes)}`;
    const said = field === "messages" ? [text] : text;
    return trivyReport("ConfigAuditReport", { checks: [{ checkID: "KSV001", [field]: said }] });
  };
}

function policyResult(more: JsonObject): Uint8Array {
  return json({
    apiVersion: "wgpolicyk8s.io/v1alpha2",
    kind: "PolicyReport",
    metadata: { name: "r", namespace: "shop" },
    results: [{ policy: "p", source: "tracee", result: "fail", ...more }],
  });
}

function policyReport(field: string, unit: string): (bytes: number) => Uint8Array {
  return (bytes) => policyResult({ [field]: long(unit, bytes) });
}

function kubeBenchResult(field: string, unit: string): (bytes: number) => Uint8Array {
  return (bytes) => {
    const result = { test_number: "4.1.1", status: "FAIL", [field]: long(unit, bytes) };
    return json({ Controls: [{ version: "cis-1.8", tests: [{ section: "4.1", results: [result] }] }] });
  };
}

function checkovResult(field: string, unit: string): (bytes: number) => Uint8Array {
  return (bytes) =>
    json({
      check_type: "dockerfile",
      results: { failed_checks: [{ check_id: "CKV_1", check_name: "t", [field]: long(unit, bytes) }] },
    });
}

function auditEventOf(members: string): Uint8Array {
  return new TextEncoder().encode(
    `{"kind":"Event","auditID":"a","stage":"ResponseComplete","verb":"create",${members}}`,
  );
}

/** Makes an alert whose one member is `unit` again and again. */
function alertOf(head: string, unit: string, tail: string): (bytes: number) => Uint8Array {
  return (bytes) => {
    const times = Math.floor((bytes - 100) / unit.length);
    return new TextEncoder().encode(`{"rule":"R",${head}${unit.repeat(times)}${tail}}`);
  };
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

const ZEROS = new Uint8Array(MIB);

/**
 * The cost of a plain pass over a MiB. The loop is not in a function of its own: V8 would put that into the compiled caller,
 * in which it does not optimize a loop that is running, and a pass would then cost eight times as much.
 */
function passMs(): number {
  let total = 0;
  const before = cpuMs();
  for (let times = 0; times < 8; times++) {
    for (let index = 0; index < ZEROS.length; index++) total += ZEROS[index] ?? 0;
  }
  const ms = (cpuMs() - before) / 8;
  assertEquals(total, 0);
  return ms;
}

/** What `JSON.parse` of the text costs, which no reader can do without where it may be parsed. */
function parseMs(bytes: Uint8Array): number {
  const before = cpuMs();
  try {
    JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // It is not JSON.
  }
  return cpuMs() - before;
}

/** What work costs, and the most of it between two turns of the event loop. */
async function costOf(
  work: () => Promise<unknown>,
): Promise<{ readonly totalMs: number; readonly sliceMs: number }> {
  let sliceMs = 0;
  let last = cpuMs();
  let isDone = false;
  const start = last;
  const turns = (async () => {
    while (!isDone) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      const now = cpuMs();
      sliceMs = Math.max(sliceMs, now - last);
      last = now;
    }
  })();
  await work();
  const totalMs = cpuMs() - start;
  isDone = true;
  await turns;
  return { totalMs, sliceMs };
}

/** Text as it comes from the network: in pieces, each at a turn of its own. */
function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at += 64 * 1024));
    },
  });
}

const SECRET = "secret";
const MAPPED: KubeObject = {
  apiVersion: "zen.kube-zen.io/v1alpha1",
  kind: "Ingester",
  metadata: { name: "generic", namespace: "zen-system" },
  spec: {
    source: "generic",
    type: "webhook",
    webhook: { path: "/generic/webhook", auth: { type: "hmac", secretName: "generic" } },
    mapping: { severity: ".severity", category: "security", eventType: "finding", message: ".rule" },
  },
};

/** The Ingester, or one that is a further way in for a built-in source. */
function mappedSource(builtin?: Source): Source {
  const spec = builtin &&
    { source: builtin.name, type: "webhook", webhook: { path: `/${builtin.name}/webhook` } };
  const compiled = compileMapped(spec ? { ...MAPPED, spec } : MAPPED);
  assert(compiled.ok, JSON.stringify(compiled));
  const source = sourceOf(compiled.value, {
    id: "Ingester zen-system/generic",
    namespace: "zen-system",
    revision: "1",
    builtin,
    resources: [],
    secret: () => SECRET,
  });
  assert(source);
  return source;
}

/** The program's HTTP app, whose store takes everything. */
function startHttp(): HttpApp {
  const slices = createTimeSlices(systemClock);
  const intake = createIntake({
    steps: {
      filter: () => undefined,
      inScope: () => true,
      admits: () => "admitted",
      dedup: createDedup({ index: { newest: () => undefined }, maxSize: 10_000 }),
    },
    limits: { ...NO_LIMITS, slices },
    store: { write: () => Promise.resolve({ outcome: { kind: "created" } }), repeat() {} },
    recorder: { open: () => ({ settle() {} }), payloadError() {} },
    settings: EVENT_SETTINGS,
    context: () => DRAW_CONTEXT,
  });
  return createHttpApp({
    version: "",
    live: () => ({ ok: true, reasons: [], checks: {} }),
    ready: () => ({ ok: true, reasons: [], checks: {} }),
    status: () => ({}),
    admissionWriters: () => [],
    exceptionMaxDays: 365,
    posts: postFeeds([falco, audit, mappedSource(), ...REPORT_SOURCES.map(mappedSource)], {
      take: intake.take,
    }),
    token: { current: "" },
    clientCertificates: false,
    allowedIps: addressSet([]),
    trustedProxies: addressSet([]),
    allow: () => true,
    bodies: createBodyLimits({ maxBytes: 16 * MIB, memoryBytes: Infinity }),
    slices,
    pathsKnown: () => true,
    clock: systemClock,
    signal: new AbortController().signal,
    metrics: createMetrics(),
  });
}

/** A way in: makes what a sender sends of a text, which is not measured, and gives the function that reads it. */
type WayIn = (bytes: Uint8Array<ArrayBuffer>) => () => Promise<unknown>;

const REPORT_SOURCES = SOURCES.filter(({ name }) => REPORTS[name]);

function waysIn(): Readonly<Record<string, WayIn>> {
  const app = startHttp();
  const post = (path: string, sign?: (bytes: Uint8Array) => string): WayIn => (bytes) => {
    const headers: Record<string, string> = sign ? { "x-hub-signature-256": sign(bytes) } : {};
    return async () => {
      const init = { method: "POST", body: streamOf(bytes), headers };
      const response = await app.request(path, init, { peer: "10.1.2.3", isTls: true });
      await response.body?.cancel();
      assert([200, 400, 401, 413, 422].includes(response.status), `answered ${response.status}`);
    };
  };
  const signed = (bytes: Uint8Array) => `sha256=${createHmac("sha256", SECRET).update(bytes).digest("hex")}`;
  const configMap = (make: (bytes: Uint8Array) => Partial<KubeObject>): WayIn => (bytes) => {
    const object = { metadata: { name: "n", namespace: "ns" }, ...make(bytes) };
    const limits = createTextLimits({ maxBytes: 16 * MIB, memoryBytes: Infinity });
    const { signal } = new AbortController();
    return async () => {
      const slices = createTimeSlices(systemClock);
      const options = { key: "results.json", receivedAt: 0, limits, slices, signal, onError() {} };
      const found = await configMapPayload(object, options);
      found?.share?.[Symbol.dispose]();
    };
  };
  const decoder = new TextDecoder();
  return {
    "the Falco webhook": post("/falco/webhook"),
    "the audit webhook": post("/audit/webhook"),
    "an Ingester's webhook, signed": post("/generic/webhook", signed),
    "an Ingester's webhook, signed by a stranger": post("/generic/webhook", () => `sha256=${"0".repeat(64)}`),
    ...Object.fromEntries(REPORT_SOURCES.map(({ name }) => [name, post(`/${name}/webhook`)])),
    "the admission webhook": post("/admission/validate"),
    "a ConfigMap": configMap((bytes) => ({ data: { "results.json": decoder.decode(bytes) } })),
    "a ConfigMap, compressed": configMap((bytes) => ({
      binaryData: { "results.json": gzipSync(bytes).toString("base64") },
    })),
    "the filters": (bytes) => () =>
      Promise.resolve(parseFilterDocuments(decoder.decode(bytes.subarray(0, 512 * 1024)), "filters").ok),
  };
}

for (let times = 0; times < 20; times++) passMs(); // compiled from here on

for (const [way, prepare] of Object.entries(waysIn())) {
  Deno.test(`${way} reads hostile text at a cost that its length bounds`, async () => {
    const slow: string[] = [];
    let worst = { name: "", msOfMib: 0 };
    const texts = REPORTS[way] ?? TEXTS;
    for (const [name, make] of Object.entries(texts)) {
      const bytes = make(BYTES - 1024) as Uint8Array<ArrayBuffer>;
      const read = prepare(bytes);
      let total = Infinity, slice = Infinity, parse = Infinity, ms = Infinity, sliceMs = Infinity;
      const mib = bytes.length / MIB;
      const isSlow = () =>
        total > MAX_PASSES * mib + FIXED_PASSES + parse || slice > MAX_SLICE_PASSES + parse;
      for (let round = 0; round < ROUNDS || (isSlow() && round < MOST_ROUNDS); round++) {
        // Before each, so that what else runs on the machine slows both down.
        const pass = passMs();
        const cost = await costOf(read);
        total = Math.min(total, cost.totalMs / pass);
        ms = Math.min(ms, cost.totalMs);
        slice = Math.min(slice, cost.sliceMs / pass);
        sliceMs = Math.min(sliceMs, cost.sliceMs);
        parse = Math.min(parse, parseMs(bytes) / pass);
      }
      const cost = `${(total / mib).toFixed(0)} passes, ${slice.toFixed(0)} in one slice`;
      if (SHOW) {
        report(`${way}, ${name}`, {
          "passes": total / mib,
          "passes of a slice": slice,
          "ms of a slice": sliceMs,
          "µs of a pass": passMs() * 1_000,
        });
      }
      if (ms / mib > worst.msOfMib) worst = { name, msOfMib: ms / mib };
      if (isSlow()) slow.push(`${name}: ${cost}; JSON.parse alone: ${(parse / mib).toFixed(0)}`);
    }
    if (SHOW) {
      report(`${way}, the worst of ${Object.keys(texts).length}: ${worst.name}`, {
        "ms of CPU per MiB": worst.msOfMib,
      });
    }
    assertEquals(slow, []);
  });
}
