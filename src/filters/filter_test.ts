import { assertEquals } from "@std/assert";
import type { NormalEvent } from "../model/event.ts";
import { normalEvent } from "../../tests/support/normal_event.ts";
import { compileFilterExpression } from "./expression.ts";
import { compileFilters, type DocumentReason, type FilterBlock, type FilterDocument } from "./filter.ts";
import { compileGlob } from "./checks.ts";

type Row = readonly [block: FilterBlock, event: Partial<NormalEvent>, reason: DocumentReason | "pass"];

const TABLE: Readonly<Record<string, readonly Row[]>> = {
  "an empty block has no opinion": [[{}, {}, "pass"]],
  "enabled: false drops everything": [
    [{ enabled: false }, {}, "disabled"],
    [{ enabled: true }, {}, "pass"],
  ],
  "minSeverity drops what ranks below, UNKNOWN lowest of all": [
    [{ minSeverity: "HIGH" }, { severity: "CRITICAL" }, "pass"],
    [{ minSeverity: "HIGH" }, { severity: "HIGH" }, "pass"],
    [{ minSeverity: "HIGH" }, { severity: "MEDIUM" }, "min_severity"],
    [{ minSeverity: "LOW" }, { severity: "UNKNOWN" }, "min_severity"],
    [{ minSeverity: "UNKNOWN" }, { severity: "UNKNOWN" }, "pass"],
  ],
  "includeSeverity decides alone, over minSeverity and excludeSeverity": [
    [{ includeSeverity: ["LOW"], minSeverity: "CRITICAL" }, { severity: "LOW" }, "pass"],
    [{ includeSeverity: ["LOW"], excludeSeverity: ["LOW"] }, { severity: "LOW" }, "pass"],
    [{ includeSeverity: ["LOW"], minSeverity: "LOW" }, { severity: "HIGH" }, "include_severity"],
  ],
  "excludeSeverity and minSeverity both drop": [
    [{ excludeSeverity: ["CRITICAL"], minSeverity: "HIGH" }, { severity: "CRITICAL" }, "exclude_severity"],
    [{ excludeSeverity: ["CRITICAL"], minSeverity: "HIGH" }, { severity: "LOW" }, "min_severity"],
    [{ excludeSeverity: ["CRITICAL"], minSeverity: "HIGH" }, { severity: "HIGH" }, "pass"],
  ],
  "event types": [
    [{ includeEventTypes: ["vulnerability"] }, { eventType: "vulnerability" }, "pass"],
    [{ includeEventTypes: ["Vulnerability"] }, { eventType: "rbac-risk" }, "include_event_types"],
    [{ excludeEventTypes: ["RBAC-risk"] }, { eventType: "rbac-risk" }, "exclude_event_types"],
    [
      { includeEventTypes: ["rbac-risk"], excludeEventTypes: ["rbac-risk"] },
      { eventType: "rbac-risk" },
      "pass",
    ],
  ],
  "namespaces are those of the resource, with globs, in any case": [
    [{ includeNamespaces: ["prod-*"] }, { resource: { namespace: "prod-eu" } }, "pass"],
    [{ includeNamespaces: ["PROD-*"] }, { resource: { namespace: "prod-eu" } }, "pass"],
    [
      { includeNamespaces: ["prod-*"] },
      { resource: { namespace: "dev" }, namespace: "prod-eu" },
      "include_namespaces",
    ],
    [{ excludeNamespaces: ["kube-*"] }, { resource: { namespace: "kube-system" } }, "exclude_namespaces"],
    [{ excludeNamespaces: ["kube"] }, { resource: { namespace: "kube-system" } }, "pass"],
  ],
  "an event without a namespace is in no list of namespaces": [
    [{ includeNamespaces: ["*"] }, { resource: { kind: "Node" } }, "include_namespaces"],
    [{ excludeNamespaces: ["*"] }, {}, "pass"],
  ],
  kinds: [
    [{ includeKinds: ["pod"] }, { resource: { kind: "Pod" } }, "pass"],
    [{ includeKinds: ["pod"] }, {}, "include_kinds"],
    [{ excludeKinds: ["POD"] }, { resource: { kind: "Pod" } }, "exclude_kinds"],
  ],
  categories: [
    [{ includeCategories: ["cost"] }, { category: "security" }, "include_categories"],
    [{ excludeCategories: ["security"] }, { category: "security" }, "exclude_categories"],
    [{ excludeCategories: ["cost"] }, { category: "security" }, "pass"],
  ],
  "rules match any of the event's own ids": [
    [{ includeRules: ["cve-2024-1"] }, { rules: ["CVE-2024-1"] }, "pass"],
    [{ includeRules: ["cve-2024-1"] }, { rules: [] }, "include_rules"],
    [{ excludeRules: ["labels"] }, { rules: ["labels", "labels/team"] }, "exclude_rules"],
    [{ excludeRules: ["labels/team"] }, { rules: ["labels", "labels/team"] }, "exclude_rules"],
    [{ excludeRules: ["labels/owner"] }, { rules: ["labels", "labels/team"] }, "pass"],
  ],
  "expression: true keeps, false drops, an error keeps": [
    [{ expression: compileFilterExpression('severity == "HIGH"') }, {}, "pass"],
    [{ expression: compileFilterExpression('severity != "HIGH"') }, {}, "expression"],
    [{ expression: compileFilterExpression("details.score > 7") }, { details: {} }, "pass"],
    [{ expression: compileFilterExpression("details.score > 7") }, { details: { score: 5 } }, "expression"],
  ],
  "dimensions are ANDed, and the first that drops names the reason": [
    [{ includeKinds: ["Pod"], minSeverity: "CRITICAL" }, { resource: { kind: "Pod" } }, "min_severity"],
    [{ includeKinds: ["Pod"], minSeverity: "LOW" }, { resource: { kind: "Node" } }, "include_kinds"],
  ],
};

for (const [name, rows] of Object.entries(TABLE)) {
  Deno.test(`filter: ${name}`, () => {
    for (const [block, fields, reason] of rows) {
      const verdict = compileFilters([{ name: "d", source: "trivy", block }]).evaluate(normalEvent(fields));
      assertEquals(verdict.pass ? "pass" : verdict.reason, reason, JSON.stringify({ block, fields }));
    }
  });
}

Deno.test("filter() applies documents of the source, in any case, and of *", () => {
  const filters = compileFilters([
    { name: "all", source: "*", block: { excludeKinds: ["Node"] } },
    { name: "trivy", source: "Trivy", block: { minSeverity: "HIGH" } },
  ]);
  assertEquals(filters.evaluate(normalEvent({ severity: "LOW" })).pass, false);
  assertEquals(filters.evaluate(normalEvent({ severity: "LOW", source: "falco" })).pass, true);
  assertEquals(filters.evaluate(normalEvent({ source: "falco", resource: { kind: "Node" } })), {
    pass: false,
    reason: "exclude_kinds",
    document: "all",
  });
});

Deno.test("filter() in Shadow mode drops nothing and notes what it would have dropped", () => {
  const document: FilterDocument = { name: "s", source: "*", block: { enabled: false, mode: "Shadow" } };
  assertEquals(compileFilters([document]).evaluate(normalEvent()), {
    pass: true,
    notes: [{ kind: "shadow", document: "s", reason: "disabled" }],
  });
});

Deno.test("filter() notes a Shadow document's verdict on events that another document drops", () => {
  const verdict = compileFilters([
    { name: "a", source: "*", block: { enabled: false } },
    { name: "b", source: "*", block: { minSeverity: "CRITICAL", mode: "Shadow" } },
  ]).evaluate(normalEvent());
  assertEquals(verdict, {
    pass: false,
    reason: "disabled",
    document: "a",
    notes: [{ kind: "shadow", document: "b", reason: "min_severity" }],
  });
});

Deno.test("filter() notes an expression that fails on an event", () => {
  const verdict = compileFilters([{
    name: "d",
    source: "*",
    block: { expression: compileFilterExpression("details.score > 7") },
  }])
    .evaluate(normalEvent());
  assertEquals(verdict, {
    pass: true,
    notes: [{ kind: "expression_error", document: "d", message: "no such key: score" }],
  });
});

Deno.test("a tenant's document applies only to events of its namespace and never drops CRITICAL or audit", () => {
  const filters = compileFilters([{
    name: "t",
    source: "*",
    block: { enabled: false },
    tenantNamespace: "team-a",
  }]);
  const passes = (fields: Partial<NormalEvent>) =>
    filters.evaluate(normalEvent({ resource: { namespace: "team-a" }, ...fields })).pass;
  assertEquals(passes({}), false);
  assertEquals(passes({ resource: { namespace: "team-b" } }), true);
  assertEquals(passes({ severity: "CRITICAL" }), true);
  assertEquals(passes({ source: "audit", neverDroppedByTenants: true }), true);
});

Deno.test("a tenant in OBSERVATION_NAMESPACE drops nothing of other tenants, and they can still drop their own", () => {
  const tenant = (tenantNamespace: string): FilterDocument => ({
    name: tenantNamespace,
    source: "*",
    block: { enabled: false },
    tenantNamespace,
  });
  const filters = compileFilters([tenant("security"), tenant("team-a")]);
  const verdict = (resource: NormalEvent["resource"]) => {
    const event = { ...normalEvent({ namespace: "security" }) };
    const { resource: _, ...without } = event;
    const result = filters.evaluate(resource ? { ...event, resource } : without);
    return result.pass ? "pass" : result.document;
  };
  assertEquals(verdict({ kind: "Pod", name: "p", namespace: "team-a" }), "team-a");
  assertEquals(verdict({ kind: "Pod", name: "p", namespace: "team-b" }), "pass");
  assertEquals(verdict({ kind: "Node", name: "n" }), "pass");
  assertEquals(verdict(undefined), "pass");
  assertEquals(verdict({ kind: "Pod", name: "p", namespace: "security" }), "security");
});

Deno.test("the expressions of one tenant share one budget of steps, and the operator's have another", () => {
  const expression = compileFilterExpression("details.list.all(x, x == 1)");
  const document = (name: string, tenantNamespace?: string): FilterDocument => ({
    name,
    source: "*",
    block: { expression },
    ...(tenantNamespace === undefined ? {} : { tenantNamespace }),
  });
  const tenants = Array.from({ length: 20 }, (_, index) => document(`t${index}`, "team-a"));
  const filters = compileFilters([document("operator"), ...tenants]);
  const event = normalEvent({ resource: { namespace: "team-a" }, details: { list: Array(3_000).fill(1) } });
  const { notes = [] } = filters.evaluate(event);
  const failed = notes.map(({ document }) => document);
  assertEquals(failed.includes("operator"), false);
  assertEquals(failed.length > 10 && failed.length < 20, true, failed.join());
});

Deno.test("the document of an Ingester that feeds a built-in source applies only to events of that feed", () => {
  const door = "Ingester zen-system/door";
  const filters = compileFilters([{ name: "i", source: "trivy", block: { enabled: false }, door }]);
  assertEquals(filters.evaluate(normalEvent({ door })).pass, false);
  assertEquals(filters.evaluate(normalEvent()).pass, true);
  assertEquals(filters.explain(normalEvent())[0]?.detail, `acts on events of ${door} alone`);
});

Deno.test("explain() says why for every document and dimension", () => {
  const filters = compileFilters([
    { name: "a", source: "falco", block: { enabled: false } },
    {
      name: "b",
      source: "*",
      block: {
        minSeverity: "CRITICAL",
        excludeRules: ["CVE-1"],
        expression: compileFilterExpression("details.x == 1"),
      },
    },
  ]);
  assertEquals(filters.explain(normalEvent({ rules: ["CVE-1"] })), [
    { document: "a", dimensions: [], verdict: "not_applicable", detail: "is for source falco" },
    {
      document: "b",
      verdict: "drop",
      reason: "min_severity",
      detail: "severity: HIGH is below minSeverity CRITICAL",
      dimensions: [
        { dimension: "severity", verdict: "drop", detail: "HIGH is below minSeverity CRITICAL" },
        { dimension: "rules", verdict: "drop", detail: "cve-1 is in excludeRules" },
        { dimension: "expression", verdict: "error", detail: "no such key: x; an error keeps the event" },
      ],
    },
  ]);
});

Deno.test("compileGlob() matches runs of characters and nothing else", () => {
  const rows: [string, string, boolean][] = [
    ["*", "", true],
    ["a*", "a", true],
    ["a*a", "a", false],
    ["a*b*c", "a-b-b-c", true],
    ["*-eu-*", "prod-eu-1", true],
    ["*ab*ab*", "xabx", false],
    ["a.c", "abc", false],
  ];
  for (const [pattern, text, expected] of rows) {
    assertEquals(compileGlob(pattern)(text), expected, `${pattern} on ${text}`);
  }
});
