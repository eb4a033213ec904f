/** Expressions and patterns written to cost without bound: refused when they are loaded, or cheap on the largest event. */
import { assert, assertEquals } from "@std/assert";
import { normalEvent } from "../support/normal_event.ts";
import process from "node:process";
import v8 from "node:v8";
import vm from "node:vm";
import { report } from "../cluster/watching.ts";
import { HOSTILE_EXPRESSIONS, HOSTILE_PATTERNS, PATTERNS, REPEATED } from "../support/hostile_expressions.ts";
import { SHOW } from "./form.ts";
import { filterVariables } from "../../src/filters/checks.ts";
import { compileFilterExpression, type Expression, ExpressionError } from "../../src/filters/expression.ts";
import { LiveFilters } from "../../src/filters/filter.ts";
import { MAX_STEPS } from "../../src/filters/steps.ts";
import { compileMapped } from "../../src/mapped/compile.ts";
import { makePlan, MAX_MAPPED, type PlanContext, planSteps } from "../../src/mapped/plan.ts";
import type { KubeObject } from "../../src/kube/api.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";

const many = <T>(length: number, of: (index: number) => T): T[] =>
  Array.from({ length }, (_, index) => of(index));

/** A value nested sixty levels deep. */
const nested = many(60, (index) => index).reduce<unknown>(
  (inner, index) => index % 2 ? [inner] : { a: inner },
  "x",
);

/** Events at the bound of `details`, each large in another way. */
const LARGEST_DETAILS = [
  { list: many(2_000, () => "a"), text: "", half: "", map: {}, objects: [], nested },
  { list: many(1_300, (index) => index), text: "a", half: "a", map: { a: 1 }, objects: [] },
  { list: ["a"], text: "a".repeat(4_000), half: `${"a".repeat(3_990)}b`, map: {}, objects: [{}] },
  { list: ["a"], text: "a,".repeat(2_000), half: "ab".repeat(2_000), map: {}, objects: [] },
  {
    list: [],
    text: "é".repeat(2_000),
    half: "",
    map: Object.fromEntries(many(900, (i) => [`k${i}`, i])),
    objects: [],
  },
  { list: ["x"], text: "\n".repeat(2_000), half: "", map: {}, objects: many(1_500, () => ({})) },
];
const LARGEST = LARGEST_DETAILS.map((details) => filterVariables(normalEvent({ details: details as never })));

function compiled(text: string): Expression | undefined {
  try {
    return compileFilterExpression(text);
  } catch (error) {
    assert(error instanceof ExpressionError, `${text}: ${error}`);
    return undefined;
  }
}

/** What an evaluation may allocate: about 1 MiB, and what V8 allocates beside it before the code is compiled. */
const MAX_GARBAGE_MIB = 2;

/** What an evaluation may hold after a collection: alone, and together with all the others of its kind. */
const MAX_HELD_MIB = 1;
/** Evaluations of each expression on each event, between two collections. */
const EVALUATIONS = 5;

v8.setFlagsFromString("--expose-gc");
const collectGarbage: () => void = vm.runInNewContext("gc");

/** The memory in use after a full collection. */
function heldMib(): number {
  collectGarbage();
  const { heapUsed, external } = Deno.memoryUsage();
  return (heapUsed + external) / 2 ** 20;
}

interface Cost {
  readonly ms: number;
  readonly mib: number;
}

/** The least processor time of several runs, and the least memory that one of them took and no collection gave back. */
function costOf(run: () => void): Cost {
  let ms = Infinity, bytes = Infinity;
  for (let round = 0; round < 7; round++) {
    const { heapUsed, external } = Deno.memoryUsage();
    const before = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(before);
    const after = Deno.memoryUsage();
    const taken = after.heapUsed - heapUsed + after.external - external;
    ms = Math.min(ms, (user + system) / 1_000);
    if (taken >= 0) bytes = Math.min(bytes, taken);
  }
  return { ms, mib: Number.isFinite(bytes) ? bytes / 2 ** 20 : 0 };
}

interface Evaluable {
  evaluate(variables: Readonly<Record<string, unknown>>, budget: { left: number }): unknown;
}

/** The steps that one evaluation takes. */
function evaluate(expression: Evaluable, variables: Readonly<Record<string, unknown>>): number {
  const budget = { left: MAX_STEPS };
  try {
    expression.evaluate(variables, budget);
  } catch (error) {
    assert(error instanceof ExpressionError, String(error));
  }
  return MAX_STEPS - budget.left;
}

/** An expression of a mapping; undefined where it is refused. */
function mapped(text: string): Evaluable | undefined {
  const spec = { source: "tool", type: "webhook", webhook: { path: "/x" }, mapping: { when: text } };
  const result = compileMapped({ kind: "Ingester", metadata: { name: "x", namespace: "n" }, spec });
  return result.ok ? result.value.mapping?.when : undefined;
}

interface Kind {
  readonly texts: readonly string[];
  readonly compile: (text: string) => Evaluable | undefined;
  readonly inputs: readonly Readonly<Record<string, unknown>>[];
}

/** Payloads far larger than an event's details may be. */
const PAYLOADS = LARGEST_DETAILS.map((details) => {
  const larger = Object.fromEntries(
    Object.entries(details).map(([key, value]) => [
      key,
      Array.isArray(value) && key !== "nested"
        ? Array(100).fill(value).flat()
        : typeof value === "string"
        ? value.repeat(100)
        : value,
    ]),
  );
  return { item: larger, root: larger, key: "" };
});

const KINDS: Readonly<Record<string, Kind>> = {
  "expressions of filters": { texts: HOSTILE_EXPRESSIONS, compile: compiled, inputs: LARGEST },
  "patterns": {
    texts: HOSTILE_PATTERNS.map((pattern) => `details.text.matches('${pattern}')`),
    compile: compiled,
    inputs: LARGEST,
  },
  "expressions of mappings": {
    texts: HOSTILE_EXPRESSIONS.map((text) => text.replaceAll("details.", "item.")),
    compile: mapped,
    inputs: PAYLOADS,
  },
};

for (const [kind, { texts, compile, inputs }] of Object.entries(KINDS)) {
  Deno.test(`hostile ${kind} are refused at load, or take no more than the steps of one evaluation and 2 MiB of memory, and hold at most 1 MiB`, () => {
    assert(texts.length >= 100, `${texts.length} of them`);
    // The longest work of one legitimate evaluation, to which every other expression is compared.
    const yardstick = compiled("details.list.all(x, x != 'b' && x != 'c' && x != 'd')");
    assert(yardstick && LARGEST[0]);
    const [first] = LARGEST;
    const stepMs = costOf(() => evaluate(yardstick, first)).ms / evaluate(yardstick, first);
    const slow: string[] = [];
    const accepted: { text: string; expression: Evaluable }[] = [];
    let refused = 0, worst = { ms: 0, mib: 0 };
    for (const text of texts) {
      const expression = compile(text);
      if (!expression) {
        refused++;
        continue;
      }
      accepted.push({ text, expression });
      for (const variables of inputs) {
        assert(evaluate(expression, variables) <= MAX_STEPS, text);
        const { ms, mib } = costOf(() => evaluate(expression, variables));
        worst = { ms: Math.max(worst.ms, ms), mib: Math.max(worst.mib, mib) };
        const ratio = ms / (stepMs * MAX_STEPS);
        // A step is priced by the most expensive of its kind, and the first use of a time zone loads its data.
        if (ratio > 12) slow.push(`${text}: ${ratio.toFixed(1)} times ${MAX_STEPS} simple steps`);
        if (mib > MAX_GARBAGE_MIB) slow.push(`${text}: ${mib.toFixed(1)} MiB`);
      }
    }
    const before = heldMib();
    let last = before, worstHeldMib = 0;
    for (const { text, expression } of accepted) {
      for (const variables of inputs) {
        for (let round = 0; round < EVALUATIONS; round++) evaluate(expression, variables);
      }
      const now = heldMib();
      if (now - last > MAX_HELD_MIB) slow.push(`${text}: holds ${(now - last).toFixed(1)} MiB`);
      worstHeldMib = Math.max(worstHeldMib, now - last);
      last = now;
    }
    const allHeldMib = last - before;
    if (allHeldMib > MAX_HELD_MIB) slow.push(`all of them: hold ${allHeldMib.toFixed(1)} MiB`);
    if (SHOW) {
      report(`${texts.length} ${kind}`, {
        "refused at load": refused,
        "worst of the others, µs of CPU": worst.ms * 1_000,
        "KiB allocated": worst.mib * 1_024,
        "KiB held by one": worstHeldMib * 1_024,
        "KiB held by all": allHeldMib * 1_024,
      });
    }
    assertEquals(slow, []);
  });
}

Deno.test("expressions that scan a list for each element of another, and patterns of too many states, are refused at load", () => {
  const refused = HOSTILE_EXPRESSIONS.filter((text) => compiled(text) === undefined);
  for (const text of [...REPEATED, ...PATTERNS.map((pattern) => `'${pattern}'`)]) {
    assert(refused.some((line) => line.includes(text)), `not refused: ${text}`);
  }
});

Deno.test("hostile expressions of a mapping are refused with the path to them", () => {
  const spec = (when: string) => ({
    source: "tool",
    type: "webhook",
    webhook: { path: "/x" },
    mapping: { when, resolvedWhen: when },
  });
  for (
    const text of [
      "root.a.all(x, root.b.all(y, x == y))",
      "item.t.matches('[a-z]{0,1000}[0-9]')",
      "root.a.all(x, x in root.b)",
    ]
  ) {
    const result = compileMapped({
      kind: "Ingester",
      metadata: { name: "x", namespace: "n" },
      spec: spec(text),
    });
    assert(!result.ok, text);
    assertEquals(result.problems.map(({ path }) => path.join(".")), [
      "spec.mapping.when",
      "spec.mapping.resolvedWhen",
    ]);
  }
});

const CONTEXT: PlanContext = {
  builtins: new Map(),
  trust: { ownNamespace: "zen-system", trustedNamespaces: [], configMapNamespaces: [], reportEngines: [] },
  served: () => ({ state: "served", resources: [] }),
  secret: () => ({}),
  lastGood: new Map(),
};

function ingester(index: number, namespace = "zen-system"): KubeObject {
  const minute = String(index % 60).padStart(2, "0");
  const hour = String(Math.floor(index / 60)).padStart(2, "0");
  return {
    kind: "Ingester",
    metadata: {
      name: `i${index}`,
      namespace,
      uid: `${namespace}-${index}`,
      generation: 1,
      creationTimestamp: `2026-01-01T${hour}:${minute}:00Z`,
    },
    spec: {
      source: `tool-${index}`,
      type: "webhook",
      webhook: { path: `/ingest/${index}` },
      mapping: { when: "item.text.matches('^[a-z]+$')", message: ".m" },
    },
  };
}

Deno.test("of a thousand Ingesters the oldest are active, those of untrusted namespaces do not count, and none is compiled twice", () => {
  const foreign = many(600, (index) => ingester(index, "tenant"));
  const objects = [...many(1_000, (index) => ingester(index)), ...foreign];
  const plan = makePlan(objects, CONTEXT);
  assertEquals(plan.active.size, MAX_MAPPED);
  assertEquals(plan.active.has("Ingester zen-system/i0"), true);
  assertEquals(plan.verdicts.get("Ingester zen-system/i999")?.reason, "LimitExceeded");
  assertEquals(plan.verdicts.get("Ingester tenant/i0")?.reason, "NamespaceNotTrusted");
  const changed = objects.map((object, index) =>
    index === 3 ? { ...object, metadata: { ...object.metadata, generation: 2 } } : object
  );
  const next = makePlan(changed, { ...CONTEXT, lastGood: plan.good, lastRead: plan.read });
  const again = [...next.read].filter(([id, read]) => plan.read.get(id) !== read).map(([id]) => id);
  assertEquals(again, ["Ingester zen-system/i3"]);
});

Deno.test("a plan of a thousand Ingesters is made an object at a step, between which the loop is yielded", () => {
  const objects = many(1_000, (index) => ingester(index));
  assertEquals([...planSteps(objects, CONTEXT)].length, 1_000);
});

Deno.test("when a tenant's expressions have spent their steps, its events are kept and others are filtered as before", () => {
  let now = 0;
  const filters = new LiveFilters({
    metrics: createMetrics(),
    clock: { now: () => 0, monotonic: () => now },
  });
  const costly = compileFilterExpression("details.list.all(x, x == 'b' || x != 'c')");
  const cheap = compileFilterExpression('eventType != "noise"');
  const tenant = (namespace: string, expression: Expression, index = 0) => ({
    name: `${namespace}/${index}`,
    source: "*",
    block: { expression },
    tenantNamespace: namespace,
  });
  filters.replace("observationFilters", [
    ...many(20, (index) => tenant("hostile", costly, index)),
    tenant("other", cheap),
    { name: "operator", source: "*", block: { expression: cheap } },
  ]);
  const list = many(2_000, () => "a");
  const errors = () =>
    filters.report().filter(({ name }) => name.startsWith("hostile/")).reduce(
      (sum, each) => sum + each.expressionErrors,
      0,
    );
  const send = (namespace: string, eventType = "e") =>
    filters.filter(normalEvent({ resource: { namespace }, details: { list }, eventType }));
  for (let event = 0; event < 200; event++) send("hostile");
  const before = errors();
  for (let event = 0; event < 10; event++) assertEquals(send("hostile"), undefined);
  assertEquals(errors() - before, 200, "every expression of every event");
  assertEquals(send("hostile", "noise")?.document, "operator");
  assertEquals(send("other", "noise")?.document, "operator");
  const others = filters.report().filter(({ name }) => !name.startsWith("hostile/"));
  assertEquals(others.map(({ expressionErrors }) => expressionErrors), [0, 0]);
  // It earns its steps again, a second's worth in a second.
  now += 1_000;
  const spent = errors();
  send("hostile");
  assert(errors() - spent < 20, `${errors() - spent} errors`);
});
