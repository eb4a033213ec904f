import { assertEquals } from "@std/assert";
import { FakeKube } from "../../tests/support/fake_kube.ts";
import { type ObservationFields, storedObservation } from "../../tests/support/observation.ts";
import { Replica } from "../../tests/support/replica.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import { AGES_DAYS, createFindingGauges } from "./finding_gauges.ts";

const T = Date.UTC(2026, 0, 1);
const HOUR_MS = 3_600_000;
const SOURCES = [{ name: "trivy", kind: "finding" }, { name: "falco", kind: "occurrence" }] as const;

async function published(
  stored: readonly ObservationFields[],
  { byNamespace = false, rounds = [] as (readonly [string, string])[] } = {},
) {
  const time = new VirtualTime(T);
  const kube = new FakeKube(() => time.now());
  for (const [id, fields] of stored.entries()) kube.put(storedObservation({ id, ...fields }));
  const replica = new Replica(kube, { time, acceptanceOf: (_finding, stored) => stored });
  const { metrics, index } = replica;
  const publish = createFindingGauges({
    index,
    now: () => time.now(),
    metrics,
    sourceLabel: (source) => source,
    sources: () => SOURCES,
    byNamespace,
  });
  publish();
  for (const [namespace, name] of rounds) kube.remove(namespace, name);
  if (rounds.length > 0) publish();
  await replica.kill();
  const seriesOf = async (gauge: { get(): Promise<{ values: { labels: object; value: number }[] }> }) =>
    Object.fromEntries(
      (await gauge.get()).values.map(({ labels, value }) => [Object.values(labels).join(" "), value]),
    );
  return {
    accepted: await seriesOf(metrics.findingsAccepted),
    active: await seriesOf(metrics.activeFindings),
    oldest: await seriesOf(metrics.oldestActiveFinding),
    lastSeen: await seriesOf(metrics.sourceLastSeen),
    namespaces: await seriesOf(metrics.activeEventsByNamespace),
  };
}

Deno.test("the gauges show 0 for active sources without Observations", async () => {
  const { oldest, lastSeen, namespaces } = await published([]);
  assertEquals(oldest, {
    "trivy CRITICAL": 0,
    "trivy HIGH": 0,
    "trivy MEDIUM": 0,
    "trivy LOW": 0,
    "trivy UNKNOWN": 0,
  });
  assertEquals(lastSeen, { trivy: 0, falco: 0 });
  assertEquals(namespaces, {});
});

Deno.test("the oldest Active finding is shown by source and severity; Resolved findings and occurrences do not count", async () => {
  const at = (hours: number) => new Date(T + hours * HOUR_MS).toISOString();
  const finding = { source: "trivy", kind: "finding", severity: "HIGH" } as const;
  const { oldest, lastSeen } = await published([
    { ...finding, status: { firstSeenAt: at(2), lastSeenAt: at(20) } },
    { ...finding, status: { firstSeenAt: at(5), lastSeenAt: at(5) } },
    { ...finding, status: { firstSeenAt: at(1), lastSeenAt: at(1), phase: "Resolved" } },
    { ...finding, severity: "LOW", status: { firstSeenAt: at(4), lastSeenAt: at(4) } },
    {
      source: "falco",
      kind: "occurrence",
      severity: "HIGH",
      status: { firstSeenAt: at(1), lastSeenAt: at(9) },
    },
  ]);
  assertEquals(oldest["trivy HIGH"], (T + 2 * HOUR_MS) / 1_000);
  assertEquals(oldest["trivy LOW"], (T + 4 * HOUR_MS) / 1_000);
  assertEquals(oldest["trivy CRITICAL"], 0);
  assertEquals(oldest["falco HIGH"], undefined);
  assertEquals(lastSeen, { trivy: (T + 20 * HOUR_MS) / 1_000, falco: (T + 9 * HOUR_MS) / 1_000 });
});

Deno.test("active_findings counts findings older than each number of days, cumulatively", async () => {
  const aged = (days: number, severity: "CRITICAL" | "HIGH" = "CRITICAL"): ObservationFields => ({
    source: "trivy",
    kind: "finding",
    severity,
    status: { firstSeenAt: new Date(T - days * 24 * HOUR_MS).toISOString() },
  });
  const { active } = await published([aged(0), aged(6.9), aged(7), aged(20), aged(400), aged(31, "HIGH")]);
  const of = (severity: string) => AGES_DAYS.map((days) => active[`trivy ${severity} ${days}`]);
  assertEquals(of("CRITICAL"), [5, 4, 4, 3, 2, 1, 1, 1, 1]);
  assertEquals(of("HIGH"), [1, 1, 1, 1, 1, 1, 0, 0, 0]);
});

Deno.test("a finding that an exception covers is accepted: not open, not the oldest, not over the SLA", async () => {
  const seen = (days: number) => new Date(T - days * 24 * HOUR_MS).toISOString();
  const until = { namespace: "shop", name: "later", since: seen(1), expiresAt: seen(-30) };
  const finding = { source: "trivy", kind: "finding", severity: "HIGH", namespace: "shop" } as const;
  const { accepted, active, oldest, namespaces } = await published([
    { ...finding, status: { firstSeenAt: seen(100), phase: "Accepted", exception: until } },
    { ...finding, status: { firstSeenAt: seen(10) } },
  ], { byNamespace: true });
  assertEquals(accepted["trivy HIGH"], 1);
  assertEquals(accepted["trivy LOW"], 0);
  assertEquals([active["trivy HIGH 0"], active["trivy HIGH 30"]], [1, 0]);
  assertEquals(oldest["trivy HIGH"], (T - 10 * 24 * HOUR_MS) / 1_000);
  assertEquals(namespaces["shop HIGH"], 1);
});

Deno.test("METRICS_BY_NAMESPACE shows 500 namespaces; the others are one, until there is room", async () => {
  const stored = Array.from({ length: 520 }, (_, at): ObservationFields => ({
    source: "trivy",
    kind: "finding",
    severity: "HIGH",
    namespace: `team-${at}`,
  }));
  const clusterWide: ObservationFields = { source: "trivy", kind: "finding", namespace: "zen-system" };
  assertEquals(
    (await published([{ ...clusterWide, severity: "LOW" }], { byNamespace: true })).namespaces["(none) LOW"],
    1,
  );
  const { namespaces } = await published(stored, { byNamespace: true });
  assertEquals(Object.keys(namespaces).length, 501 * 5, "each severity, zeros too");
  assertEquals([namespaces["team-0 HIGH"], namespaces["team-0 LOW"], namespaces["other HIGH"]], [1, 0, 20]);
  const [first] = stored.map((fields, id) => storedObservation({ id, ...fields }).metadata);
  const after = await published(stored, {
    byNamespace: true,
    rounds: [[first?.namespace ?? "", first?.name ?? ""]],
  });
  assertEquals([after.namespaces["team-0 HIGH"], after.namespaces["other HIGH"]], [undefined, 19]);
});
