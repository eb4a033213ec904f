/** Findings that end and return are counted one by one, and logged many at once. */
import { leaseReference } from "../sources/rbac.ts";
import { assertEquals } from "@std/assert";
import { NetworkError } from "../kube/api.ts";
import { FakeKube } from "../../tests/support/fake_kube.ts";
import { LeadingReplica } from "../../tests/support/leader.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

const LEASE = leaseReference({ instance: "default", podNamespace: "zen-system" });

const REPORTS = { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" };
const HOUR_MS = 3_600_000;
/** The grace, and a transition of the leader. */
const ENDED_MS = 600_000 + 31_000;

class World implements AsyncDisposable {
  readonly time = new VirtualTime();
  readonly kube = new FakeKube(() => this.time.now());
  readonly leader = new LeadingReplica({ time: this.time, kube: this.kube, budget: { maxCount: 1_000 } });
  readonly #term = new AbortController();
  readonly #running = this.leader.findings.run(this.#term.signal);

  /** A report of these findings is listed. */
  async report(key: string, ids: readonly string[]): Promise<void> {
    const events = ids.map((id) => ({ identity: { id }, message: id, eventType: "vulnerability" }));
    const context = { kind: "finding", pushed: false, origin: key, source: { name: "trivy" } } as const;
    const { fingerprints } = await this.leader.take(events, context);
    this.leader.findings.report(REPORTS, { key, fingerprints, readable: true });
  }

  async total(metric: "findingsResolved" | "findingsReopened"): Promise<Record<string, number>> {
    const { values } = await this.leader.metrics[metric].get();
    return Object.fromEntries(
      values.map(({ labels, value }) => [Object.values(labels).map(String).join(" "), value]),
    );
  }

  lines(message: string): number {
    return this.leader.logged.filter((line) => line.message === message && line.level === "INFO").length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#term.abort();
    await this.#running;
    await this.leader.kill();
  }
}

const IDS = Array.from({ length: 300 }, (_, id) => `CVE-${id}`);

Deno.test("a deleted report ends 300 findings: each is counted, and one INFO line and one Event name them", async () => {
  await using world = new World();
  const { leader, time } = world;
  leader.findings.begin(REPORTS);
  await world.report("shop/web", IDS);
  leader.findings.complete(REPORTS);
  leader.findings.gone(REPORTS, "shop/web");
  while (world.kube.stored.some(({ status }) => status?.phase === "Active")) await time.advance(1_000);
  leader.transitions.tell();
  assertEquals(leader.events, [], "more may follow within 5 s");
  await time.advance(5_000);
  leader.transitions.tell();
  leader.transitions.tell({ all: true });

  assertEquals(world.lines("Findings created"), 1);
  assertEquals(await world.total("findingsResolved"), { "trivy CRITICAL ReportGone": 300 });
  assertEquals(world.lines("Findings resolved"), 1);
  assertEquals(leader.events.length, 1);
  const [event] = leader.events;
  assertEquals([event?.regarding, event?.type, event?.reason], [LEASE, "Normal", "FindingsResolved"]);
  const { namespace = "", name = "", uid = "" } =
    world.kube.stored.find(({ metadata }) => metadata.name === event?.related?.name)?.metadata ?? {};
  assertEquals(event?.related, {
    apiVersion: "zen.kube-zen.io/v1",
    kind: "Observation",
    namespace,
    name,
    uid,
  });
  assertEquals(
    event?.message,
    `300 findings resolved (ReportGone 300): trivy 300; first ${namespace}/${name}`,
  );
});

Deno.test("a finding that is reported again is counted and logged, and its next open time starts then", async () => {
  await using world = new World();
  const { leader, time, kube } = world;
  leader.findings.begin(REPORTS);
  await world.report("shop/web", ["a"]);
  leader.findings.complete(REPORTS);
  await time.advance(10 * HOUR_MS);
  await world.report("shop/web", []);
  await time.advance(ENDED_MS);
  const ended = await leader.metrics.findingResolution.get();
  const sumOf = ({ values }: typeof ended) =>
    values.find(({ metricName }) => metricName?.endsWith("_sum"))?.value ?? 0;
  const resolvedAt = Date.parse(kube.stored[0]?.status?.resolvedAt ?? "");
  const first = resolvedAt - Date.parse(kube.stored[0]?.status?.firstSeenAt ?? "");
  assertEquals(sumOf(ended), first / 1_000);

  await time.advance(100 * HOUR_MS);
  await world.report("shop/web", ["a"]);
  await time.advance(1_000);
  const reopenedAt = Date.parse(kube.stored[0]?.status?.reopenedAt ?? "");
  leader.transitions.tell({ all: true });
  assertEquals(await world.total("findingsReopened"), { "trivy CRITICAL": 1 });
  assertEquals(world.lines("Findings reported again"), 1);
  assertEquals(leader.events.map(({ reason }) => reason), ["FindingsResolved", "FindingsReopened"]);

  await time.advance(HOUR_MS);
  await world.report("shop/web", []);
  await time.advance(ENDED_MS);
  const second = Date.parse(kube.stored[0]?.status?.resolvedAt ?? "") - reopenedAt;
  assertEquals(sumOf(await leader.metrics.findingResolution.get()), (first + second) / 1_000);
  assertEquals(await world.total("findingsResolved"), { "trivy CRITICAL NotReported": 2 });
});

Deno.test("a resolution whose answer was lost is counted once", async () => {
  await using world = new World();
  const { leader, time, kube } = world;
  leader.findings.begin(REPORTS);
  await world.report("shop/web", ["a"]);
  leader.findings.complete(REPORTS);
  let lost = 0;
  kube.script = {
    after({ verb, subresource }) {
      if (verb === "patch" && subresource === "status" && lost++ === 0) {
        throw new NetworkError("Cannot read the answer");
      }
    },
  };
  await world.report("shop/web", []);
  await time.advance(3 * ENDED_MS);
  assertEquals(kube.stored[0]?.status?.phase, "Resolved");
  assertEquals([lost, await world.total("findingsResolved")], [1, { "trivy CRITICAL NotReported": 1 }]);
});

Deno.test("two replicas that resolve the same pushed finding count it once", async () => {
  await using world = new World();
  const replicas = [world.leader, new LeadingReplica({ time: world.time, kube: world.kube })];
  const pushed = { kind: "finding", source: { name: "alertmanager" } } as const;
  const alert = { identity: { id: "a" }, message: "a", eventType: "alert" };
  await replicas[0]?.take([alert], pushed);
  await Promise.all(replicas.map((replica) => replica.take([{ ...alert, resolved: true }], pushed)));
  await world.time.advance(2_000);
  const counts = await Promise.all(
    replicas.map(async ({ metrics }) => (await metrics.findingsResolved.get()).values),
  );
  assertEquals(counts.flat().map(({ labels, value }) => [labels.reason, value]), [["SaidResolved", 1]]);
  await replicas[1]?.kill();
});
