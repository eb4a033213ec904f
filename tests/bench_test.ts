import { assert, assertEquals } from "@std/assert";
import { compare, latencies, median, medians, percentile, reconcile } from "../scripts/bench/figures.ts";
import { closedLoop, openLoop } from "../scripts/bench/open_loop.ts";
import { judge } from "../scripts/bench/promises.ts";
import { requestsOf } from "../scripts/bench/requests.ts";

/** A clock that stands still between sleeps. */
function virtualTime() {
  let now = 1_000;
  const sleepers: { at: number; wake: () => void }[] = [];
  const sleep = (ms: number) => new Promise<void>((wake) => sleepers.push({ at: now + ms, wake }));
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let ended = false;
    work.finally(() => ended = true);
    for (let turns = 0; !ended && turns < 100_000; turns++) {
      for (let tasks = 0; tasks < 20; tasks++) await Promise.resolve();
      const next = sleepers.sort((a, b) => a.at - b.at).shift();
      if (!next) continue;
      now = Math.max(now, next.at);
      next.wake();
    }
    return await work;
  };
  return { now: () => now, sleep, run };
}

Deno.test("percentile() takes the nearest rank, never a value that was not measured", () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  assertEquals([0.5, 0.95, 0.99, 1].map((share) => percentile(values, share)), [50, 95, 99, 100]);
  assertEquals(percentile([7], 0.99), 7);
  assertEquals(percentile([1, 9], 0.5), 1);
  assert(Number.isNaN(percentile([], 0.5)));
});

Deno.test("median() is the middle, and of an even number the mean of the middle two", () => {
  assertEquals(median([3, 1, 2]), 2);
  assertEquals(median([4, 1, 3, 2]), 2.5);
});

Deno.test("medians() goes by the runs that have the figure", () => {
  assertEquals(medians([{ a: 1, b: 5 }, { a: 3 }, { a: 2 }]), { a: 2, b: 5 });
});

Deno.test("latencies() names its figures and says nothing of nothing", () => {
  assertEquals(latencies("post", [1, 2, 3, 4]), { postP50Ms: 2, postP95Ms: 4, postP99Ms: 4 });
  assertEquals(latencies("post", []), {});
});

Deno.test("open loop keeps its schedule while the server stands still, and counts the wait from the due time", async () => {
  const { now, sleep, run } = virtualTime();
  let stalledUntil = 0;
  const sentAt: number[] = [];
  const send = async (index: number) => {
    sentAt[index] = now();
    if (index === 2) stalledUntil = now() + 500;
    if (now() < stalledUntil) await sleep(stalledUntil - now());
    return 200;
  };
  const shots = await run(openLoop({ count: 10, ratePerSecond: 100, maxInFlight: 100, now, sleep, send }));
  assertEquals(sentAt.map((at) => at - 1_000), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
  assertEquals(shots.due.map((at) => at - 1_000), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
  // All that fell due while it stood still waited for its end: eight slow answers, not one.
  assertEquals(shots.due.filter((due, index) => (shots.done[index] ?? 0) - due >= 400).length, 8);
});

Deno.test("open loop counts lateness of its own as the server's: nothing slow is left out", async () => {
  const { now, sleep, run } = virtualTime();
  // The sleep that should end at 10 ms ends at 300 ms.
  const lazy = (ms: number) => sleep(now() < 1_010 ? 300 : ms);
  const send = () => Promise.resolve(200);
  const shots = await run(
    openLoop({ count: 4, ratePerSecond: 100, maxInFlight: 10, now, sleep: lazy, send }),
  );
  assertEquals(shots.done.map((done, index) => done - (shots.due[index] ?? 0)), [0, 290, 280, 270]);
});

Deno.test("open loop sends no more than may be under way, and says which were never sent", async () => {
  const { now, sleep, run } = virtualTime();
  const send = async () => {
    await sleep(10_000);
    return 200;
  };
  const shots = await run(openLoop({ count: 5, ratePerSecond: 1_000, maxInFlight: 2, now, sleep, send }));
  assertEquals(shots.status, [200, 200, -1, -1, -1]);
});

Deno.test("closed loop keeps so many under way, sends each once, and stops in time", async () => {
  const { now, sleep, run } = virtualTime();
  let underWay = 0;
  let most = 0;
  const sent: number[] = [];
  const send = async (index: number) => {
    sent.push(index);
    most = Math.max(most, ++underWay);
    await sleep(10);
    underWay--;
    return 201;
  };
  const shots = await run(closedLoop({ count: 1_000, concurrency: 4, maxMs: 95, now, send }));
  assertEquals(most, 4);
  assertEquals(sent, Array.from({ length: 40 }, (_, index) => index));
  assertEquals(shots.status.length, 40);
});

Deno.test("compare() gives ratios of what both sides have", () => {
  const rows = compare({ a: { x: 2, gone: 1 }, b: { y: 1 } }, { a: { x: 3, fresh: 1 }, c: { z: 1 } });
  assertEquals(rows, [{ scenario: "a", figure: "x", before: 2, now: 3, ratio: 1.5 }]);
  assertEquals(compare({ a: { lost: 0 } }, { a: { lost: 0 } })[0]?.ratio, 1);
});

Deno.test("reconcile() counts what was promised and is not there, and what is there twice", () => {
  assertEquals(reconcile([1, 2, 3, 3], [1, 1, 1, 4]), { lost: 2, doubled: 2 });
  assertEquals(reconcile([1, 2], [2, 1]), { lost: 0, doubled: 0 });
});

Deno.test("requestsOf() reads one identity's requests and the leases' from the API server's metrics", () => {
  const text = `# HELP apiserver_flowcontrol_dispatched_requests_total ...
apiserver_flowcontrol_dispatched_requests_total{flow_schema="service-accounts",priority_level="workload-low"} 41
apiserver_flowcontrol_dispatched_requests_total{flow_schema="exempt",priority_level="exempt"} 900
apiserver_request_total{code="200",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 12
apiserver_request_total{code="409",component="apiserver",dry_run="",group="coordination.k8s.io",resource="leases",scope="resource",subresource="",verb="PUT",version="v1"} 1
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 7
`;
  assertEquals(requestsOf(text), { own: 41, leases: 13 });
});

Deno.test("the table of promises judges each row by its bound and leaves out what was not measured", () => {
  const rows = judge({
    raw: { ratio: 0.85, lost: 0, doubled: 0, acceptedPerSecond: 300, bareCreatedPerSecond: 353 },
    idle: { rssMeanMiB: 66, cpuPercent: 0.3, requestsPerMinute: 12 },
  });
  const by = (what: string) => rows.find((row) => row.what.startsWith(what));
  assertEquals(by("unique events")?.holds, true);
  assertEquals(by("RSS idle")?.holds, false);
  assertEquals(by("RSS idle")?.ratio.toFixed(3), "1.100");
  assertEquals(by("API requests")?.holds, true);
  assertEquals(by("duplicates"), undefined);
});
