import { assertEquals } from "@std/assert";
import type { DrawnEvent, Origin } from "../../model/event.ts";
import type { Json, JsonObject } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import { drawnFrom } from "../../../tests/support/source_runtime.ts";
import { kubeBench } from "./mod.ts";

const NODE_1: Origin = { confined: false, namespace: "kube-bench", name: "kube-bench-node-1" };

function draw(body: Json, origin: Origin = NODE_1): { events: DrawnEvent[]; errors: PayloadError[] } {
  const drawn = drawnFrom(kubeBench, { body, origin, receivedAt: 0 });
  return {
    events: drawn.flatMap((item) => "event" in item ? [item.event] : []),
    errors: drawn.flatMap((item) => "error" in item ? [item.error] : []),
  };
}

function control(nodeType: string, ...results: JsonObject[]): JsonObject {
  return {
    id: "4",
    version: "cis-1.10",
    node_type: nodeType,
    tests: [{ section: "4.1", desc: "Files", results }],
  };
}

function result(fields: JsonObject = {}): JsonObject {
  return { test_number: "4.1.1", test_desc: "Ensure", status: "FAIL", scored: true, ...fields };
}

Deno.test("kube-bench reads every form of the same results", () => {
  const one = control("node", result());
  const forms: Json[] = [
    { Controls: [one], Totals: {} },
    [one],
    one,
    [[one]],
    [{ Controls: [one] }],
    JSON.stringify([one]),
  ];
  for (const form of forms) {
    const { events, errors } = draw(form);
    assertEquals([events.length, errors], [1, []], JSON.stringify(form));
    assertEquals(events[0]?.identity, {
      node: "node-1",
      benchmark: "cis-1.10",
      nodeType: "node",
      testNumber: "4.1.1",
    });
  }
});

Deno.test("kube-bench reads controls without tests and tests without results as nothing found", () => {
  const empty = [{ id: "1", node_type: "master", tests: null }, {
    id: "2",
    node_type: "node",
    tests: [{ results: null }],
  }];
  assertEquals(draw({ Controls: empty }), { events: [], errors: [] });
  assertEquals(draw({ Controls: null, Totals: {} }), { events: [], errors: [] });
});

Deno.test("kube-bench names the node by label, else annotation, else the ConfigMap's name", () => {
  const nodeOf = (origin: Partial<Origin>) =>
    draw([control("node", result())], { ...NODE_1, ...origin }).events[0]?.resource?.name;
  assertEquals(nodeOf({ labels: { node: "a" }, annotations: { node: "b" } }), "a");
  assertEquals(nodeOf({ annotations: { node: "b.example" } }), "b.example");
  assertEquals(nodeOf({}), "node-1");
  assertEquals(nodeOf({ name: "results" }), "results");
});

Deno.test("kube-bench distinguishes nodes, benchmarks, node types and tests", () => {
  const bodies = [
    control("node", result()),
    control("master", result()),
    control("node", result({ test_number: "4.1.2" })),
    { ...control("node", result()), version: "eks-1.8.0" },
  ];
  const identities = [
    ...bodies.map((body) => draw(body).events[0]?.identity),
    draw(control("node", result()), { ...NODE_1, name: "kube-bench-node-2" }).events[0]?.identity,
  ];
  assertEquals(new Set(identities.map((identity) => JSON.stringify(identity))).size, 5);
});

Deno.test("kube-bench rates failures by whether they are scored, and warnings LOW", () => {
  const rows = [
    [{ status: "FAIL", scored: true }, "high"],
    [{ status: "FAIL", scored: false }, "medium"],
    [{ status: "WARN", scored: true }, "low"],
  ] as const;
  for (const [fields, severity] of rows) {
    assertEquals(draw(control("node", result(fields))).events[0]?.severity, severity);
  }
  assertEquals(draw(control("node", result({ status: "PASS" }), result({ status: "INFO" }))), {
    events: [],
    errors: [],
  });
});

Deno.test("kube-bench's message names the component, since several have a check of one title", () => {
  const section = (desc: string, number: string) => ({
    section: number,
    desc,
    results: [result({ test_number: `${number}.1`, test_desc: "Ensure that --profiling is false" })],
  });
  const { events } = draw({
    version: "cis-1.10",
    node_type: "master",
    tests: [section("API Server", "1.2"), section("Scheduler", "1.4"), section("", "1.5")],
  });
  assertEquals(events.map(({ message }) => message), [
    "Ensure that --profiling is false: FAIL (API Server, cis-1.10 master)",
    "Ensure that --profiling is false: FAIL (Scheduler, cis-1.10 master)",
    "Ensure that --profiling is false: FAIL (cis-1.10 master)",
  ]);
});

Deno.test("kube-bench does not store a node's answers, which hold command lines", () => {
  const { events } = draw(control("node", result({ actual_value: "--token=SECRET", audit: "ps SECRET" })));
  assertEquals(JSON.stringify(events).includes("SECRET"), false);
});

Deno.test("kube-bench keeps readable findings, and reports the path of unreadable ones", () => {
  const { events, errors } = draw({
    Controls: [
      control("node", result(), result({ status: "ODD" }), { status: "FAIL" }),
      { tests: "none" },
      7,
    ],
  });
  assertEquals(events.length, 1);
  assertEquals(errors.map(({ reason, path }) => `${reason} ${path}`), [
    "invalid_value Controls[0].tests[0].results[1].status",
    "missing_field Controls[0].tests[0].results[2].test_number",
    "wrong_shape Controls[1].tests",
    "wrong_shape Controls[2]",
  ]);
  assertEquals(draw({ other: 1 }).errors.map(({ path }) => path), ["Controls"]);
});

Deno.test("kube-bench reads Starboard's report of a node", () => {
  const { events, errors } = draw({
    kind: "CISKubeBenchReport",
    metadata: { name: "kind-control-plane", ownerReferences: [{ kind: "Node", name: "kind-control-plane" }] },
    report: { sections: [control("master", result())] },
  });
  assertEquals(errors, []);
  assertEquals(events.map(({ resource }) => resource?.name), ["kind-control-plane"]);
});
