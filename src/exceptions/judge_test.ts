import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type AcceptableFinding, policyOf } from "../model/acceptance.ts";
import type { ExceptionDocument } from "./document.ts";
import { ExceptionIndex } from "./judge.ts";

function exception(name: string, change: Partial<ExceptionDocument> = {}): ExceptionDocument {
  return {
    namespace: "shop",
    name,
    expiresAt: 1,
    text: name,
    onlyWhileNoFix: false,
    reason: "mitigated",
    justification: "x",
    ticket: "",
    ...change,
  };
}

function finding(change: Partial<AcceptableFinding> = {}): AcceptableFinding {
  return {
    source: "kyverno",
    severity: "HIGH",
    belongsTo: "shop",
    rule: "latest-tag/require-tag",
    workload: "web",
    resource: "Deployment/web",
    isFixKnown: false,
    ...change,
  };
}

function judged(exceptions: readonly ExceptionDocument[], of: AcceptableFinding, namespace = "shop") {
  const index = new ExceptionIndex();
  for (const each of exceptions) index.add(each);
  return index.judge(of, namespace)?.name;
}

Deno.test("ExceptionIndex matches a rule whole or by its policy, and every other key exactly", () => {
  const rows: readonly (readonly [Partial<ExceptionDocument>, Partial<AcceptableFinding>, boolean])[] = [
    [{ rules: ["latest-tag/require-tag"] }, {}, true],
    [{ rules: ["latest-tag"] }, {}, true],
    [{ rules: ["latest"] }, {}, false],
    [{ rules: ["latest-tag/require"] }, {}, false],
    [{ rules: ["latest-tag/require-tag"] }, { rule: "latest-tag" }, false],
    [{ resources: ["Deployment/web"] }, {}, true],
    [{ resources: ["Deployment/web"] }, { resource: "StatefulSet/web" }, false],
    [{ resources: ["Deployment/web"] }, { rule: "" }, true],
    [{ rules: ["latest-tag"], workloads: ["web", "api"] }, {}, true],
    [{ rules: ["latest-tag"], workloads: ["api"] }, {}, false],
    [{ rules: ["latest-tag"], sources: ["trivy"] }, {}, false],
    [{ rules: ["latest-tag"], severities: ["HIGH"] }, {}, true],
    [{ rules: ["latest-tag"], severities: ["LOW"] }, {}, false],
    [{ rules: ["latest-tag"], onlyWhileNoFix: true }, {}, true],
    [{ rules: ["latest-tag"], onlyWhileNoFix: true }, { isFixKnown: true }, false],
  ];
  for (const [match, of, isMatched] of rows) {
    assertEquals(
      judged([exception("e", match)], finding(of)),
      isMatched ? "e" : undefined,
      JSON.stringify(match),
    );
  }
  assertEquals(judged([exception("e", { rules: ["latest-tag"] })], finding(), "pay"), undefined);
});

Deno.test("ExceptionIndex takes of several the one that ends last, then the first by name, however each is found", () => {
  const rules = ["latest-tag"];
  const all = [
    exception("b", { rules, expiresAt: 2 }),
    exception("c", { rules, workloads: ["web"], expiresAt: 2 }),
    exception("a", { resources: ["Deployment/web"], expiresAt: 2 }),
    exception("z", { rules: ["latest-tag/require-tag"], resources: ["Deployment/web"], expiresAt: 3 }),
  ];
  const index = new ExceptionIndex();
  for (const each of all) index.add(each);
  for (const wanted of ["z", "a", "b", "c", undefined]) {
    assertEquals(index.judge(finding(), "shop")?.name, wanted);
    const found = all.find(({ name }) => name === wanted);
    if (found) index.remove(found);
  }
});

Deno.test("ExceptionIndex decides as asking every exception would, whatever was added and removed", () => {
  const some = <T>(values: T[]) => fc.option(fc.uniqueArray(fc.constantFrom(...values), { minLength: 1 }));
  const rules = ["p/a", "p/b", "p", "q/a", "CVE-1"];
  const match = fc.record({
    rules: some(rules),
    resources: some(["Pod/a", "Pod/b", "Job/a"]),
    workloads: some(["a", "b"]),
    sources: some(["x", "y"]),
    severities: some(["HIGH", "LOW"]),
    onlyWhileNoFix: fc.boolean(),
    expiresAt: fc.integer({ min: 1, max: 3 }),
    isRemoved: fc.boolean(),
  }).filter(({ rules, resources }) => rules !== null || resources !== null);
  const findings = fc.record({
    rule: fc.constantFrom("", ...rules),
    resource: fc.constantFrom("", "Pod/a", "Job/a"),
    workload: fc.constantFrom("", "a", "b"),
    source: fc.constantFrom("x", "y"),
    severity: fc.constantFrom("HIGH" as const, "LOW" as const),
    isFixKnown: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(match, { maxLength: 12 }), findings, (matches, of) => {
    const index = new ExceptionIndex();
    const documents = matches.map(({ isRemoved, ...each }, number) => {
      const given = Object.fromEntries(Object.entries(each).filter(([, value]) => value !== null));
      return { isRemoved, document: exception(`e${number}`, given) };
    });
    for (const { document } of documents) index.add(document);
    for (const { document, isRemoved } of documents) if (isRemoved) index.remove(document);
    const one = finding(of);
    const wanted = documents.filter(({ isRemoved }) => !isRemoved).map(({ document }) => document)
      .filter((each) => isCovered(each, one))
      .sort((a, b) => b.expiresAt - a.expiresAt || (a.name < b.name ? -1 : 1))[0];
    assertEquals(index.judge(one, "shop")?.name, wanted?.name);
  }));
});

function isCovered(each: ExceptionDocument, one: AcceptableFinding): boolean {
  const has = (list: readonly string[] | undefined, ...values: string[]) =>
    list === undefined || values.some((value) => list.includes(value));
  return has(each.rules, one.rule, policyOf(one.rule)) && has(each.resources, one.resource) &&
    has(each.workloads, one.workload) && has(each.sources, one.source) &&
    has(each.severities, one.severity) &&
    !(each.onlyWhileNoFix && one.isFixKnown);
}
