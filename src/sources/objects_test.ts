import type { Drawn } from "../model/event.ts";
import type { Json } from "../model/json.ts";
import { alikeTwins, apiVersionOf, kindInAnyCase, reportsIn, resourceOf } from "./objects.ts";
import { assertEquals } from "@std/assert";

const REPORT = { kind: "VulnerabilityReport", metadata: { name: "a" }, report: {} };

function found(body: Json): unknown[] {
  return [...reportsIn(body)].map((item) => "error" in item ? item.error.reason : [item.kind, item.path]);
}

Deno.test("reportsIn() finds a bare report, and reports in lists, arrays and maps by plural and group", () => {
  assertEquals(found(REPORT), [["VulnerabilityReport", ""]]);
  assertEquals(found([REPORT, REPORT]), [["VulnerabilityReport", "[0]"], ["VulnerabilityReport", "[1]"]]);
  assertEquals(found({ kind: "List", items: [REPORT] }), [["VulnerabilityReport", "items[0]"]]);
  assertEquals(
    found({
      "vulnerabilityreports.aquasecurity.github.io": [REPORT],
      "sbomreports.aquasecurity.github.io": [],
    }),
    [["VulnerabilityReport", "vulnerabilityreports.aquasecurity.github.io[0]"]],
  );
});

Deno.test("reportsIn() takes the kind of a typed list's items from the list", () => {
  const { metadata, report } = REPORT;
  assertEquals(found({ kind: "VulnerabilityReportList", items: [{ metadata, report }] }), [[
    "VulnerabilityReport",
    "items[0]",
  ]]);
});

Deno.test("reportsIn() reads watch frames and the operator's webhook, and no deleted reports", () => {
  assertEquals(found({ type: "MODIFIED", object: REPORT }), [["VulnerabilityReport", "object"]]);
  assertEquals(found({ verb: "update", operatorObject: REPORT }), [[
    "VulnerabilityReport",
    "operatorObject",
  ]]);
  assertEquals(found({ type: "DELETED", object: REPORT }), []);
  assertEquals(found({ type: "BOOKMARK", object: REPORT }), []);
  assertEquals(found({ verb: "delete", operatorObject: REPORT }), []);
});

Deno.test("reportsIn() yields an error for values that are not reports, and keeps the others", () => {
  assertEquals(found(null), ["wrong_shape"]);
  assertEquals(found([1, REPORT, "x"]), ["wrong_shape", ["VulnerabilityReport", "[1]"], "wrong_shape"]);
  assertEquals(found([[[[[REPORT]]]]]), ["wrong_shape"]);
});

Deno.test("alikeTwins() gives events of one identity the first one's content, and none of another severity", () => {
  const event = (severity: string, message: string): Drawn => ({
    event: {
      category: "security",
      severity,
      eventType: "vulnerability",
      message,
      rules: [],
      details: {},
      identity: { vulnerabilityID: "CVE-2021-3807" },
    },
  });
  const drawn = [...alikeTwins([event("HIGH", "first"), event("HIGH", "second"), event("LOW", "third")])];
  assertEquals(drawn.map((item) => "event" in item && item.event.message), ["first", "first", "third"]);
});

Deno.test("IPAddress gets no apiVersion: Kubernetes and Cluster API both have a kind of that name", () => {
  assertEquals(apiVersionOf("IPAddress"), "");
  assertEquals(kindInAnyCase("ipaddress"), { kind: "IPAddress", apiVersion: "" });
  const named = { plural: "ipaddresses", name: "x", namespace: "capi" };
  assertEquals(resourceOf(named), { kind: "IPAddress", name: "x", namespace: "capi" });
  const apiVersion = "ipam.cluster.x-k8s.io/v1beta1";
  assertEquals(resourceOf({ ...named, apiVersion }), {
    kind: "IPAddress",
    name: "x",
    namespace: "capi",
    apiVersion,
  });
});
