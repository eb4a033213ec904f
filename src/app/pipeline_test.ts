import { settingsWith } from "../../tests/support/source_runtime.ts";
import { postFeeds } from "../../tests/support/post_feeds.ts";
import { systemClock } from "../model/time.ts";
import type { Claim } from "../mapped/runtime.ts";
import { falco } from "../sources/falco/mod.ts";
import { kyverno } from "../sources/kyverno/mod.ts";
import { trivy } from "../sources/trivy/mod.ts";
import type { Source } from "../sources/source.ts";
import { SourceStates } from "../sources/status.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { coverageOf, inScopeOf, scopeOf, SourceSet } from "./pipeline.ts";
import { assertEquals } from "@std/assert";
import { confine } from "../pipeline/normalize.ts";
import { readSettings } from "../settings.ts";

const CLAIMS: Readonly<Record<string, Claim>> = { broken: "open", off: "disabled", uninstalled: "absent" };

function newSet(): { sources: SourceSet; states: SourceStates } {
  const metrics = createMetrics();
  const states = new SourceStates(metrics, systemClock);
  const sources = new SourceSet({
    states,
    metrics,
    settings: settingsWith({ REPORT_ENGINES: "My Scanner" }),
    claims: (source) => CLAIMS[source] ?? "none",
  });
  return { sources, states };
}

const DOOR: Source = {
  ...falco,
  feeds: [{
    type: "post",
    path: "/ingest/edge",
    ingester: { id: "Ingester zen-system/edge", revision: "1", isDoor: true },
  }],
};

Deno.test("viewSourceOf() gives kyverno's views the sources that policy reports may name, and no other", () => {
  const { sources } = newSet();
  const viewsOf = (name: string) => sources.viewSourceOf(name);
  for (const name of ["kyverno", "policy-report", "kubewarden", "my-scanner"]) {
    assertEquals(viewsOf(name), "kyverno", name);
  }
  assertEquals(viewsOf("falco"), undefined, "pushed");
  // A process that starts after their Ingester was deleted has never seen it.
  assertEquals(viewsOf("gatekeeper"), undefined);
  assertEquals(viewsOf("alertmanager"), undefined);
});

Deno.test("viewSourceOf() follows the objects that name a source, and gives a removed source no views", () => {
  const { sources } = newSet();
  sources.set([{ ...kyverno, name: "gatekeeper" }, { ...kyverno, name: "tracee" }]);
  assertEquals(sources.viewSourceOf("gatekeeper"), "gatekeeper");
  sources.set([]);
  assertEquals(sources.viewSourceOf("gatekeeper"), undefined);
  assertEquals(sources.viewSourceOf("tracee"), undefined, "its findings may be those of the removed mapping");
  assertEquals(sources.viewSourceOf("broken"), "");
  assertEquals(sources.viewSourceOf("off"), undefined);
  assertEquals(sources.viewSourceOf("uninstalled"), undefined);
});

Deno.test("a door is one more feed of its built-in source, whose other feeds stay", () => {
  const { sources, states } = newSet();
  sources.set([DOOR]);
  assertEquals(sources.all.filter(({ name }) => name === "falco").map(({ feeds }) => feeds.length), [2]);
  assertEquals(states.report().falco?.feeds, ["post"]);
  sources.set([]);
  assertEquals(sources.named("falco"), falco);
});

Deno.test("a source that configuration took back leaves nothing in the status", () => {
  const { sources, states } = newSet();
  const before = states.report();
  sources.set([{ ...falco, name: "tool" }]);
  assertEquals(Object.keys(states.report()).includes("tool"), true);
  sources.set([]);
  states.forget({ source: "tool", resource: "/falco/webhook" });
  assertEquals(states.report(), before);
});

Deno.test("a view reports the event types that its resource declares, or any", () => {
  const { sources } = newSet();
  const eventTypes = (source: string, resource: string) => sources.eventTypesOf({ source, resource });
  assertEquals(eventTypes("trivy", "vulnerabilityreports.aquasecurity.github.io"), ["vulnerability"]);
  assertEquals(eventTypes("kube-bench", "configmaps"), undefined);
  assertEquals(eventTypes(trivy.name, "unknown"), undefined);
});

Deno.test("a door that is gone leaves no path behind in the status of its source", () => {
  const { sources, states } = newSet();
  const posts = postFeeds(sources.all, { take: () => Promise.reject(new Error("nothing is sent")), states });
  const before = states.report();
  sources.set([DOOR]);
  posts.set(sources.all);
  assertEquals(states.report().falco?.resources?.["/ingest/edge (Ingester zen-system/edge)"], "serving");
  assertEquals(posts.find("/ingest/edge")?.post.source.name, "falco");
  sources.set([]);
  posts.set(sources.all);
  assertEquals(states.report(), before);
  assertEquals(posts.find("/ingest/edge"), undefined);
});

const CASES: readonly { list?: string; cluster?: string; namespace?: string; expected: boolean }[] = [
  { namespace: "shop", expected: true },
  { expected: true },
  { cluster: "false", expected: false },
  { list: "shop,pay", namespace: "pay", expected: true },
  { list: "shop,pay", namespace: "other", expected: false },
  { list: "shop", expected: false },
  { list: "shop", cluster: "true", expected: true },
];

for (const { list = "", cluster = "", namespace, expected } of CASES) {
  Deno.test(`inScopeOf() is ${expected} for namespace "${namespace ?? ""}" of shard "${list}", cluster-scoped "${cluster}"`, () => {
    const env: Readonly<Record<string, string>> = { WATCH_NAMESPACE: list, WATCH_CLUSTER_SCOPED: cluster };
    const inScope = inScopeOf(coverageOf(scopeOf(readSettings((name) => env[name]))));
    assertEquals(inScope({ resource: { kind: "Pod", ...(namespace ? { namespace } : {}) } }), expected);
  });
}

Deno.test("a finding without a resource of its own is of its report's shard", () => {
  const env: Readonly<Record<string, string>> = { WATCH_NAMESPACE: "shop" };
  const inScope = inScopeOf(coverageOf(scopeOf(readSettings((name) => env[name]))));
  for (const namespace of ["shop", "other"]) {
    const { resource } = confine(undefined, { namespace, confined: true });
    assertEquals(inScope({ ...(resource && { resource }) }), namespace === "shop");
  }
});
