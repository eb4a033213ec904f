import { assertEquals } from "@std/assert";
import { eventually } from "../../../tests/support/eventually.ts";
import { ScriptedApi } from "../../../tests/support/scripted_api.ts";
import { runtimeFor } from "../../../tests/support/source_runtime.ts";
import { VirtualTime } from "../../../tests/support/virtual_time.ts";
import { systemClock } from "../../model/clock.ts";
import type { KubeObject } from "../../kube/api.ts";
import type { Intake } from "../../pipeline/intake.ts";
import { createMetrics } from "../../telemetry/metrics.ts";
import { objectPayload } from "../active.ts";
import { SourceStates } from "../status.ts";
import { trivy } from "../trivy/mod.ts";
import { runInformer } from "./informer.ts";

const TYPE = {
  group: "aquasecurity.github.io",
  version: "v1alpha1",
  plural: "vulnerabilityreports",
  kind: "VulnerabilityReport",
  namespaced: true,
};
const REPORTS = 20;
const VIEW = { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" };

Deno.test("what may not be read is asked for less and less often, and read soon after it may be", async () => {
  const time = new VirtualTime();
  let lists = 0;
  class Api extends ScriptedApi {
    override list<T extends KubeObject>(...args: Parameters<ScriptedApi["list"]>) {
      lists++;
      return super.list<T>(...args);
    }
  }
  const api = new Api();
  api.deny(TYPE.plural, 403);
  const metrics = createMetrics();
  const states = new SourceStates(metrics, time);
  states.add("trivy", { kind: "finding", input: "informer" });
  const stop = new AbortController();
  const nothing = () => {};
  const running = runInformer({
    api,
    type: TYPE,
    view: VIEW,
    source: runtimeFor(trivy),
    intake: { take: () => Promise.reject(new Error("there is nothing to be taken in")) },
    views: { begin: nothing, report: nothing, gone: nothing, complete: nothing, lost: nothing },
    states,
    payloadOf: () => undefined,
    resyncMs: 3_600_000,
    onReevaluate: () => ({ [Symbol.dispose]: nothing }),
    metrics,
    clock: time,
    watcherOptions: { sleep: time.sleep, random: () => 0.5 },
  }, stop.signal);
  await time.advance(10_000);
  const soon = lists;
  assertEquals([soon >= 5, states.state("trivy")], [true, "forbidden"]);
  await time.advance(3_600_000);
  assertEquals(lists - soon <= 70, true, `${lists - soon} requests in an hour`);
  api.deny(TYPE.plural, 0);
  await time.advance(60_000);
  assertEquals(states.state("trivy"), "synced");
  stop.abort();
  await running;
});

Deno.test("calls to evaluate again that come faster than an evaluation is done do not keep it from its end", async () => {
  const api = new ScriptedApi();
  for (let report = 0; report < REPORTS; report++) {
    api.put(TYPE.plural, { metadata: { name: `report-${report}`, namespace: "shop" } });
  }
  const metrics = createMetrics();
  const states = new SourceStates(metrics, systemClock);
  states.add("trivy", { kind: "finding", input: "informer" });
  let again = () => {};
  let changing = true;
  let taken = 0;
  const takenAtCompletion: number[] = [];
  const intake: Intake = {
    async take() {
      await new Promise((resolve) => setTimeout(resolve, 1));
      taken++;
      if (changing) again();
      const nothing = { received: 0, created: 0, deduped: 0, filtered: 0, failed: 0, undecided: 0 };
      const byReason = { filtered: {}, failed: {} };
      const read = { payloadErrors: [], payloadErrorCount: 0, fingerprints: [] };
      return { ...nothing, byReason, ...read };
    },
  };
  const stop = new AbortController();
  const running = runInformer({
    api,
    type: TYPE,
    view: VIEW,
    source: runtimeFor(trivy),
    intake,
    views: {
      begin: () => {},
      report: () => {},
      gone: () => {},
      complete: () => void takenAtCompletion.push(taken),
      lost: () => {},
    },
    states,
    payloadOf: (object) => ({
      payload: objectPayload(object, { confined: true, receivedAt: 0 }),
      readable: true,
    }),
    resyncMs: 3_600_000,
    onReevaluate: (listener) => {
      again = listener;
      return { [Symbol.dispose]: () => again = () => {} };
    },
    metrics,
    clock: systemClock,
  }, stop.signal);
  await eventually("two evaluations to be done", () => takenAtCompletion.length >= 2, { timeoutMs: 10_000 });
  changing = false;
  assertEquals(takenAtCompletion.slice(0, 2), [REPORTS, 2 * REPORTS]);
  const before = taken;
  again();
  await eventually("the last call to be heeded", () => taken >= before + REPORTS);
  stop.abort();
  await running;
});
