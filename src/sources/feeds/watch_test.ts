import { assertEquals } from "@std/assert";
import { NO_BEAT } from "../../model/beat.ts";
import { ChangeSignal } from "../../model/change_signal.ts";
import { KnownDocuments } from "../../../tests/support/known_documents.ts";
import { ONE_CREATED } from "../../../tests/support/post_feeds.ts";
import { ScriptedApi } from "../../../tests/support/scripted_api.ts";
import { VirtualTime } from "../../../tests/support/virtual_time.ts";
import type { KubeObject } from "../../kube/api.ts";
import type { Payload } from "../../model/event.ts";
import type { IntakeResult } from "../../pipeline/intake.ts";
import { createMetrics } from "../../telemetry/metrics.ts";
import { SourceStates } from "../status.ts";
import { trivy } from "../trivy/mod.ts";
import { objectPayload, readView } from "./watch.ts";

const TYPE = {
  group: "aquasecurity.github.io",
  version: "v1alpha1",
  plural: "vulnerabilityreports",
  kind: "VulnerabilityReport",
  namespaced: true,
};
const VIEW = { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" };
const STORED: IntakeResult = { ...ONE_CREATED, fingerprints: ["0123456789abcdef"] };
const NOT_STORED: IntakeResult = { ...STORED, created: 0, failed: 1, undecided: 1 };

class CountingApi extends ScriptedApi {
  lists = 0;
  gets = 0;

  override get<T extends KubeObject>(...args: Parameters<ScriptedApi["get"]>) {
    this.gets++;
    return super.get<T>(...args);
  }

  override list<T extends KubeObject>(...args: Parameters<ScriptedApi["list"]>) {
    this.lists++;
    return super.list<T>(...args);
  }
}

/** A view of Trivy's reports, and what is done with each by `take`. */
function world(
  take: (key: string, attempt: number, onWaiting: (isWaiting: boolean) => void) => Promise<IntakeResult>,
) {
  const time = new VirtualTime();
  const api = new CountingApi();
  const documents = new KnownDocuments();
  const attempts = new Map<string, number>();
  const metrics = createMetrics();
  const states = new SourceStates(metrics, time);
  states.add(trivy);
  const stop = new AbortController();
  const evaluateAgain = new ChangeSignal();
  const running = readView({
    api,
    type: TYPE,
    view: VIEW,
    scope: {},
    views: documents,
    states,
    payloadOf: (object) => ({ payload: objectPayload(object, time.now()), readable: true }),
    take({ origin }: Payload, { onWaiting }) {
      const key = `${origin.namespace}/${origin.name}`;
      const attempt = (attempts.get(key) ?? 0) + 1;
      attempts.set(key, attempt);
      return take(key, attempt, onWaiting);
    },
    resyncMs: 3_600_000,
    evaluateAgain,
    beat: NO_BEAT,
    metrics,
    clock: time,
    watchTuning: { sleep: time.sleep, random: () => 0.5 },
  }, stop.signal);
  return {
    time,
    api,
    documents,
    attempts,
    state: () => states.state("trivy"),
    put: (key: string) => {
      const [namespace = "", name = ""] = key.split("/");
      api.put(TYPE.plural, { metadata: { namespace, name } });
    },
    remove: (key: string) => api.remove(TYPE.plural, key),
    relist: () => evaluateAgain.raise(),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

Deno.test("readView() retries a denied resource less and less often, and reads it soon after access is granted", async () => {
  await using w = world(() => Promise.reject(new Error("there is nothing to be taken in")));
  w.api.deny(TYPE.plural, 403);
  await w.time.advance(10_000);
  const soon = w.api.lists;
  assertEquals([soon >= 5, w.state()], [true, "forbidden"]);
  await w.time.advance(3_600_000);
  assertEquals(w.api.lists - soon <= 70, true, `${w.api.lists - soon} requests in an hour`);
  w.api.deny(TYPE.plural, 0);
  await w.time.advance(60_000);
  assertEquals(w.state(), "synced");
});

Deno.test("readView() completes an evaluation even if calls for another come faster", async () => {
  let isChanging = true;
  let taken = 0;
  const takenAtCompletion = new Map<number, number>();
  await using w = world(async () => {
    await w.time.sleep(1);
    taken++;
    takenAtCompletion.set(w.documents.completed, taken);
    if (isChanging) w.relist();
    return STORED;
  });
  for (let report = 0; report < 20; report++) w.put(`shop/report-${report}`);
  await w.time.advance(8);
  assertEquals([takenAtCompletion.get(0), takenAtCompletion.get(1)], [20, 40]);
  isChanging = false;
  await w.time.advance(10);
  const before = taken;
  w.relist();
  await w.time.advance(10);
  assertEquals(taken, before + 20);
});

Deno.test("a retry that ends after a new list does not restore a report that the list lacks", async () => {
  const retry = Promise.withResolvers<IntakeResult>();
  await using w = world((key, attempt) => {
    if (key === "shop/kept") return Promise.resolve(STORED);
    return attempt === 1 ? Promise.resolve(NOT_STORED) : retry.promise;
  });
  w.put("shop/kept");
  w.put("shop/deleted");
  await w.time.advance(0);
  assertEquals(w.documents.reporting, ["shop/deleted", "shop/kept"]);
  await w.time.advance(1_000);
  assertEquals(w.attempts.get("shop/deleted"), 2, "the retry is under way");
  w.remove("shop/deleted");
  w.relist();
  await w.time.advance(0);
  retry.resolve(STORED);
  await w.time.advance(0);
  assertEquals([w.documents.completed, w.documents.reporting], [2, ["shop/kept"]]);
});

Deno.test("a report that the watch or a new list shows as deleted is not tried again", async () => {
  await using w = world(() => Promise.resolve(NOT_STORED));
  for (const by of ["watch", "list"]) {
    w.put("shop/deleted");
    await w.time.advance(0);
    assertEquals(w.documents.reporting, ["shop/deleted"]);
    w.remove("shop/deleted");
    if (by === "list") w.relist();
    await w.time.advance(0);
    assertEquals(w.documents.reporting, [], by);
    await w.time.advance(120_000);
    assertEquals(w.documents.reporting, [], by);
  }
});

Deno.test("a report that could not be stored is tried again until it is", async () => {
  await using w = world((_key, attempt) => Promise.resolve(attempt < 4 ? NOT_STORED : STORED));
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.attempts.get("shop/report"), w.documents.unread], [4, []]);
});

Deno.test("a report with an incomplete list resolves nothing until it is complete", async () => {
  await using w = world((_key, attempt) =>
    Promise.resolve(attempt === 1 ? { ...STORED, isPartial: true } : STORED)
  );
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.documents.reporting, w.documents.unread], [["shop/report"], ["shop/report"]]);
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.attempts.get("shop/report"), w.documents.unread], [2, []]);
});

Deno.test("a namespace whose reports cannot be stored delays no other, and is evaluated when they can be stored", async () => {
  const stored = Promise.withResolvers<IntakeResult>();
  await using w = world((key) => key.startsWith("stuck/") ? stored.promise : Promise.resolve(STORED));
  const stuck = Array.from({ length: 40 }, (_, index) => `stuck/report-${index}`);
  for (const key of stuck) w.put(key);
  w.put("shop/report");
  await w.time.advance(60_000);
  assertEquals([w.documents.completed, w.attempts.get("shop/report")], [1, 1]);
  assertEquals(w.documents.unread, stuck.toSorted(), "nothing of theirs is taken for ended");
  assertEquals(w.attempts.size < 20, true, `${w.attempts.size} reports in work`);
  w.put("shop/another");
  await w.time.advance(0);
  assertEquals(w.attempts.get("shop/another"), 1);
  stored.resolve(STORED);
  await w.time.advance(0);
  assertEquals(w.documents.unread, []);
  assertEquals(stuck.filter((key) => w.attempts.get(key) !== 1), [], "each once");
});

Deno.test("one report that cannot be stored delays no other of its namespace", async () => {
  const stored = Promise.withResolvers<IntakeResult>();
  await using w = world((key) => key === "shop/a" ? stored.promise : Promise.resolve(STORED));
  for (const name of ["a", "b"]) w.put(`shop/${name}`);
  await w.time.advance(60_000);
  w.put("shop/c");
  await w.time.advance(0);
  assertEquals([w.attempts.get("shop/b"), w.attempts.get("shop/c"), w.documents.unread], [1, 1, ["shop/a"]]);
  stored.resolve(STORED);
});

Deno.test("documents that wait for a rate or a retry delay no other namespace, with any number of tenants", async () => {
  const stored = Promise.withResolvers<IntakeResult>();
  await using w = world((key, _attempt, onWaiting) => {
    if (!key.startsWith("evil-")) return Promise.resolve(STORED);
    onWaiting(true);
    return stored.promise;
  });
  const evil = Array.from({ length: 80 }, (_, index) => `evil-${index % 6}/report-${index}`);
  for (const key of evil) w.put(key);
  for (const key of ["shop/a", "shop/b"]) w.put(key);
  await w.time.advance(9_000);
  assertEquals([w.attempts.get("shop/a"), w.attempts.get("shop/b")], [1, 1]);
  assertEquals(w.attempts.size <= 2 + 32, true, `${w.attempts.size} reports in work`);
  stored.resolve(STORED);
  await w.time.advance(10_000);
  assertEquals([w.attempts.size, w.documents.unread], [82, []]);
});

Deno.test("documents that wait for a moment are not read again", async () => {
  await using w = world(async (_key, _attempt, onWaiting) => {
    onWaiting(true);
    await w.time.sleep(50);
    onWaiting(false);
    return STORED;
  });
  for (let report = 0; report < 60; report++) w.put(`shop/report-${report}`);
  await w.time.advance(5_000);
  assertEquals([w.attempts.size, w.api.gets], [60, 0]);
});
