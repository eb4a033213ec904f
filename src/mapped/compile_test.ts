import { assert, assertEquals } from "@std/assert";
import { formatPath, formatProblem } from "../text/problem.ts";
import type { Json, JsonObject } from "../model/json.ts";
import type { KubeObject } from "../kube/api.ts";
import { type CompiledIngester, compileMapped } from "./compile.ts";

function ingester(spec: JsonObject): KubeObject {
  return {
    kind: "Ingester",
    metadata: { name: "x", namespace: "zen-system" },
    spec: { ...WEBHOOK, ...spec },
  };
}

const WEBHOOK: JsonObject = {
  source: "my-tool",
  type: "webhook",
  webhook: { path: "/ingest/x" },
  mapping: {},
};

/** The mistakes of an object, as messages. */
function mistakes(object: KubeObject): string[] {
  const result = compileMapped(object);
  if (result.ok) return [];
  return result.problems.map(({ path, message }) =>
    formatProblem(`load ingester "zen-system/x"`, { path: formatPath(path), message })
  );
}

function compiled(object: KubeObject): CompiledIngester {
  const result = compileMapped(object);
  if (!result.ok) throw new Error(mistakes(object).join("; "));
  return result.value;
}

Deno.test("all mistakes of an Ingester are reported at once, each with its path", () => {
  const told = mistakes(ingester({ mapping: { severity: ".a[", category: "x", when: "item.a" } }));
  assertEquals(told, [
    'Cannot load ingester "zen-system/x": at spec.mapping.when: expected an expression of type bool, received dyn; ' +
    "compare it, as in details.flag == true",
    `Cannot load ingester "zen-system/x": at spec.mapping.severity: expected [0], ["key"] or [*] at "[" in ".a["`,
    'Cannot load ingester "zen-system/x": at spec.mapping.category: expected one of ' +
    'security|compliance|operations|performance|cost or a path, received "x"',
  ]);
});

Deno.test("each mistake of an Ingester has its message", () => {
  const table: [JsonObject, string][] = [
    [{ source: "My Tool" }, 'at spec.source: expected lower-case letters, digits and -, received "My Tool"'],
    [{ typ: "x" }, 'at spec.typ: unknown key; did you mean "type"?'],
    [{ mapping: { serverity: ".s" } }, 'at spec.mapping.serverity: unknown key; did you mean "severity"?'],
    [{ configmap: 5 }, "at spec.configmap: expected an object, received the number 5"],
    [
      { configmap: { labelSelector: "a=b", key: "k" } },
      "at spec.configmap: expected nothing, since type is webhook",
    ],
    [
      { webhook: { path: "x" } },
      'at spec.webhook.path: expected a path such as /ingest/my-tool, received "x"',
    ],
    [
      { webhook: { path: "/x", auth: { type: "bearer" } } },
      "at spec.webhook.auth.secretName: expected the Secret for bearer, received nothing",
    ],
    [
      { webhook: { path: "/x", auth: { type: "none", secretName: "s" } } },
      "at spec.webhook.auth.secretName: expected nothing, since auth.type is none",
    ],
    [
      { mapping: { severityMap: { bad: "awful" } } },
      'at spec.mapping.severityMap.bad: expected one of CRITICAL|HIGH|MEDIUM|LOW|UNKNOWN, received "awful"',
    ],
    [
      { mapping: { eventType: "My Type" } },
      "at spec.mapping.eventType: expected lower-case words joined by - or _",
    ],
    [{ mapping: { forEach: ".items" } }, "at spec.mapping.forEach: expected a path with [*]"],
    [{ mapping: { details: { a: ".b[" } } }, "at spec.mapping.details.a: expected [0]"],
    [
      { mapping: { details: { a: ".a" }, prose: ["a", "b"] } },
      'at spec.mapping.prose[1]: expected message or the name of a detail, received "b"',
    ],
    [{ mapping: { resource: { name: ".a..b" } } }, "at spec.mapping.resource.name: expected .key or [0]"],
    [{ mapping: { identity: ["a", "b"] } }, "at spec.mapping.identity: expected at least one path"],
    [{ mapping: { identity: ["a", ".b["] } }, "at spec.mapping.identity[1]: expected [0]"],
    [{ mapping: { when: "item.a" } }, "at spec.mapping.when: expected an expression of type bool"],
    [{ mapping: { when: "itme.a == 1" } }, 'at character 1 of "itme.a == 1"'],
    [{ window: "5m" }, "at spec.window: expected nothing: a finding has no window"],
    [
      { kind: "occurrence", window: "5" },
      'at spec.window: expected a duration such as 90s or 1h30m, received "5"',
    ],
    [{ kind: "occurrence", window: "0s" }, "at spec.window: expected at least 1s"],
    [
      { kind: "occurrence", mapping: { resolvedWhen: "true" } },
      "at spec.mapping.resolvedWhen: expected nothing: only",
    ],
    [{ filters: { minSeverity: "XX" } }, "at spec.filters.minSeverity: expected one of"],
    [{ filters: { expression: "severity ==" } }, "at spec.filters.expression: "],
    [
      { mapping: { severityMap: { High: "LOW", HIGH: "CRITICAL" } } },
      'at spec.mapping.severityMap.HIGH: is the same word as "High"',
    ],
    [
      { rateLimit: { requestsPerSecond: 0, burst: 1 } },
      "at spec.rateLimit.requestsPerSecond: expected more than 0, received the number 0",
    ],
    [{ rateLimit: { requestsPerSecond: 1 } }, "at spec.rateLimit.burst: expected a number, received nothing"],
    [{ ttlSeconds: 0 }, "at spec.ttlSeconds: expected at least 1, received the number 0"],
    [{ ttlSeconds: 1.5 }, "at spec.ttlSeconds: expected a whole number, received the number 1.5"],
    [{ ttlSeconds: 31_536_001 }, "at spec.ttlSeconds: expected at most 31536000, received the number"],
    [{ webhook: { path: `/${"a".repeat(128)}` } }, "at spec.webhook.path: expected at most 128 characters"],
  ];
  for (const [spec, sentence] of table) {
    const told = mistakes(ingester(spec));
    assertEquals(told.length, 1, JSON.stringify([spec, told]));
    assert(told[0]?.includes(sentence), `${told[0]} should say ${sentence}`);
  }
});

Deno.test("an Ingester needs the block of its type, and takes no other", () => {
  const told = mistakes(ingester({ type: "informer" })).map((line) => line.split('": ')[1]);
  assertEquals(told, [
    "at spec.informer: expected an object, since type is informer, received nothing",
    "at spec.webhook: expected nothing, since type is informer",
  ]);
});

Deno.test("any value that is not an Ingester is reported as a mistake", () => {
  for (const spec of [null, 5, "x", [], {}] as Json[]) {
    const told = mistakes({ kind: "Ingester", metadata: { name: "x", namespace: "n" }, spec });
    assert(told.length > 0 && told.every((line) => line.includes("at spec")), JSON.stringify(told));
  }
});

Deno.test("compileMapped() keeps every field of an Ingester", () => {
  const whole = compiled(ingester({
    kind: "occurrence",
    window: "1h30m5s",
    ttlSeconds: 60,
    rateLimit: { requestsPerSecond: 2.5, burst: 7 },
    filters: { minSeverity: "high" },
    enabled: false,
    mapping: { severityMap: { Awful: "critical" }, identity: [".id"] },
    webhook: { path: "/ingest/x", auth: { type: "hmac", secretName: "s" } },
  }));
  assertEquals(whole.kind, "occurrence");
  assertEquals(whole.windowSeconds, 5_405);
  assertEquals(whole.ttlSeconds, 60);
  assertEquals(whole.rateLimit, { requestsPerSecond: 2.5, burst: 7 });
  assertEquals(whole.filters, { minSeverity: "HIGH" });
  assertEquals(whole.enabled, false);
  assertEquals(whole.severityMap, { awful: "CRITICAL" });
  assertEquals(whole.identityFields, [".id"]);
  assertEquals(whole.input, { type: "webhook", path: "/ingest/x", auth: { type: "hmac", secretName: "s" } });
});

Deno.test("a ConfigMap's namespace is the Ingester's own by default", () => {
  const { input } = compiled({
    kind: "Ingester",
    metadata: { name: "x", namespace: "team" },
    spec: { source: "t", type: "configmap", configmap: { labelSelector: "app=t", key: "k" }, mapping: {} },
  });
  assertEquals(input, { type: "configmap", namespace: "team", labelSelector: "app=t", key: "k" });
});

Deno.test("an ObservationMapping is an informer by kind, and its mistakes have its own paths", () => {
  const mapping = (spec: JsonObject): KubeObject => ({
    kind: "ObservationMapping",
    metadata: { name: "x", namespace: "zen-system" },
    spec: {
      sourceName: "certs",
      group: "cert-manager.io",
      version: "v1",
      kind: "Certificate",
      mappings: {},
      ...spec,
    },
  });
  const { input, kind, source } = compiled(mapping({}));
  assertEquals([kind, source], ["finding", "certs"]);
  assertEquals(input, {
    type: "informer",
    group: "cert-manager.io",
    version: "v1",
    kind: "Certificate",
    namespace: "",
    labelSelector: "",
    fieldSelector: "",
  });
  const told = (spec: JsonObject) =>
    mistakes(mapping(spec)).map((line) => line.split(": ").slice(1, 3).join(": "));
  assertEquals(told({ mappings: { message: ".a[" } }), [
    'at spec.mappings.message: expected [0], ["key"] or [*] at "[" in ".a["',
  ]);
  assertEquals(told({ identity: ["a"] })[0]?.startsWith("at spec.identity"), true);
  assertEquals(told({ severityMap: { a: "LOW", A: "HIGH" } }), [
    'at spec.severityMap.A: is the same word as "a"',
  ]);
  assertEquals(told({ kind: "certificates" })[0]?.startsWith("at spec.kind"), true);
  assertEquals(
    told({ mappings: { resolvedWhen: "true" } })[0]?.startsWith("at spec.mappings.resolvedWhen"),
    true,
  );
  assertEquals(told({ sevrityMap: {} })[0], 'at spec.sevrityMap: unknown key; did you mean "severityMap"?');
});
