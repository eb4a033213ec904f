import { assertEquals } from "@std/assert";
import { systemClock } from "../model/clock.ts";
import type { Intake } from "../pipeline/intake.ts";
import { readSettings } from "../settings.ts";
import type { ActiveSource } from "../mapped/activate.ts";
import { falco } from "../sources/falco/mod.ts";
import type { Claim } from "../mapped/runtime.ts";
import { kyverno } from "../sources/kyverno/mod.ts";
import type { SourceDefinition } from "../sources/source.ts";
import { SourceStates } from "../sources/status.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { SourceSet } from "./sources.ts";

const NO_INTAKE: Intake = {
  take: () => Promise.reject(new Error("nothing was to be taken in")),
};

const CLAIMS: Readonly<Record<string, Claim>> = { broken: "open", off: "disabled", uninstalled: "absent" };

function newSet(): { sources: SourceSet; states: SourceStates } {
  const metrics = createMetrics();
  const states = new SourceStates(metrics, systemClock);
  const sources = new SourceSet({
    settings: readSettings(() => undefined),
    intake: () => NO_INTAKE,
    states,
    metrics,
    context: () => ({ ownUser: "" }),
    payloadError: () => {},
    noteEvents: () => {},
    claims: (source) => CLAIMS[source] ?? "none",
  });
  return { sources, states };
}

function active(definition: SourceDefinition, door?: string): ActiveSource {
  return {
    id: door ?? `Ingester zen-system/${definition.name}`,
    revision: "1",
    definition,
    scope: {},
    confined: true,
    auth: { type: "none" },
    overrides: door === undefined ? {} : { door },
    rateLimit: undefined,
    filter: undefined,
  };
}

Deno.test("what a policy report's view says ends no finding of a source that configuration took back", () => {
  const { sources } = newSet();
  assertEquals(sources.viewSourceOf("gatekeeper"), "kyverno");
  sources.setMapped([active({ ...kyverno, name: "gatekeeper" })]);
  assertEquals(sources.viewSourceOf("gatekeeper"), "gatekeeper");
  sources.setMapped([]);
  assertEquals(sources.viewSourceOf("gatekeeper"), undefined);
  assertEquals(sources.viewSourceOf("kubewarden"), "kyverno");
  assertEquals(sources.viewSourceOf("broken"), "");
  assertEquals(sources.viewSourceOf("off"), undefined);
  assertEquals(sources.viewSourceOf("uninstalled"), undefined);
});

Deno.test("a door that is gone leaves no path behind in the status of its source", () => {
  const { sources, states } = newSet();
  const before = states.report();
  const door = active(
    { ...falco, input: { type: "webhook", path: "/ingest/edge" } },
    "Ingester zen-system/edge",
  );
  sources.setMapped([door]);
  assertEquals(states.report().falco?.resources?.["/ingest/edge (Ingester zen-system/edge)"], "serving");
  assertEquals(sources.endpoints.has("/ingest/edge"), true);
  sources.setMapped([]);
  assertEquals(states.report(), before);
  assertEquals(sources.endpoints.has("/ingest/edge"), false);
});
