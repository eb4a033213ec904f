import { assert, assertEquals } from "@std/assert";
import type { KubeApi } from "../../src/kube/api.ts";
import {
  createLeaderElection,
  type LeaderElection,
  type LeaderElectionOptions,
  LEASES,
  readRecord,
} from "../../src/kube/lease.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { startFaultProxy } from "../support/fault_proxy.ts";
import { report, transportTo } from "./watching.ts";

const NAME = "zen-watcher-leader-election";
/** A fifth of production's, so that an expiry is waited for in seconds. */
const SHORT = { leaseDurationMs: 3_000, renewDeadlineMs: 2_000, retryMs: 400 };

const cluster = await startEnvtest();
Deno.test.afterAll(() => cluster[Symbol.asyncDispose]());

Deno.test("a released lease is taken over long before it would expire, and no two lead at a time", async () => {
  const namespace = await cluster.createNamespace("lease");
  using api = transportTo(cluster);
  await using first = new Candidate(api, { namespace, identity: "first" });
  await eventually("the first to lead", () => first.leads);
  await using second = new Candidate(api, { namespace, identity: "second" });
  await eventually("the second to know the leader", () => second.election.leader() === "first");
  assert(!second.leads);

  const stoppedAt = performance.now();
  await first.stop();
  // Production's durations: an expiry would take 15 s.
  await eventually("the second to lead", () => second.leads, { timeoutMs: 10_000 });
  report("release", { takeoverMs: second.startedAt - stoppedAt });
  assert(second.startedAt >= first.endedAt, "the first had ended its work");
});

Deno.test("a leader cut off stops leading before another takes its lease over", async () => {
  const namespace = await cluster.createNamespace("lease");
  await using proxy = await startFaultProxy({
    hostname: "127.0.0.1",
    port: Number(new URL(cluster.url).port),
  });
  using proxied = transportTo(cluster, {
    server: `https://127.0.0.1:${proxy.port}`,
    requestDeadlineMs: 1_000,
  });
  using api = transportTo(cluster);
  await using first = new Candidate(proxied, { namespace, identity: "first", ...SHORT });
  await eventually("the first to lead", () => first.leads);
  await using second = new Candidate(api, { namespace, identity: "second", ...SHORT });
  await eventually("the second to know the leader", () => second.election.leader() === "first");

  const frozenAt = performance.now();
  proxy.freeze();
  await eventually("the second to lead", () => second.leads);
  report("half-open leader", {
    stoppedMs: first.endedAt - frozenAt,
    takeoverMs: second.startedAt - frozenAt,
  });
  assert(!first.leads, "the first leads no more");
  assert(
    first.endedAt > frozenAt && first.endedAt <= second.startedAt,
    "and had ended when the second began",
  );
  proxy.resume();
  await eventually("the first to follow", () => first.election.leader() === "second");
  assert(second.leads && !first.leads);
});

Deno.test("twins started at once: one leads, on a lease neither found", async () => {
  const namespace = await cluster.createNamespace("lease");
  using api = transportTo(cluster);
  const twins = [0, 1, 2].map((n) => new Candidate(api, { namespace, identity: `twin-${n}` }));
  try {
    await eventually("all to agree", () => {
      const leaders = new Set(twins.map(({ election }) => election.leader() ?? ""));
      return leaders.size === 1 && !leaders.has("");
    });
    const leader = twins.filter(({ leads }) => leads);
    assertEquals(leader.length, 1);
    assertEquals(leader[0]?.election.leader(), leader[0]?.identity);
  } finally {
    await Promise.all(twins.map((twin) => twin.stop()));
  }
});

Deno.test("a leader keeps leading over a kill -9 of the API server", async () => {
  const namespace = await cluster.createNamespace("lease");
  using api = transportTo(cluster);
  await using first = new Candidate(api, { namespace, identity: "first" });
  await eventually("the first to lead", () => first.leads);
  await using second = new Candidate(api, { namespace, identity: "second" });
  await eventually("the second to know the leader", () => second.election.leader() === "first");
  const renewedAt = async () => readRecord(await api.get(LEASES, NAME, { namespace })).renewTime;
  await cluster.killApiServer("SIGKILL");
  await cluster.startApiServer();
  const before = await renewedAt();
  await eventually("the first to renew", async () => await renewedAt() > before);
  assertEquals([first.terms, second.terms], [1, 0]);
});

/** A candidate, and when it led. */
class Candidate implements AsyncDisposable {
  readonly identity: string;
  readonly election: LeaderElection;
  terms = 0;
  /** When it last began and ended leading, on the monotonic clock. */
  startedAt = Infinity;
  endedAt = -Infinity;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(api: KubeApi, options: Pick<LeaderElectionOptions, "namespace" | "identity">) {
    this.identity = options.identity;
    this.election = createLeaderElection({
      ...options,
      api,
      name: NAME,
    });
    this.#running = this.election.run(this.#stop.signal, {
      onStarted: async (signal) => {
        this.terms++;
        this.startedAt = performance.now();
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        this.endedAt = performance.now();
      },
    });
  }

  get leads(): boolean {
    return this.terms > 0 && this.election.isLeader();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
