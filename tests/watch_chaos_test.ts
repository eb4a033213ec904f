/**
 * The whole program while its API server misbehaves: Trivy's reports change, the connection suffers, and at the end
 * every finding is stored once. Waits are shortened by a jitter that is always small; nothing else is.
 */
import { assert, assertEquals } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { isObject } from "../src/model/json.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient, type KubeClient } from "../src/kube/client.ts";
import type { WatchTuning } from "../src/kube/watch.ts";
import { alert, alertedPods, sendAlerts, wantedPods } from "./support/alerts.ts";
import { startTestApp, type TestApp } from "./support/app.ts";
import { closedBooks, statusOf } from "./support/books.ts";
import { eventually } from "./support/eventually.ts";
import type { Fault, FaultHandle } from "./support/faults.ts";
import { changeReports, findingsOf, wantedFindings } from "./support/reports.ts";
import { startTestCluster, type TestCluster } from "./support/test_cluster.ts";

const OBSERVATIONS = "observations.zen.kube-zen.io";
const NAMESPACE = "shop";
/** What the program watches here: its source, and its own index. */
const WATCHED = /\/(vulnerabilityreports|observations)\?/;
const REPORTS = 20;
const CHANGES = 5;

interface RunOptions {
  readonly watchTuning?: WatchTuning;
  readonly bookmarkMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** A program that has read its first reports. */
class Run implements AsyncDisposable {
  readonly server: TestCluster;
  readonly api: KubeClient;
  readonly app: TestApp;

  constructor(parts: { server: TestCluster; api: KubeClient; app: TestApp }) {
    this.server = parts.server;
    this.api = parts.api;
    this.app = parts.app;
  }

  /** Every report gets one more vulnerability, and then another, up to `after`. */
  async change(before: number, after: number): Promise<void> {
    await changeReports(this.api, { namespace: NAMESPACE, reports: [0, REPORTS], found: [before, after] });
  }

  fault(fault: Fault): FaultHandle {
    return this.server.faults.add(fault);
  }

  /** How often the program asked for these. */
  asked(verb: string, path: RegExp): number {
    return this.server.requests.count({ verb, path });
  }

  async broken(reason: string): Promise<number> {
    return await this.app.metric("watch_reconnects_total", {
      resource: "vulnerabilityreports.aquasecurity.github.io",
      reason,
    });
  }

  /** Nothing missed, nothing doubled, the books balance, and the watches are alive again. */
  async healed(found: number): Promise<void> {
    await this.holds(found);
    this.server.faults.clear();
    await this.change(found, found + 1);
    await this.holds(found + 1);
    const wanted = wantedFindings(REPORTS, found + 1);
    const { trivy } = await closedBooks(this.app.url);
    assertEquals([trivy?.created, trivy?.filtered, trivy?.failed], [wanted.length, 0, 0]);
    await eventually("the index to be what is stored", async () => {
      const { storage } = await statusOf(this.app.url);
      return isObject(storage) && storage.observations === this.server.count(OBSERVATIONS);
    });
    await eventually("the source to be in order", async () => {
      return await this.app.metric("watcher_status", { watcher: "trivy" }) === 1;
    });
  }

  /** Every finding of the reports is stored, once. */
  async holds(found: number): Promise<void> {
    const wanted = wantedFindings(REPORTS, found);
    await eventually("every finding to be stored", () => {
      const found = findingsOf(this.server.objects(OBSERVATIONS));
      if (found.length >= wanted.length) return true;
      throw new Error(`${found.length} of ${wanted.length} are`);
    });
    assertEquals(findingsOf(this.server.objects(OBSERVATIONS)), wanted);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.faults.clear();
    await this.app[Symbol.asyncDispose]();
    this.api.close();
    await this.server[Symbol.asyncDispose]();
  }
}

async function start({ watchTuning, bookmarkMs, env }: RunOptions = {}): Promise<Run> {
  const server = startTestCluster(bookmarkMs === undefined ? {} : { bookmarkMs });
  const api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", NAMESPACE]);
  const app = await startTestApp({
    server: server.url,
    watchTuning: { random: () => 0.1, ...watchTuning },
    ...(env ? { env } : {}),
  });
  const run = new Run({ server, api, app });
  await run.change(0, 1);
  await run.holds(1);
  server.requests.clear();
  return run;
}

Deno.test("nothing is missed or doubled when watches are reset in the middle of their streams", async () => {
  await using run = await start();
  const reset = run.fault({ verb: "watch", path: WATCHED, after: 3, times: 8, effect: { kind: "reset" } });
  await run.change(1, CHANGES);
  await run.healed(CHANGES);
  assertEquals(reset.hits, 8);
  assert(await run.broken("unreachable") >= 1);
  assertEquals(run.asked("list", WATCHED), 0, "a reset needs no new list");
});

Deno.test("a watch that has fallen silent is left after the idle guard, and nothing is missed", async () => {
  await using run = await start({ watchTuning: { idleMs: 500 }, bookmarkMs: 100 });
  const silent = run.fault({ verb: "watch", path: WATCHED, after: 2, times: 4, effect: { kind: "silent" } });
  await run.change(1, CHANGES);
  await run.healed(CHANGES);
  assertEquals(silent.hits, 4);
  // Where no bookmark came before the silence, the watch may be of a resource that sends none.
  assert(await run.broken("timeout") + await run.broken("silent") >= 1);
});

Deno.test("what changed before the history of the API server begins is found by a new list", async () => {
  await using run = await start();
  const away = run.fault({ verb: "watch", path: WATCHED, effect: { kind: "status", status: 503 } });
  run.fault({ verb: "watch", path: WATCHED, times: 2, effect: { kind: "reset" } });
  await eventually("both watches to be refused", () => away.hits >= 4);
  await run.change(1, CHANGES);
  run.server.compact();
  away.remove();
  await run.healed(CHANGES);
  assertEquals(await run.broken("expired"), 1);
  assertEquals(run.asked("list", /\/vulnerabilityreports\?/), 1);
});

Deno.test("a list whose next page has expired starts over, and nothing is stored twice", async () => {
  await using run = await start({ watchTuning: { pageSize: 6 } });
  const gone = run.fault({ verb: "list", path: /continue=/, times: 3, effect: { kind: "gone" } });
  run.fault({ verb: "watch", path: WATCHED, times: 2, effect: { kind: "gone" } });
  await run.change(1, CHANGES);
  await run.healed(CHANGES);
  assertEquals(gone.hits, 3);
  assert(run.asked("list", /\/vulnerabilityreports\?.*continue=/) >= 3, "the list has several pages");
});

Deno.test("a line that is not JSON ends the watch, and a new list shows the change", async () => {
  await using run = await start();
  const garbled = run.fault({
    verb: "watch",
    path: WATCHED,
    after: 2,
    times: 4,
    effect: { kind: "garbled" },
  });
  await run.change(1, CHANGES);
  await run.healed(CHANGES);
  assertEquals(garbled.hits, 4);
  assert(await run.broken("garbled") >= 1);
});

Deno.test("ERROR frames end a watch, and the next one resumes from its resourceVersion", async () => {
  await using run = await start();
  const error = run.fault({ verb: "watch", path: WATCHED, after: 2, times: 6, effect: { kind: "error" } });
  await run.change(1, CHANGES);
  await run.healed(CHANGES);
  assertEquals(error.hits, 6);
  assert(await run.broken("server") >= 1);
  assertEquals(run.asked("list", WATCHED), 0);
});

Deno.test("after 503 and 429 to every request the program retries as Retry-After says, and stores every finding", async () => {
  await using run = await start();
  const status = (verb: string, code: number, times: number) =>
    run.fault({
      verb,
      path: verb === "create" ? /\/observations/ : WATCHED,
      times,
      effect: { kind: "status", status: code, retryAfterSeconds: 1 },
    });
  const refusals = [
    status("watch", 503, 2),
    status("watch", 429, 2),
    status("list", 429, 2),
    status("list", 503, 2),
    status("create", 503, 3),
    status("create", 429, 3),
  ];
  run.fault({ verb: "watch", path: WATCHED, times: 2, effect: { kind: "gone" } });
  await run.change(1, CHANGES);
  await run.healed(CHANGES);
  // The last 429 of a watch stays unused where the list after `gone` came in between.
  const [unavailable = 0, throttled = 0, ...others] = refusals.map(({ hits }) => hits);
  assert(unavailable === 2 && throttled >= 1, `watches refused: ${unavailable} and ${throttled}`);
  assertEquals(others, [2, 2, 3, 3]);
  const refused = await run.app.metric("observations_create_errors_total", { source: "trivy" });
  assertEquals(refused, 6, "each refusal is counted, none of them twice");
});

Deno.test("a slow API server gets every finding once", async () => {
  await using run = await start();
  const slow = run.fault({
    verb: ["list", "watch", "create", "get"],
    path: /\/(observations|vulnerabilityreports)/,
    effect: { kind: "latency", latencyMs: 30 },
  });
  run.fault({ verb: "watch", path: WATCHED, times: 2, effect: { kind: "gone" } });
  await run.change(1, CHANGES);
  await run.healed(CHANGES);
  assert(slow.hits >= REPORTS * (CHANGES - 1), `${slow.hits} requests were slow`);
});

Deno.test("a create whose answer is lost is neither repeated nor forgotten", async () => {
  await using run = await start();
  const lost = run.fault({
    verb: "create",
    path: /\/observations/,
    times: 12,
    effect: { kind: "reset", applied: true },
  });
  await run.change(1, CHANGES);
  await run.healed(CHANGES);
  assertEquals(lost.hits, 12);
});

Deno.test("an API server stopped twice in the middle of the changes misses nothing", async () => {
  await using run = await start();
  let written = 0;
  let outages = 0;
  const outage = async () => {
    const unanswered = await run.app.metric("watch_reconnects_total", { reason: "unreachable" });
    await run.server.stop();
    await eventually("the program to notice", async () => {
      return await run.app.metric("watch_reconnects_total", { reason: "unreachable" }) > unanswered;
    });
    await run.server.restart();
    outages++;
  };
  await changeReports(run.api, {
    namespace: NAMESPACE,
    reports: [0, REPORTS],
    found: [1, CHANGES],
    onWrite: async () => {
      written++;
      if (written === 20 || written === 60) await outage();
    },
  });
  assertEquals(outages, 2);
  await run.healed(CHANGES);
});

Deno.test("Falco's alerts during an outage are answered 503 and, sent again, are stored once", async () => {
  await using run = await start({ env: { FALCO_ACK_TIMEOUT: "300ms" } });
  const { app, server } = run;
  await server.stop();
  const alerts = Array.from({ length: 5 }, (_, index) => alert(NAMESPACE, index));
  for (const body of alerts) {
    const response = await fetch(`${app.url}/falco/webhook`, { method: "POST", body: JSON.stringify(body) });
    const answer = await response.json();
    assertEquals([response.status, answer.received, answer.failed], [503, 1, 1]);
    assert(Number(response.headers.get("retry-after")) >= 1);
  }
  assertEquals(await app.metric("events_failures_total", { source: "falco", reason: "unavailable" }), 5);
  assert(app.health.live().ok, "an API server that is away is no reason to be restarted");
  await server.restart();
  for (const body of alerts) {
    await eventually(
      "the alert to be taken",
      async () => (await app.post("/falco/webhook", body)).status === 200,
    );
  }
  assertEquals(alertedPods(server.objects(OBSERVATIONS)), wantedPods(5));
  const again = await app.post("/falco/webhook", alerts);
  assertEquals([again.status, again.body.created, again.body.deduped], [200, 0, 5]);
  assertEquals(alertedPods(server.objects(OBSERVATIONS)), wantedPods(5));
  const { falco } = await closedBooks(app.url);
  // A create that is applied after its request's deadline counts as failed, and what is sent again as a repeat.
  assertEquals((falco?.created ?? 0) + (falco?.deduped ?? 0), 10);
});

Deno.test("a batch that an outage cuts in two is finished by sending it again", async () => {
  await using run = await start({ env: { FALCO_ACK_TIMEOUT: "500ms" } });
  const { app, server } = run;
  const batch = Array.from({ length: 60 }, (_, index) => alert(NAMESPACE, index));
  const away = run.fault({
    verb: "create",
    path: /\/observations/,
    after: 25,
    effect: { kind: "status", status: 503 },
  });
  const first = await app.post("/falco/webhook", batch);
  assertEquals([first.status, first.body.received, first.body.created, first.body.failed], [503, 60, 25, 35]);
  away.remove();
  // On a busy machine a deadline of 500 ms may cut the batch once more: each sending advances.
  let created = 25;
  for (let status = 503; status !== 200;) {
    const again = await app.post("/falco/webhook", batch);
    created += Number(again.body.created);
    assertEquals(again.body.received, 60);
    assert([200, 503].includes(status = again.status));
  }
  assertEquals(created, 60);
  assertEquals(alertedPods(server.objects(OBSERVATIONS)), wantedPods(60));
  await closedBooks(app.url);
});

Deno.test("senders that follow Retry-After have 300 alerts stored while the API server stops and starts", async () => {
  await using run = await start({ env: { FALCO_ACK_TIMEOUT: "500ms" } });
  const { app, server } = run;
  let taken = 0;
  let outages = 0;
  const outage = async () => {
    await server.stop();
    const failures = await app.metric("events_failures_total", { source: "falco" });
    await eventually("a sender to be refused", async () => {
      return await app.metric("events_failures_total", { source: "falco" }) > failures;
    });
    await server.restart();
    outages++;
  };
  const sent = await sendAlerts(() => app.url, {
    count: 300,
    namespace: NAMESPACE,
    maxWaitMs: 200,
    onTaken: async () => {
      taken++;
      if (taken === 80 || taken === 200) await outage();
    },
  });
  assertEquals(outages, 2);
  assert(sent.refused >= 2, `${sent.refused} refusals`);
  assertEquals(sent.unanswered, 0);
  assertEquals(alertedPods(server.objects(OBSERVATIONS)), wantedPods(300));
  const { falco } = await closedBooks(app.url);
  assertEquals(falco?.failed, sent.refused);
  await run.healed(1);
});
