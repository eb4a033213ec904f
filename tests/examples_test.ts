/**
 * Every manifest of `examples/` draws, from its tool's real output, the Observations that
 * `tests/fixtures/sources/mapped-<manifest>/<case>/expected.json` says. To change them:
 * `UPDATE_EXPECTED=1 deno test -A tests/examples_test.ts`, then read the difference.
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { NormalEvent, Payload } from "../src/model/event.ts";
import { isObject, type Json, type JsonObject } from "../src/model/json.ts";
import type { Observation } from "../src/model/observation.ts";
import type { PayloadError } from "../src/model/outcome.ts";
import { compileFilters } from "../src/filters/filter.ts";
import { toObservation } from "../src/pipeline/normalize.ts";
import type { Source } from "../src/sources/source.ts";
import { exampleSource, inForce, loadExamples } from "./support/examples.ts";
import {
  loadDocuments,
  loadPayloads,
  loadReportPayloads,
  pushedPayload,
  reportPayload,
} from "./support/load_fixture.ts";
import { DRAW_CONTEXT, feedOf, runtimeFor } from "./support/source_runtime.ts";

const FIXTURES = new URL("./fixtures/sources/", import.meta.url);
const UPDATE = Deno.env.get("UPDATE_EXPECTED") === "1";

interface Drawn {
  readonly events: readonly NormalEvent[];
  readonly errors: readonly PayloadError[];
}

/** Under default settings: without the time to live and the window that the manifest sets. */
function drawAll(source: Source, payloads: readonly Payload[]): Drawn {
  const { ingester: _, ...feed } = feedOf(source);
  const runtime = runtimeFor(source, feed);
  const events: NormalEvent[] = [];
  const errors: PayloadError[] = [];
  for (const payload of payloads) {
    for (const drawn of runtime.draw(payload)) {
      if ("error" in drawn) errors.push(drawn.error);
      else events.push(runtime.normalize(drawn.event, payload));
    }
  }
  return { events, errors };
}

/** What is stored, and what a filter or a resolution keeps from being so. */
function expectedOf(source: Source, { events, errors }: Drawn) {
  const document = feedOf(source).ingester?.filter;
  const filter = compileFilters(document ? [document] : []);
  const observations = new Map<string, Observation>();
  const resolved: string[] = [];
  const filtered: string[] = [];
  for (const event of events) {
    const generation = event.kind === "finding" ? 0 : 1;
    const observation = toObservation(event, generation, { instance: "default", eventId: "event-1" });
    const name = observation.metadata.name ?? "";
    const verdict = filter.evaluate(event);
    if (!verdict.pass) filtered.push(`${verdict.reason}: ${event.message}`);
    else if (event.resolved) resolved.push(name);
    else if (!observations.has(name)) observations.set(name, observation);
  }
  return { observations: [...observations.values()], resolved, filtered, errors };
}

async function manifests(): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(new URL("../examples/", import.meta.url))) {
    if (name.endsWith(".yaml")) names.push(name.slice(0, -".yaml".length));
  }
  return names.toSorted();
}

async function casesOf(manifest: string): Promise<{ name: string; input: string }[]> {
  const cases: { name: string; input: string }[] = [];
  for await (const folder of Deno.readDir(new URL(`mapped-${manifest}/`, FIXTURES))) {
    if (!folder.isDirectory) continue;
    for await (const file of Deno.readDir(new URL(`mapped-${manifest}/${folder.name}/`, FIXTURES))) {
      if (file.name.startsWith("input.")) cases.push({ name: folder.name, input: file.name });
    }
  }
  return cases.toSorted((a, b) => a.name < b.name ? -1 : 1);
}

for (const manifest of await manifests()) {
  const source = await exampleSource(`${manifest}.yaml`);
  const cases = await casesOf(manifest);

  Deno.test(`examples/${manifest}.yaml has real output to be tested with`, async () => {
    assert(cases.length > 0);
    const provenance = await Deno.readTextFile(new URL(`mapped-${manifest}/SOURCES.md`, FIXTURES));
    assert(provenance.includes("licence"));
  });

  for (const { name, input } of cases) {
    const path = `sources/mapped-${manifest}/${name}/${input}`;
    Deno.test(`examples/${manifest}.yaml draws the expected Observations of ${name}`, async () => {
      const { payloads } = await loadPayloads(path, source);
      const actual = JSON.parse(JSON.stringify(expectedOf(source, drawAll(source, payloads))));
      const golden = new URL(`mapped-${manifest}/${name}/expected.json`, FIXTURES);
      if (UPDATE) await Deno.writeTextFile(golden, `${JSON.stringify(actual, undefined, 1)}\n`);
      assertEquals(actual, JSON.parse(await Deno.readTextFile(golden)));
    });
  }

  Deno.test(`examples/${manifest}.yaml throws on no mutation of real output, and reports unreadable parts`, async () => {
    for (const { name, input } of cases) {
      const document = await firstBody(source, `sources/mapped-${manifest}/${name}/${input}`);
      const places = pathsOf(document);
      const mutation = fc.tuple(fc.constantFrom(...places), fc.constantFrom(...VALUES));
      fc.assert(
        fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
          const body = mutations.reduce((value, [place, put]) => replaced(value, place, put), document);
          const { events, errors } = drawAll(source, [pushedPayload(body)]);
          for (const event of events) assert(event.message.length > 0 && event.fingerprint.length === 64);
          for (const error of errors) assert(error.message.length > 0);
        }),
        { numRuns: 60 },
      );
    }
  });
}

/** What its driver hands in first: an object of a list, a request's body, a ConfigMap's content. */
async function firstBody(source: Source, path: string): Promise<Json> {
  if (feedOf(source).type === "watch") return (await loadReportPayloads(path))[0]?.body ?? null;
  return (await loadDocuments(path))[0] ?? null;
}

const VALUES: readonly Json[] = [
  null,
  true,
  -0,
  1e308,
  "",
  "\u202e\u0000\ud800",
  "x".repeat(5_000),
  [],
  {},
  [[]],
  JSON.parse('{"__proto__": {"name": 1}, "constructor": "x", "length": -1}'),
];

/** Places of a document, at most a few hundred, spread over it. */
function pathsOf(document: Json): (readonly string[])[] {
  const paths: string[][] = [[]];
  const visit = (value: Json, path: readonly string[]) => {
    if (value === null || typeof value !== "object" || path.length > 8) return;
    for (const [key, member] of Object.entries(value)) {
      if (key === "managedFields") continue;
      paths.push([...path, key]);
      visit(member, [...path, key]);
    }
  };
  visit(document, []);
  const step = Math.max(1, Math.floor(paths.length / 300));
  return paths.filter((_, index) => index % step === 0);
}

function replaced(value: Json, [key, ...rest]: readonly string[], put: Json): Json {
  if (key === undefined) return put;
  if (Array.isArray(value)) {
    return value.map((member, index) => String(index) === key ? replaced(member, rest, put) : member);
  }
  if (!isObject(value) || !Object.hasOwn(value, key)) return value;
  return { ...value, [key]: replaced(value[key] ?? null, rest, put) };
}

Deno.test("all examples can be active together", async () => {
  const { active } = inForce(await loadExamples());
  assertEquals(active.size, (await manifests()).length);
});

Deno.test("examples/alertmanager.yaml resolves the very finding that fired", async () => {
  const source = await exampleSource("alertmanager.yaml");
  const [firing, resolved] = await Promise.all(["firing-member", "resolved-member"].map(async (name) => {
    const { payloads } = await loadPayloads(`sources/mapped-alertmanager/${name}/input.json`, source);
    return drawAll(source, payloads).events[0];
  }));
  assertEquals([firing?.resolved, resolved?.resolved], [false, true]);
  assertEquals(resolved?.fingerprint, firing?.fingerprint);
});

Deno.test("examples/kubernetes-events.yaml counts an Event whose count rises as a repeat", async () => {
  const source = await exampleSource("kubernetes-events.yaml");
  const [payload] = await loadReportPayloads("sources/mapped-kubernetes-events/list/input.json")
    .then((all) => all.filter(({ body }) => isObject(body) && body.type === "Warning"));
  assert(payload && isObject(payload.body));
  const again = {
    ...payload,
    body: { ...payload.body, count: 7, lastTimestamp: "2026-11-22T02:45:00Z", message: "other pod" },
  };
  const { events } = drawAll(source, [payload, again]);
  assertEquals(events.length, 2);
  assertEquals(events[0]?.fingerprint, events[1]?.fingerprint);
  assertEquals(events[0]?.kind, "occurrence");
  assertEquals(feedOf(source).ingester?.windowSeconds, 3_600);
});

Deno.test("examples/kubernetes-events-k8s-io.yaml makes the same Observation of an Event as the manifest for the core group", async () => {
  const [core, group] = await Promise.all(
    ["kubernetes-events", "kubernetes-events-k8s-io"].map(async (name) => {
      const source = await exampleSource(`${name}.yaml`);
      const payloads = await loadReportPayloads(`sources/mapped-${name}/list/input.json`);
      return expectedOf(source, drawAll(source, payloads)).observations.map(({ spec }) => ({
        ...spec,
        source: "",
      }));
    }),
  );
  assert(core && core.length > 0);
  assertEquals(group, core);
});

Deno.test("examples/kubernetes-events.yaml keeps the paths that its Observations' names follow from", async () => {
  const { eventTypes } = await exampleSource("kubernetes-events.yaml");
  const involved = ["kind", "namespace", "name"].map((field) => `.involvedObject.${field}`);
  assertEquals(eventTypes["*"]?.identity, [
    ...involved,
    ".involvedObject.fieldPath",
    ".reason",
    ".source.component | .reportingComponent",
  ]);
});

Deno.test("examples/alertmanager.yaml names the affected resource, not the exporter", async () => {
  const source = await exampleSource("alertmanager.yaml");
  const exporter = {
    namespace: "monitoring",
    pod: "kube-state-metrics-0",
    container: "main",
    job: "kube-state-metrics",
  };
  const rows: [labels: JsonObject, kind: string | undefined, name?: string, namespace?: string][] = [
    [{ ...exporter, exported_namespace: "shop", exported_pod: "web-1" }, "Pod", "web-1", "shop"],
    [{ ...exporter, exported_namespace: "shop", deployment: "web" }, "Deployment", "web", "shop"],
    [{ ...exporter, namespace: "shop", deployment: "web" }, "Deployment", "web", "shop"],
    [{ ...exporter, namespace: "shop", statefulset: "db" }, "StatefulSet", "db", "shop"],
    [{ ...exporter, exported_namespace: "shop", daemonset: "agent" }, "DaemonSet", "agent", "shop"],
    [{ ...exporter, exported_namespace: "shop", job_name: "backup" }, "Job", "backup", "shop"],
    [
      { namespace: "shop", persistentvolumeclaim: "data", node: "n1" },
      "PersistentVolumeClaim",
      "data",
      "shop",
    ],
    [{ ...exporter, exported_namespace: "shop" }, "Namespace", "shop", "shop"],
    [{ ...exporter, exported_node: "n1" }, "Node", "n1"],
    [{ namespace: "kube-system", node: "n1" }, "Node", "n1"],
    [{ namespace: "shop", pod: "web-1", container: "web" }, "Pod", "web-1", "shop"],
    [{ job: "etcd" }, undefined],
    // kube-state-metrics of kube-prometheus-stack: its labels are honored, and pod is its own where the object has none.
    [{ ...exporter, node: "n3", condition: "Ready", status: "true" }, "Node", "n3"],
    [
      { ...exporter, node: "n3", key: "node.kubernetes.io/unreachable", effect: "NoSchedule" },
      "Node",
      "n3",
    ],
    [
      { ...exporter, namespace: "shop", horizontalpodautoscaler: "web" },
      "HorizontalPodAutoscaler",
      "web",
      "shop",
    ],
    [{ ...exporter, namespace: "shop", poddisruptionbudget: "web" }, "PodDisruptionBudget", "web", "shop"],
    [
      { ...exporter, namespace: "shop", resourcequota: "quota", resource: "pods" },
      "ResourceQuota",
      "quota",
      "shop",
    ],
    [{ ...exporter, namespace: "shop", cronjob: "nightly" }, "CronJob", "nightly", "shop"],
    [{ ...exporter, persistentvolume: "pv-1", phase: "Failed" }, "PersistentVolume", "pv-1"],
    // A Pod and the Node it runs on: kube_pod_info, cAdvisor's series, an application with a label for its Node.
    [{ ...exporter, namespace: "shop", pod: "web-1", uid: "u", node: "n1" }, "Pod", "web-1", "shop"],
    [{ namespace: "shop", pod: "web-1", container: "web", node: "n1" }, "Pod", "web-1", "shop"],
    [{ namespace: "shop", pod: "web-1", condition: "true" }, "Pod", "web-1", "shop"],
  ];
  for (const [labels, kind, name, namespace] of rows) {
    const alert = {
      status: "firing",
      labels: { alertname: "A", ...labels },
      startsAt: "2026-11-22T05:00:00Z",
    };
    const [event] = drawAll(source, [pushedPayload({ alerts: [alert] })]).events;
    const { resource = {}, details } = event ?? {};
    assertEquals(
      [resource.kind, resource.name, resource.namespace],
      [kind, name, namespace],
      JSON.stringify(labels),
    );
    assertEquals(details?.job, labels["job"]);
  }
});

Deno.test("examples/alertmanager.yaml resolves at the time that Alertmanager says", async () => {
  const source = await exampleSource("alertmanager.yaml");
  const ends: [endsAt: string, resolvedAt: number | undefined][] = [
    ["2026-11-22T03:04:05Z", Date.parse("2026-11-22T03:04:05Z")],
    ["0001-01-01T00:00:00Z", undefined],
    ["2027-01-01T00:00:00Z", undefined],
  ];
  for (const [endsAt, resolvedAt] of ends) {
    const alert = {
      status: "resolved",
      labels: { alertname: "A" },
      startsAt: "2026-11-22T01:00:00Z",
      endsAt,
    };
    const [event] = drawAll(source, [pushedPayload({ alerts: [alert] })]).events;
    assertEquals([event?.resolved, event?.resolvedAt], [true, resolvedAt]);
  }
});

Deno.test("examples/gatekeeper.yaml distinguishes a list that Gatekeeper cut from a complete one", async () => {
  const source = await exampleSource("gatekeeper.yaml");
  const notes = (status: JsonObject | undefined) => {
    const constraint = { kind: "K8sRequiredLabels", metadata: { name: "c" }, ...(status && { status }) };
    return [...source.draw(reportPayload(constraint), DRAW_CONTEXT)].map((drawn) =>
      "note" in drawn ? drawn.note : "event"
    );
  };
  const violation = { kind: "Pod", name: "a", namespace: "shop", message: "m", enforcementAction: "deny" };
  assertEquals(notes({ totalViolations: 25, violations: [violation] }), ["partial", "event"]);
  assertEquals(notes({ totalViolations: 1, violations: [violation] }), ["event"]);
  assertEquals(notes({ totalViolations: 0 }), ["skipped"]);
  assertEquals(notes({ totalViolations: 3 }), ["partial", "skipped"]);
  // Not audited yet: it is not known what it finds.
  assertEquals(notes(undefined), ["partial", "skipped"]);
});

Deno.test("examples/cert-manager.yaml reports each Certificate's problem once", async () => {
  const source = await exampleSource("cert-manager.yaml");
  const ready = (status: string, reason: string) => ({ type: "Ready", status, reason, message: reason });
  const issuing = (status: string, reason: string) => ({
    type: "Issuing",
    status,
    reason,
    message: `cause: ${reason}`,
  });
  const rows: [conditions: JsonObject[], said: string[]][] = [
    [[ready("False", "DoesNotExist"), issuing("True", "DoesNotExist")], ["LOW DoesNotExist"]],
    [[ready("False", "DoesNotExist"), issuing("False", "Failed")], ["HIGH cause: Failed"]],
    // A request that an approver denies or an issuer refuses: its reason becomes that of the Certificate.
    [[ready("False", "DoesNotExist"), issuing("False", "Denied")], ["HIGH cause: Denied"]],
    [[ready("True", "Ready"), issuing("False", "InvalidRequest")], ["HIGH cause: InvalidRequest"]],
    [[ready("True", "Ready"), issuing("False", "policy.cert-manager.io")], [
      "HIGH cause: policy.cert-manager.io",
    ]],
    // With server-side apply a success is False, Issued.
    [[ready("True", "Ready"), issuing("False", "Issued")], []],
    [[ready("False", "DoesNotExist"), issuing("False", "Issued")], ["LOW DoesNotExist"]],
    [[ready("False", "SomethingNew")], ["HIGH SomethingNew"]],
    [[ready("True", "Ready"), issuing("False", "Failed")], ["HIGH cause: Failed"]],
    [[ready("True", "Ready"), issuing("True", "Renewing")], []],
    [[ready("True", "Ready")], []],
    [[ready("False", "Expired"), issuing("False", "Failed")], ["CRITICAL Expired", "HIGH cause: Failed"]],
    [[ready("False", "IncorrectIssuer")], ["MEDIUM IncorrectIssuer"]],
    [[ready("Unknown", "InvalidCertificateRequest")], ["HIGH InvalidCertificateRequest"]],
  ];
  for (const [conditions, said] of rows) {
    const certificate = {
      kind: "Certificate",
      metadata: { name: "c", namespace: "shop" },
      status: { conditions },
    };
    const { events, errors } = drawAll(source, [reportPayload(certificate)]);
    assertEquals(errors, []);
    assertEquals(events.map(({ severity, message }) => `${severity} ${message}`), said);
  }
});

for (
  const [file, about] of [["kubernetes-events", "involvedObject"], [
    "kubernetes-events-k8s-io",
    "regarding",
  ]] as const
) {
  Deno.test(`examples/${file}.yaml distinguishes the containers of a Pod`, async () => {
    const source = await exampleSource(`${file}.yaml`);
    const of = (fieldPath: string | undefined) => {
      const object = { kind: "Pod", namespace: "shop", name: "web-1", ...(fieldPath && { fieldPath }) };
      const event = {
        metadata: { name: "e", namespace: "shop" },
        type: "Warning",
        reason: "BackOff",
        [about]: object,
      };
      return drawAll(source, [reportPayload(event)]).events[0]?.fingerprint;
    };
    const prints = [undefined, "spec.containers{web}", "spec.containers{proxy}", "spec.initContainers{web}"]
      .map(of);
    assertEquals(new Set(prints).size, 4);
    assertEquals(of("spec.containers{web}"), prints[1]);
  });
}

Deno.test("examples/gatekeeper.yaml reads the actions of a scoped violation, in any order", async () => {
  const source = await exampleSource("gatekeeper.yaml");
  const spec = {
    enforcementAction: "scoped",
    scopedEnforcementActions: [{ action: "warn", enforcementPoints: [{ name: "*" }] }],
  };
  const of = (enforcementActions: Json) => {
    const violation = {
      kind: "Pod",
      name: "a",
      namespace: "shop",
      message: "m",
      enforcementAction: "scoped",
    };
    const violations = [{ ...violation, ...(enforcementActions && { enforcementActions }) }];
    const status = { totalViolations: 1, violations };
    const constraint = { kind: "K8sAllowedRepos", metadata: { name: "c" }, spec, status };
    const [event] = drawAll(source, [reportPayload(constraint)]).events;
    assertEquals(event?.details.scopedEnforcementActions, spec.scopedEnforcementActions);
    return event;
  };
  const severities = [["warn"], ["dryrun"], ["deny"], ["warn", "deny"], null].map((actions) =>
    of(actions)?.severity
  );
  assertEquals(severities, ["MEDIUM", "LOW", "HIGH", "HIGH", "HIGH"]);
  // Gatekeeper lists several in an order that changes.
  const [one, two] = [of(["warn", "deny"]), of(["deny", "warn"])];
  assertEquals([one?.fingerprint, one?.contentHash], [two?.fingerprint, two?.contentHash]);
});

Deno.test("examples/github-dependabot.yaml resolves at the time that GitHub says", async () => {
  const source = await exampleSource("github-dependabot.yaml");
  const at = "2026-11-22T03:04:05Z";
  for (
    const [action, field] of [["fixed", "fixed_at"], ["dismissed", "dismissed_at"], [
      "auto_dismissed",
      "auto_dismissed_at",
    ]]
  ) {
    const alert = {
      number: 1,
      created_at: "2026-11-22T01:00:00Z",
      fixed_at: null,
      dismissed_at: null,
      auto_dismissed_at: null,
      [field ?? ""]: at,
      security_advisory: { ghsa_id: "GHSA-1", summary: "S", severity: "high" },
    };
    const body = { action: action ?? "", alert, repository: { full_name: "o/r" } };
    const [event] = drawAll(source, [pushedPayload(body)]).events;
    assertEquals([event?.resolved, event?.resolvedAt], [true, Date.parse(at)], action);
  }
});

Deno.test("the examples do not mask the titles of a tool's catalogue", async () => {
  const title = "Prototype pollution by token: abc123 in a cookie";
  const bodies: Record<string, JsonObject> = {
    "kubescape.yaml": {
      metadata: { name: "s", namespace: "n" },
      spec: { controls: { "C-1": { name: title, status: { status: "failed" } } } },
    },
    "polaris.yaml": {
      Results: [{
        Kind: "Pod",
        Name: "web",
        Results: { x: { ID: "x", Message: title, Success: false, Severity: "danger" } },
      }],
    },
    "github-dependabot.yaml": {
      action: "created",
      alert: { number: 1, security_advisory: { ghsa_id: "GHSA-1", summary: title, severity: "high" } },
      repository: { full_name: "o/r" },
    },
  };
  for (const [file, body] of Object.entries(bodies)) {
    assertEquals(
      drawAll(await exampleSource(file), [reportPayload(body)]).events.map((event) => event.message),
      [
        title,
      ],
    );
  }
});

Deno.test("examples/kubescape.yaml shows the path of the rule that failed, not only of the first rule", async () => {
  const source = await exampleSource("kubescape.yaml");
  const passed = { status: { status: "passed" }, paths: null };
  const failed = { status: { status: "failed" }, paths: [{ failedPath: "spec.a", fixPath: "spec.b" }] };
  for (const before of [0, 1, 11]) {
    const rules = [...Array(before).fill(passed), failed];
    const control = { controlID: "C-1", name: "N", status: { status: "failed" }, rules };
    const scan = { metadata: { name: "s", namespace: "n" }, spec: { controls: { "C-1": control } } };
    const [event] = drawAll(source, [reportPayload(scan)]).events;
    assertEquals([event?.details.failedPath, event?.details.fixPath], ["spec.a", "spec.b"]);
  }
});

Deno.test("examples/polaris.yaml names the container that a check is about", async () => {
  const source = await exampleSource("polaris.yaml");
  const check = {
    ID: "cpuLimitsMissing",
    Message: "CPU limits should be set",
    Success: false,
    Severity: "warning",
  };
  const Results = { cpuLimitsMissing: check };
  const workload = {
    Kind: "Deployment",
    Name: "web",
    Namespace: "shop",
    Results,
    PodResult: { Results, ContainerResults: [{ Name: "web", Results }, { Name: "side", Results }] },
  };
  const { events } = drawAll(source, [pushedPayload({ Results: [workload] })]);
  assertEquals(events.map(({ message }) => message), [
    "CPU limits should be set",
    "CPU limits should be set",
    "CPU limits should be set (container web)",
    "CPU limits should be set (container side)",
  ]);
});

Deno.test("examples/gatekeeper.yaml is not moved by the next audit", async () => {
  const source = await exampleSource("gatekeeper.yaml");
  const [payload] = await loadReportPayloads("sources/mapped-gatekeeper/documented-audit/input.yaml");
  assert(payload && isObject(payload.body) && isObject(payload.body.status));
  const later = {
    ...payload,
    body: { ...payload.body, status: { ...payload.body.status, auditTimestamp: "2030-01-01T00:00:00Z" } },
  };
  const prints = (given: Payload) =>
    drawAll(source, [given]).events.map(({ fingerprint, contentHash }) => [fingerprint, contentHash]);
  assertEquals(prints(later), prints(payload));
});
