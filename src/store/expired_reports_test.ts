/** Reports that their tool deletes at a certain age and then recreates by a scan, which may fail for hours. */
import { assertEquals } from "@std/assert";
import type { JsonObject } from "../model/json.ts";
import type { ViewKey } from "../model/view.ts";
import { trivy } from "../sources/trivy/mod.ts";
import { FakeKube } from "../../tests/support/fake_kube.ts";
import { LeadingReplica } from "../../tests/support/leader.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

const VULNERABILITIES = { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" };
const CHECKS = { source: "trivy", resource: "configauditreports.aquasecurity.github.io" };
const TYPES: ReadonlyMap<string, readonly string[]> = new Map([
  [VULNERABILITIES.resource, ["vulnerability"]],
  [CHECKS.resource, ["misconfiguration"]],
]);
const GRACE_MS = 600_000, HOUR_MS = 3_600_000, TICK_MS = 31_000;
const REPORT_TTL = "trivy-operator.aquasecurity.github.io/report-ttl";

interface Told {
  readonly container?: string;
  readonly workload?: string;
  /** Of the report's annotation; a report of checks has none. */
  readonly ttl?: string;
  readonly readable?: boolean;
}

class World {
  readonly time = new VirtualTime();
  readonly kube = new FakeKube(() => this.time.now());
  readonly leader = new LeadingReplica({
    time: this.time,
    kube: this.kube,
    expiringTypes: ["vulnerability"],
    eventTypesOf: ({ resource }: ViewKey) => TYPES.get(resource),
  });
  #term = new AbortController();
  #running = this.leader.findings.run(this.#term.signal);

  /** A report of these findings is written now. */
  async report(view: ViewKey, key: string, ids: readonly string[], told: Told = {}): Promise<void> {
    const { container = "app", workload = "web", ttl = "24h0m0s", readable = true } = told;
    const resource = { kind: "Deployment", name: workload, namespace: "shop" };
    const isVulnerability = view === VULNERABILITIES;
    const events = ids.map((id) => ({
      identity: { id, resource: { namespace: "shop" } },
      message: id,
      eventType: isVulnerability ? "vulnerability" : "misconfiguration",
      resource,
      details: isVulnerability ? { container } : {},
    }));
    const context = { kind: "finding", pushed: false, origin: key, source: { name: "trivy" } } as const;
    const { fingerprints } = await this.leader.take(events, context);
    const scope = trivy.scopeOf?.(this.#object({ workload, ...(isVulnerability && { container, ttl }) }));
    this.leader.findings.report(view, { key, fingerprints, readable, ...(scope && { scope }) });
  }

  #object({ workload, container, ttl }: Told): JsonObject {
    return {
      metadata: {
        namespace: "shop",
        creationTimestamp: new Date(this.time.now()).toISOString(),
        annotations: ttl === undefined ? {} : { [REPORT_TTL]: ttl },
        labels: {
          "trivy-operator.resource.kind": "ReplicaSet",
          "trivy-operator.resource.name": `${workload}-6d4cf56db6`,
          ...(container !== undefined && { "trivy-operator.container.name": container }),
        },
      },
    };
  }

  gone(view: ViewKey, key: string): void {
    this.leader.findings.gone(view, key);
  }

  /** Begins and completes both views with what `write` reports. */
  async list(write: () => Promise<void>): Promise<void> {
    for (const view of [VULNERABILITIES, CHECKS]) this.leader.findings.begin(view);
    await write();
    for (const view of [VULNERABILITIES, CHECKS]) this.leader.findings.complete(view);
  }

  phases(): string {
    return this.kube.stored.map(({ spec, status }) => `${spec.message} ${status?.phase}`).sort().join(", ");
  }

  /** The end of this leader's term, and the next one's begin. */
  async nextTerm(): Promise<void> {
    await this.#end();
    this.#term = new AbortController();
    this.#running = this.leader.findings.run(this.#term.signal);
  }

  async #end(): Promise<void> {
    this.#term.abort();
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await this.leader.kill();
  }
}

/** A world whose leader has seen a report of vulnerabilities a and b and one of check c. */
async function seen(told: Told = {}): Promise<World> {
  const world = new World();
  await world.list(async () => {
    await world.report(VULNERABILITIES, "shop/v", ["a", "b"], told);
    await world.report(CHECKS, "shop/c", ["c"]);
  });
  return world;
}

Deno.test("findings of an expired report stay Active while the rescan fails; those that the rescan lacks are then Resolved", async () => {
  await using world = await seen();
  await world.time.advance(24 * HOUR_MS + 60_000);
  world.gone(VULNERABILITIES, "shop/v");
  await world.time.advance(6 * HOUR_MS);
  assertEquals(world.phases(), "a Active, b Active, c Active");
  await world.report(VULNERABILITIES, "shop/v", ["a"]);
  await world.time.advance(GRACE_MS - 2 * TICK_MS);
  assertEquals(world.phases(), "a Active, b Active, c Active");
  await world.time.advance(3 * TICK_MS);
  assertEquals(world.phases(), "a Active, b Resolved, c Active");
});

Deno.test("findings of an expired report that is never recreated are Resolved after EXPIRED_GRACE_SECONDS", async () => {
  await using world = await seen();
  await world.time.advance(24 * HOUR_MS + 60_000);
  world.gone(VULNERABILITIES, "shop/v");
  await world.time.advance(24 * HOUR_MS - TICK_MS);
  assertEquals(world.phases(), "a Active, b Active, c Active");
  await world.time.advance(2 * TICK_MS);
  assertEquals(world.phases(), "a Resolved, b Resolved, c Active");
});

for (
  const [how, told, hours] of [
    ["deleted before its end", {}, 23],
    ["of ttl 0s", { ttl: "0s" }, 25],
    ["without an annotation", { ttl: "" }, 25],
    ["with an unreadable one", { ttl: "a day" }, 25],
    ["of a longer ttl", { ttl: "48h0m0s" }, 25],
  ] as const
) {
  Deno.test(`findings of a report ${how} are Resolved after the usual grace`, async () => {
    await using world = await seen(told);
    await world.time.advance(hours * HOUR_MS);
    world.gone(VULNERABILITIES, "shop/v");
    await world.time.advance(GRACE_MS + TICK_MS);
    assertEquals(world.phases(), "a Resolved, b Resolved, c Active");
  });
}

Deno.test("findings of an expired report are Resolved when the workload's last other report is deleted", async () => {
  await using world = await seen();
  await world.report(CHECKS, "shop/c2", ["c2"]);
  await world.time.advance(25 * HOUR_MS);
  world.gone(VULNERABILITIES, "shop/v");
  world.gone(CHECKS, "shop/c");
  await world.time.advance(GRACE_MS + TICK_MS);
  assertEquals(world.phases(), "a Active, b Active, c Resolved, c2 Active", "one is left");
  world.gone(CHECKS, "shop/c2");
  await world.time.advance(GRACE_MS + TICK_MS);
  assertEquals(world.phases(), "a Resolved, b Resolved, c Resolved, c2 Resolved");
});

Deno.test("findings of a report that expires after its workload's other reports are deleted are Resolved", async () => {
  await using world = await seen();
  await world.time.advance(25 * HOUR_MS);
  world.gone(CHECKS, "shop/c");
  world.gone(VULNERABILITIES, "shop/v");
  await world.time.advance(GRACE_MS + TICK_MS);
  assertEquals(world.phases(), "a Resolved, b Resolved, c Resolved");
});

Deno.test("findings of an expired report wait for a report of their own workload and container, in a readable form", async () => {
  await using world = await seen();
  await world.time.advance(25 * HOUR_MS);
  world.gone(VULNERABILITIES, "shop/v");
  await world.report(VULNERABILITIES, "shop/sidecar", ["s"], { container: "sidecar" });
  await world.report(VULNERABILITIES, "shop/db", ["d"], { workload: "db" });
  await world.report(VULNERABILITIES, "shop/v", [], { readable: false });
  await world.time.advance(2 * GRACE_MS);
  assertEquals(world.phases(), "a Active, b Active, c Active, d Active, s Active");
});

Deno.test("a list that lacks an expired report does not end its findings", async () => {
  await using world = await seen();
  await world.time.advance(25 * HOUR_MS);
  await world.list(() => world.report(CHECKS, "shop/c", ["c"]));
  await world.time.advance(6 * HOUR_MS);
  assertEquals(world.phases(), "a Active, b Active, c Active");
});

Deno.test("a CRD that is uninstalled after its reports expired resolves nothing", async () => {
  await using world = await seen();
  await world.time.advance(25 * HOUR_MS);
  world.gone(VULNERABILITIES, "shop/v");
  await world.time.advance(6 * HOUR_MS);
  world.leader.findings.lost(VULNERABILITIES, "absent");
  await world.time.advance(48 * HOUR_MS);
  assertEquals(world.phases(), "a Active, b Active, c Active");
});

Deno.test("a report that is missing at a leader's first evaluation may have expired: vulnerabilities wait, checks do not", async () => {
  await using world = await seen();
  await world.nextTerm();
  await world.list(() => world.report(CHECKS, "shop/other", ["o"], { workload: "other" }));
  await world.time.advance(GRACE_MS + 2 * TICK_MS);
  assertEquals(world.phases(), "a Active, b Active, c Resolved, o Active");
  await world.time.advance(12 * HOUR_MS);
  await world.report(VULNERABILITIES, "shop/v", ["a"]);
  await world.time.advance(GRACE_MS - 2 * TICK_MS);
  assertEquals(world.phases(), "a Active, b Active, c Resolved, o Active");
  await world.time.advance(3 * TICK_MS);
  assertEquals(world.phases(), "a Active, b Resolved, c Resolved, o Active");
});

Deno.test("a finding that its report lacks at a leader's first evaluation is Resolved after the usual grace", async () => {
  await using world = await seen();
  await world.nextTerm();
  await world.list(async () => {
    await world.report(VULNERABILITIES, "shop/v", ["a"]);
    await world.report(CHECKS, "shop/c", ["c"]);
  });
  await world.time.advance(GRACE_MS + 3 * TICK_MS);
  assertEquals(world.phases(), "a Active, b Resolved, c Active");
});

Deno.test("a report that is missing at a leader's first evaluation ends with its workload, and after EXPIRED_GRACE_SECONDS", async () => {
  await using world = await seen();
  await world.report(VULNERABILITIES, "shop/db", ["d"], { workload: "db" });
  await world.nextTerm();
  await world.list(() => world.report(CHECKS, "shop/c", ["c"]));
  await world.time.advance(2 * HOUR_MS);
  assertEquals(world.phases(), "a Active, b Active, c Active, d Active");
  world.gone(CHECKS, "shop/c");
  await world.time.advance(GRACE_MS + 3 * TICK_MS);
  assertEquals(world.phases(), "a Resolved, b Resolved, c Resolved, d Active");
  await world.time.advance(22 * HOUR_MS);
  assertEquals(world.phases(), "a Resolved, b Resolved, c Resolved, d Resolved");
});
