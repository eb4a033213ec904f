/** Clocks that are wrong: replicas that disagree by minutes, and one that jumps by a month. */
import { assert, assertEquals } from "@std/assert";
import { isObject } from "../../src/model/json.ts";
import { alert, alertedPods, wantedPods } from "../support/alerts.ts";
import { closedBooks } from "../support/books.ts";
import { occurrencesOf, startDevWorld, STORED_TYPE } from "../support/dev_world.ts";
import { eventually } from "../support/eventually.ts";
import { MovedClock } from "../support/moved_clock.ts";
import { changeReports, findingsOf, wantedFindings } from "../support/reports.ts";
import { spyOn } from "../support/spy.ts";
import { inForm, printLine } from "./form.ts";

const MINUTE_MS = 60_000;
const MONTH_MS = 31 * 24 * 60 * MINUTE_MS;
const ALERTS = inForm({ short: 4_500, long: 45_000 });
const REPORTS = inForm({ short: 125, long: 1_250 });
const FOUND = 4;
/** What the collector may do in a second. */
const DELETES_PER_SECOND = 200;
/** Deletes that may be under way at once. */
const AT_ONCE = 8;
const UNLIMITED = {
  WEBHOOK_RATE_LIMIT: "100000",
  WEBHOOK_RATE_BURST: "100000",
  DEDUP_MAX_RATE_PER_SOURCE: "100000",
  DEDUP_RATE_BURST: "100000",
};

Deno.test("replicas whose clocks are 5 min fast and 5 min slow store each timed event once, and count every repeat", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const pods = 100;
  const repeats = 4;
  const now = Date.now();
  {
    await using fast = await world.replica("fast", { clock: new MovedClock(5 * MINUTE_MS) });
    await using slow = await world.replica("slow", { clock: new MovedClock(-5 * MINUTE_MS) });
    for (let repeat = 0; repeat < repeats; repeat++) {
      const time = new Date(now + repeat * 10_000).toISOString();
      const body = Array.from({ length: pods }, (_, index) => alert("shop", index, time));
      const answers = await Promise.all([fast, slow].map((each) => each.post("/falco/webhook", body)));
      assertEquals(answers.map(({ status }) => status), [200, 200]);
    }
    for (const { url } of [fast, slow]) await closedBooks(url);
  }
  assertEquals(alertedPods(world.observations()), wantedPods(pods));
  assertEquals(occurrencesOf(world.observations()), pods * repeats * 2);
});

Deno.test("nothing is deleted while a clock is 31 days ahead; once the server's is too, at its pace and with preconditions", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const clock = new MovedClock();
  const serverClock = new MovedClock();
  await using spy = spyOn(world.server.url, "DELETE", serverClock.now);
  const env = { ...UNLIMITED, GC_INTERVAL: "1s", OBSERVATION_MAX_TOTAL: "100000" };
  await using app = await world.replica("a", { server: spy.url, clock, env });
  await changeReports(world.api, { namespace: "shop", reports: [0, REPORTS], found: [0, FOUND] });
  for (let start = 0; start < ALERTS; start += 500) {
    const body = Array.from({ length: 500 }, (_, index) => alert("shop", start + index));
    assertEquals((await app.post("/falco/webhook", body)).status, 200);
  }
  const all = ALERTS + REPORTS * FOUND;
  await eventually("all to be stored", () => world.server.count(STORED_TYPE) === all, { timeoutMs: 300_000 });
  assertEquals(spy.requests.length, 0);

  clock.move(MONTH_MS);
  await eventually("the disagreement to be seen", async () => await app.metric("clock_skew_seconds") > 3_600);
  const runs = await app.metric("gc_runs_total");
  await eventually("two more collections", async () => await app.metric("gc_runs_total") >= runs + 2);
  assertEquals([spy.requests.length, world.server.count(STORED_TYPE)], [0, all]);

  serverClock.move(MONTH_MS);
  await eventually("what has outlived its TTL to be gone", () => {
    const left = world.server.count(STORED_TYPE);
    if (left === REPORTS * FOUND) return true;
    throw new Error(`${left} of ${all} are left`);
  }, { timeoutMs: 20 * MINUTE_MS });
  const { requests } = spy;
  const seconds = ((requests.at(-1)?.at ?? 0) - (requests[0]?.at ?? 0)) / 1_000;
  printLine(`31 days later: ${ALERTS} of ${all} Observations deleted in ${seconds.toFixed(1)} s`);
  assert(seconds >= (requests.length - 2 * AT_ONCE) / DELETES_PER_SECOND, "never faster than its pace");
  for (const { body } of requests) {
    const { preconditions } = JSON.parse(body);
    assert(isObject(preconditions) && preconditions.uid && preconditions.resourceVersion, body);
  }
  assertEquals(findingsOf(world.observations()), wantedFindings(REPORTS, FOUND));
  assertEquals(await app.metric("observations_deleted_total", { reason: "expired" }), ALERTS);
  assert(app.health.live().ok && app.health.ready().ok);
});
