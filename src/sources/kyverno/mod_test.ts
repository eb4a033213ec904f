import { assertEquals } from "@std/assert";
import type { DrawnEvent } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import { drawnFrom } from "../../../tests/support/source_runtime.ts";
import { kyverno } from "./mod.ts";

interface Drawing {
  readonly events: DrawnEvent[];
  readonly errors: PayloadError[];
}

function draw(body: Json): Drawing {
  const drawn = drawnFrom(kyverno, { body, origin: { confined: false }, receivedAt: 0 });
  return {
    events: drawn.flatMap((item) => "event" in item ? [item.event] : []),
    errors: drawn.flatMap((item) => "error" in item ? [item.error] : []),
  };
}

const POD = { apiVersion: "v1", kind: "Pod", name: "web-1", namespace: "shop" };

function report(fields: JsonObject): JsonObject {
  return {
    apiVersion: "wgpolicyk8s.io/v1alpha2",
    kind: "PolicyReport",
    metadata: { name: "r", namespace: "shop" },
    scope: POD,
    ...fields,
  };
}

function result(fields: JsonObject = {}): JsonObject {
  return {
    policy: "labels",
    rule: "check",
    result: "fail",
    severity: "high",
    message: "no label",
    source: "kyverno",
    ...fields,
  };
}

function only(body: Json): DrawnEvent {
  const { events, errors } = draw(body);
  assertEquals([events.length, errors], [1, []]);
  return events[0] as DrawnEvent;
}

/** The parts that decide whether a stored finding is written again. */
function stored({ identity, message, details, severity }: DrawnEvent): JsonObject {
  return { identity, message, details, severity };
}

Deno.test("kyverno draws one finding of a result in both API groups and in every version", () => {
  const reports = [
    report({ results: [result()] }),
    report({
      apiVersion: "openreports.io/v1alpha1",
      kind: "Report",
      source: "",
      results: [result({ properties: { process: "x" } })],
    }),
    report({ apiVersion: "wgpolicyk8s.io/v1alpha1", results: [result({ result: null, status: "fail" })] }),
    report({ scope: null, results: [result({ resources: [POD] })] }),
  ];
  const all = new Set(reports.map((body) => JSON.stringify(stored(only(body)))));
  assertEquals(all.size, 1);
});

Deno.test("kyverno draws the same finding after a rescan that moved only timestamps", () => {
  const at = (seconds: number) =>
    report({
      results: [
        result({ timestamp: { seconds, nanos: 5_000_000 }, properties: { process: `scan ${seconds}` } }),
      ],
    });
  assertEquals(stored(only(at(1_700_000_000))), stored(only(at(1_700_003_600))));
  assertEquals(only(at(1_700_000_000)).detectedAt, 1_700_000_000_005);
});

Deno.test("kyverno leaves autogen prefixes, ReplicaSet hashes and Job numbers out of identity", () => {
  const rules = ["check", "autogen-check", "autogen-cronjob-check"].map((rule) =>
    only(report({ results: [result({ rule })] })).identity
  );
  assertEquals(new Set(rules.map((identity) => JSON.stringify(identity))).size, 1);
  const pairs = [["ReplicaSet", "cart-55dbf95b8f", "cart-7dcd8749bc"], [
    "Job",
    "cj-29921921",
    "cj-29921922",
  ]] as const;
  for (const [kind, first, second] of pairs) {
    const of = (name: string) =>
      only(report({ scope: { kind, name, namespace: "shop" }, results: [result()] }));
    assertEquals(of(first).identity, of(second).identity);
    assertEquals(of(first).resource?.name, first);
  }
});

Deno.test("kyverno keeps the Deployment, its ReplicaSet and each Pod apart", () => {
  const subjects = [["Deployment", "cart"], ["ReplicaSet", "cart-55dbf95b8f"], [
    "Pod",
    "cart-55dbf95b8f-abcde",
  ], ["Pod", "cart-55dbf95b8f-fghij"]];
  const identities = subjects.map(([kind = "", name = ""]) =>
    JSON.stringify(only(report({ scope: { kind, name }, results: [result()] })).identity)
  );
  assertEquals(new Set(identities).size, 4);
});

Deno.test("kyverno finds each result's resource: its own, else the scope, else the owner, else the namespace", () => {
  const owner = { ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name: "cart" }] };
  const resources = (body: Json) =>
    draw(body).events.map(({ resource }) => [resource?.kind, resource?.name, resource?.namespace]);
  const two = [{ kind: "Pod", name: "a", namespace: "other" }, { kind: "Pod", name: "b" }];
  assertEquals(resources(report({ results: [result({ resources: two })] })), [["Pod", "a", "other"], [
    "Pod",
    "b",
    "shop",
  ]]);
  assertEquals(resources(report({ results: [result({ resources: [] })] })), [["Pod", "web-1", "shop"]]);
  const owned = { scope: null, metadata: { name: "r", namespace: "shop", ...owner }, results: [result()] };
  assertEquals(resources(report(owned)), [["Deployment", "cart", "shop"]]);
  assertEquals(resources(report({ scope: null, results: [result()] })), [[undefined, undefined, "shop"]]);
});

Deno.test("kyverno tells results without a resource apart by their report", () => {
  const of = (name: string) =>
    only(report({ scope: null, metadata: { name, namespace: "shop" }, results: [result()] })).identity;
  assertEquals([of("node-a").report, of("node-b").report], ["node-a", "node-b"]);
});

Deno.test("kyverno reads outcomes and severities: error is a LOW policy-error, an absent severity MEDIUM", () => {
  const rows = [
    [{ result: "fail" }, "policy-violation", "high"],
    [{ result: "WARN" }, "policy-violation", "high"],
    [{ result: "fail", severity: "" }, "policy-violation", "medium"],
    [{ result: "error" }, "policy-error", "low"],
  ] as const;
  for (const [fields, eventType, severity] of rows) {
    const event = only(report({ results: [result(fields)] }));
    assertEquals([event.eventType, event.severity], [eventType, severity]);
  }
  assertEquals(draw(report({ results: [result({ result: "pass" }), result({ result: "skip" })] })), {
    events: [],
    errors: [],
  });
});

Deno.test("kyverno gives a result the name of its tool, and its own where that name is reserved", () => {
  const rows = [
    ["", undefined],
    ["kyverno", undefined],
    ["KyvernoImageValidatingPolicy", undefined],
    ["ValidatingAdmissionPolicy", undefined],
    ["MutatingAdmissionPolicy", undefined],
    ["Trivy", undefined],
    ["Falco", undefined],
    ["Kube Bench", undefined],
    ["Trivy Vulnerability", "trivy-vulnerability"],
    ["kubewarden", "kubewarden"],
    ["___", undefined],
  ] as const;
  for (const [word, source] of rows) {
    assertEquals(only(report({ results: [result({ source: word })] })).source, source, word);
  }
  assertEquals(
    only(report({ source: "Kubewarden", results: [result({ source: "" })] })).source,
    "kubewarden",
  );
});

Deno.test("kyverno offers filters the policy, and the rule with and without its prefix", () => {
  assertEquals(only(report({ results: [result({ rule: "autogen-check" })] })).rules, [
    "labels",
    "labels/check",
    "labels/autogen-check",
  ]);
  assertEquals(only(report({ results: [result({ policy: "shop/labels", rule: "" })] })).rules, [
    "shop/labels",
  ]);
});

Deno.test("kyverno keeps what it can read and says where it could not", () => {
  const { events, errors } = draw(
    report({
      results: [
        null,
        result(),
        { result: "fail" },
        result({ result: "maybe" }),
        result({ resources: "all" }),
      ],
    }),
  );
  assertEquals(events.length, 2);
  assertEquals(errors.map(({ reason, path }) => `${reason} ${path}`), [
    "wrong_shape results[0]",
    "missing_field results[2].policy",
    "invalid_value results[3].result",
    "wrong_shape results[4].resources",
  ]);
  assertEquals(draw(report({ results: {} })).errors.map(({ path }) => path), ["results"]);
  assertEquals(draw(report({})), { events: [], errors: [] });
});
