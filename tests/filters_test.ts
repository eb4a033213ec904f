import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { eventOf } from "../src/cli/read/event_of.ts";
import { parseFilterDocuments } from "../src/filters/document.ts";
import { formatProblem } from "../src/text/problem.ts";
import { CATEGORIES, SEVERITIES } from "../src/model/observation.ts";
import type { NormalEvent } from "../src/model/event.ts";
import { compileFilterExpression } from "../src/filters/expression.ts";
import { compileFilters, type FilterBlock, type FilterDocument } from "../src/filters/filter.ts";
import { toObservation } from "../src/pipeline/normalize.ts";
import { audit } from "../src/sources/audit/mod.ts";
import { falco } from "../src/sources/falco/mod.ts";
import type { StoredObservation } from "../src/store/observations.ts";
import { loadPayloads } from "./support/load_fixture.ts";
import { runtimeFor } from "./support/source_runtime.ts";
import { normalEvent } from "./support/normal_event.ts";

const FIXTURES = new URL("./fixtures/filters/", import.meta.url);
const MISTAKES = [...Deno.readDirSync(FIXTURES)].map((entry) => entry.name).filter((name) =>
  !name.endsWith(".txt")
);

for (const name of MISTAKES.sort()) {
  Deno.test(`filters reject ${name} with its exact message`, async () => {
    const text = await Deno.readTextFile(new URL(name, FIXTURES));
    const expected = await Deno.readTextFile(new URL(name.replace(/\.\w+$/, ".txt"), FIXTURES));
    const result = parseFilterDocuments(text, "ConfigMap zen-system/zen-watcher-filter");
    assert(!result.ok, "expected a rejection");
    const doing = 'load filters "zen-system/zen-watcher-filter"';
    assertEquals(`${result.problems.map((problem) => formatProblem(doing, problem)).join("\n")}\n`, expected);
  });
}

const SOURCES = ["trivy", "falco", "audit"];
const EVENT_TYPES = ["vulnerability", "pod-exec", "runtime-threat"];
const NAMESPACES = ["prod", "prod-eu", "dev", "kube-system"];
const NAMESPACE_PATTERNS = [...NAMESPACES, "prod*", "*-eu", "*", "k*s*m"];
const KINDS = ["Pod", "Deployment", "Node"];
const RULES = ["CVE-1", "KSV001", "require-labels", "require-labels/check"];

const some = (values: readonly string[]) => fc.subarray([...values], { minLength: 1 });

const block: fc.Arbitrary<FilterBlock> = fc.record({
  enabled: fc.boolean(),
  minSeverity: fc.constantFrom(...SEVERITIES),
  includeSeverity: fc.subarray([...SEVERITIES], { minLength: 1 }),
  excludeSeverity: fc.subarray([...SEVERITIES], { minLength: 1 }),
  includeEventTypes: some(EVENT_TYPES),
  excludeEventTypes: some(EVENT_TYPES),
  includeNamespaces: some(NAMESPACE_PATTERNS),
  excludeNamespaces: some(NAMESPACE_PATTERNS),
  includeKinds: some(KINDS),
  excludeKinds: some(KINDS),
  includeCategories: fc.subarray([...CATEGORIES], { minLength: 1 }),
  excludeCategories: fc.subarray([...CATEGORIES], { minLength: 1 }),
  includeRules: some(RULES),
  excludeRules: some(RULES),
  expression: fc.constantFrom('severity == "HIGH"', 'resource.kind == "Pod"', "details.score > 5")
    .map(compileFilterExpression),
  mode: fc.constantFrom("Enforce" as const, "Shadow" as const),
}, { requiredKeys: [] });

const documents: fc.Arbitrary<FilterDocument[]> = fc.array(
  fc.record({
    source: fc.constantFrom("*", ...SOURCES),
    block,
    tenantNamespace: fc.option(fc.constantFrom(...NAMESPACES), { nil: undefined }),
  }),
  { maxLength: 6 },
).map((drafts) =>
  drafts.map(({ tenantNamespace, ...draft }, index) => ({
    ...draft,
    name: `document ${index}`,
    ...(tenantNamespace !== undefined && { tenantNamespace }),
  }))
);

const event: fc.Arbitrary<NormalEvent> = fc.record({
  source: fc.constantFrom(...SOURCES),
  category: fc.constantFrom(...CATEGORIES),
  severity: fc.constantFrom(...SEVERITIES),
  eventType: fc.constantFrom(...EVENT_TYPES),
  rules: fc.subarray(RULES),
  namespace: fc.constantFrom(...NAMESPACES),
  resource: fc.record({
    kind: fc.constantFrom(...KINDS),
    namespace: fc.constantFrom(...NAMESPACES),
  }, { requiredKeys: [] }),
  details: fc.record({ score: fc.constantFrom(1, 9) }, { requiredKeys: [] }),
  neverDroppedByTenants: fc.constant(true as const),
}, {
  requiredKeys: ["source", "category", "severity", "eventType", "rules", "namespace", "resource", "details"],
}).map((fields) => normalEvent(fields));

for (
  const [source, fixture, isKept] of [[audit, "single-event", true], [
    falco,
    "documented-alerts",
    false,
  ]] as const
) {
  Deno.test(`a tenant's filter drops ${isKept ? "no" : "the"} event of ${source.name}, from its payload and as it is stored`, async () => {
    const runtime = runtimeFor(source);
    const { payloads } = await loadPayloads(`sources/${source.name}/${fixture}/input.json`, source);
    const events = payloads.flatMap((payload) =>
      [...runtime.draw(payload)].flatMap((drawn) =>
        "event" in drawn ? runtime.normalize(drawn.event, payload) : []
      )
    );
    const event = events.find(({ resource }) => resource?.namespace !== undefined);
    assert(event?.resource?.namespace);
    const filters = compileFilters([{
      name: "tenant",
      source: "*",
      block: { enabled: false },
      tenantNamespace: event.resource.namespace,
    }]);
    const calm = { ...event, severity: "HIGH" as const };
    const stored = toObservation(calm, 1, { instance: "default", eventId: "e" });
    for (const each of [calm, eventOf(stored as StoredObservation)]) {
      assertEquals(filters.evaluate(each).pass, isKept);
      assertEquals(filters.explain(each)[0]?.verdict, isKept ? "not_applicable" : "drop");
    }
  });
}

Deno.test("filters give the same verdict in any order of documents", () => {
  const shuffled = documents.chain((list) =>
    fc.tuple(
      fc.constant(list),
      fc.shuffledSubarray(list, { minLength: list.length, maxLength: list.length }),
    )
  );
  fc.assert(fc.property(shuffled, event, ([list, other], sample) => {
    assertEquals(compileFilters(other).evaluate(sample), compileFilters(list).evaluate(sample));
  }));
});

Deno.test("filters never let more through when a document is added", () => {
  fc.assert(fc.property(documents, documents, event, (list, more, sample) => {
    const added = more.map((document, index) => ({ ...document, name: `added ${index}` }));
    if (!compileFilters(list).evaluate(sample).pass) {
      assertEquals(compileFilters([...list, ...added]).evaluate(sample).pass, false);
    }
  }));
});

Deno.test("filters agree with a plain reading of the rules, and so does their explanation", () => {
  fc.assert(
    fc.property(documents, event, (list, sample) => {
      const filters = compileFilters(list);
      const verdict = filters.evaluate(sample);
      assertEquals(verdict.pass, list.every((document) => referencePasses(document, sample)));
      const dropping = filters.explain(sample).filter((document) => document.verdict === "drop");
      assertEquals(verdict.pass, dropping.length === 0);
      if (!verdict.pass) {
        assertEquals({ document: verdict.document, reason: verdict.reason }, {
          document: dropping[0]?.document ?? "",
          reason: dropping[0]?.reason ?? "disabled",
        });
      }
    }),
    { numRuns: 500 },
  );
});

/** The rules once more, written to be read and not to be fast. */
function referencePasses({ source, block, tenantNamespace }: FilterDocument, sample: NormalEvent): boolean {
  if (source !== "*" && source !== sample.source) return true;
  if (block.mode === "Shadow") return true;
  if (tenantNamespace !== undefined) {
    if (sample.resource?.namespace !== tenantNamespace) return true;
    if (sample.severity === "CRITICAL" || sample.neverDroppedByTenants) return true;
  }
  const rank = [...SEVERITIES].reverse();
  const severityPasses = block.includeSeverity
    ? block.includeSeverity.includes(sample.severity)
    : !block.excludeSeverity?.includes(sample.severity) &&
      (!block.minSeverity || rank.indexOf(sample.severity) >= rank.indexOf(block.minSeverity));
  const glob = (pattern: string) => new RegExp(`^${pattern.replaceAll("*", ".*")}$`);
  const namespaceIn = (patterns: readonly string[]) =>
    patterns.some((pattern) => sample.resource?.namespace && glob(pattern).test(sample.resource.namespace));
  return block.enabled !== false &&
    severityPasses &&
    listPasses([sample.eventType], block.includeEventTypes, block.excludeEventTypes) &&
    (block.includeNamespaces
      ? namespaceIn(block.includeNamespaces)
      : !namespaceIn(block.excludeNamespaces ?? [])) &&
    listPasses([sample.resource?.kind], block.includeKinds, block.excludeKinds) &&
    listPasses([sample.category], block.includeCategories, block.excludeCategories) &&
    listPasses(sample.rules, block.includeRules, block.excludeRules) &&
    referenceExpression(block.expression?.text, sample);
}

function listPasses(
  values: readonly (string | undefined)[],
  include?: readonly string[],
  exclude?: readonly string[],
): boolean {
  const isIn = (list: readonly string[]) =>
    values.some((value) => value !== undefined && list.includes(value));
  return include ? isIn(include) : !isIn(exclude ?? []);
}

function referenceExpression(expression: string | undefined, sample: NormalEvent): boolean {
  switch (expression) {
    case 'severity == "HIGH"':
      return sample.severity === "HIGH";
    case 'resource.kind == "Pod"':
      return sample.resource?.kind === undefined || sample.resource.kind === "Pod";
    case "details.score > 5":
      return typeof sample.details.score !== "number" || sample.details.score > 5;
    default:
      return true;
  }
}
