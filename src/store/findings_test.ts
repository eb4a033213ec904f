import { assert, assertEquals } from "@std/assert";
import type { DrawnEvent } from "../model/event.ts";
import { ANNOTATIONS, type Resource } from "../model/observation.ts";
import { sha256, workloadKey } from "../model/identity.ts";
import { NetworkError } from "../kube/api.ts";
import type { StoredObservation } from "./observations.ts";
import { FakeKube } from "../../tests/support/fake_kube.ts";
import { LeadingReplica, type LeadingReplicaOptions } from "../../tests/support/leader.ts";
import { storedObservation } from "../../tests/support/observation.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";

const REPORTS = { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" };
const GRACE_MS = 600_000;

interface It {
  readonly time: VirtualTime;
  readonly kube: FakeKube;
  readonly leader: LeadingReplica;
  /** Takes the events of a report in; resolves with the fingerprints that it reports. */
  take(
    key: string,
    ids: readonly (string | number)[],
    about?: Pick<DrawnEvent, "details"> & { resource: Resource },
  ): Promise<readonly string[]>;
  /** Takes a report in and tells its view, as a feed does. */
  report(key: string, ids: readonly (string | number)[], options?: { readable?: boolean }): Promise<void>;
  /** Lists these reports. */
  list(reports: Readonly<Record<string, readonly (string | number)[]>>): Promise<void>;
  phases(): Record<string, string>;
  reasons(): Record<string, string | undefined>;
  /** The leader's term ends; another begins. */
  nextTerm(): Promise<void>;
}

async function leading(
  test: (it: It) => Promise<void>,
  options: Partial<LeadingReplicaOptions> = {},
): Promise<void> {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  const leader = new LeadingReplica({ time, kube, ...options });
  let term = new AbortController();
  let running = leader.findings.run(term.signal);
  const take: It["take"] = async (key, ids, about) => {
    const events = ids.map((id) => ({
      identity: { id, ...(about && { resource: { namespace: about.resource.namespace ?? "" } }) },
      message: String(id),
      eventType: "vulnerability",
      ...about,
    }));
    const context = { kind: "finding", pushed: false, origin: key, source: { name: "trivy" } } as const;
    return (await leader.take(events, context)).fingerprints;
  };
  async function report(
    key: string,
    ids: readonly (string | number)[],
    { readable = true } = {},
  ): Promise<void> {
    leader.findings.report(REPORTS, { key, fingerprints: await take(key, ids), readable });
  }
  try {
    await test({
      time,
      kube,
      leader,
      take,
      report,
      async list(reports) {
        leader.findings.begin(REPORTS);
        for (const [key, ids] of Object.entries(reports)) await report(key, ids);
        leader.findings.complete(REPORTS);
      },
      phases: () =>
        Object.fromEntries(
          kube.stored.map(({ spec, status }) => [spec.message, `${status?.phase} ${status?.occurrences}`])
            .sort(),
        ),
      reasons: () =>
        Object.fromEntries(kube.stored.map(({ spec, status }) => [spec.message, status?.resolvedReason])),
      async nextTerm() {
        term.abort();
        await running;
        term = new AbortController();
        running = leader.findings.run(term.signal);
      },
    });
  } finally {
    term.abort();
    await running;
    await leader.kill();
  }
}

Deno.test("a finding its source no longer reports is Resolved after the grace, not before", () =>
  leading(async ({ time, list, report, phases, kube }) => {
    await list({ "prod/web": ["a", "b"] });
    await report("prod/web", ["a"]);
    await time.advance(GRACE_MS - 31_000);
    assertEquals(phases(), { a: "Active 1", b: "Active 1" });
    await time.advance(62_000);
    assertEquals(phases(), { a: "Active 1", b: "Resolved 1" });
    assert(kube.stored.find(({ spec }) => spec.message === "b")?.status?.resolvedAt);
    const writes = kube.count("patch/status");
    await time.advance(GRACE_MS * 3);
    assertEquals(kube.count("patch/status"), writes, "written once");
  }));

Deno.test("resolvedReason differs between a finding that its report no longer has and one whose report is gone", () =>
  leading(async ({ time, list, report, leader, reasons, nextTerm }) => {
    await list({ "prod/web": ["dropped", "kept"], "prod/db": ["gone"], "prod/old": ["unlisted"] });
    await report("prod/web", ["kept"]);
    leader.findings.gone(REPORTS, "prod/db");
    await list({ "prod/web": ["kept"] });
    await time.advance(GRACE_MS + 31_000);
    assertEquals(reasons(), {
      dropped: "NotReported",
      gone: "ReportGone",
      kept: undefined,
      unlisted: "ReportGone",
    });
    await nextTerm();
    await list({ "prod/web": [] });
    await time.advance(GRACE_MS + 62_000);
    assertEquals(reasons().kept, "ReportGone", "what this term never showed is not said to be fixed");
  }));

Deno.test("a finding that this term never showed is NotReported where its workload's report is there without it", () =>
  leading(async ({ time, kube, leader, take, reasons, nextTerm }) => {
    const say = async (key: string, ids: readonly string[], resource: Resource) => {
      const fingerprints = await take(key, ids, { resource, details: { container: "app" } });
      const scope = { workload: workloadKey(resource), part: "app" };
      leader.findings.report(REPORTS, { key, fingerprints, readable: true, scope });
    };
    const web = { kind: "Deployment", name: "web", namespace: "prod" };
    leader.findings.begin(REPORTS);
    await say("prod/web", ["a"], web);
    await say("prod/db", ["b"], { ...web, name: "db" });
    leader.findings.complete(REPORTS);
    await nextTerm();
    leader.findings.begin(REPORTS);
    await say("prod/web", [], web);
    leader.findings.complete(REPORTS);
    await time.advance(GRACE_MS + 62_000);
    assertEquals(reasons(), { a: "NotReported", b: "ReportGone" });
    assertEquals(kube.stored.map(({ status }) => status?.phase), ["Resolved", "Resolved"]);
  }));

Deno.test("a Resolved finding was last seen when its source dropped it, not when it was first reported", () =>
  leading(async ({ time, list, report, kube, nextTerm }) => {
    await list({ "prod/web": ["a", "b"] });
    await time.advance(3_600_000);
    await report("prod/web", ["a"]);
    const droppedAt = time.now();
    await time.advance(GRACE_MS + 31_000);
    const statusOf = (id: string) => kube.stored.find(({ spec }) => spec.message === id)?.status;
    const seenAt = (id: string) => Date.parse(statusOf(id)?.lastSeenAt ?? "");
    assert(Math.abs(seenAt("b") - droppedAt) <= 1_000, statusOf("b")?.lastSeenAt);
    assert(Date.parse(statusOf("b")?.resolvedAt ?? "") >= droppedAt + GRACE_MS);
    await nextTerm();
    await list({});
    await time.advance(GRACE_MS + 62_000);
    assert(Math.abs(seenAt("a") - droppedAt) <= 1_000, "reported last before this term, to this process");
  }));

Deno.test("a Resolved finding that is reported again is Active: the same object, occurrences + 1", () =>
  leading(async ({ time, list, report, phases, kube }) => {
    await list({ "prod/web": ["a"] });
    const [{ metadata: { uid } }] = kube.stored as [typeof kube.stored[0] & object];
    await report("prod/web", []);
    await time.advance(GRACE_MS + 31_000);
    assertEquals(phases(), { a: "Resolved 1" });
    await report("prod/web", ["a"]);
    await time.advance(2_000);
    assertEquals([phases(), kube.stored[0]?.metadata.uid], [{ a: "Active 2" }, uid]);
  }));

Deno.test("a daily deletion and rebuild of all reports leaves every Observation as it was", () =>
  leading(async ({ time, leader, list, report, kube }) => {
    await list({ "prod/web": ["a", "b"], "prod/db": ["b", "c"] });
    const before = kube.stored;
    for (const key of ["prod/web", "prod/db"]) leader.findings.gone(REPORTS, key);
    await time.advance(GRACE_MS - 60_000);
    await report("prod/db", ["b", "c"]);
    await report("prod/web", ["a", "b"]);
    await time.advance(GRACE_MS * 2);
    assertEquals(kube.stored, before);
  }));

Deno.test("a finding that one of two reports still has is not Resolved", () =>
  leading(async ({ time, leader, list, phases }) => {
    await list({ "prod/web": ["a"], "prod/db": ["a"] });
    leader.findings.gone(REPORTS, "prod/web");
    await time.advance(GRACE_MS * 2);
    assertEquals(phases(), { a: "Active 1" });
    leader.findings.gone(REPORTS, "prod/db");
    await time.advance(GRACE_MS + 31_000);
    assertEquals(phases(), { a: "Resolved 1" });
  }));

Deno.test("a complete list ends the findings that it lacks", () =>
  leading(async ({ time, list, phases }) => {
    await list({ "prod/web": ["a"], "prod/db": ["b"] });
    await list({ "prod/db": ["b"] });
    await time.advance(GRACE_MS + 31_000);
    assertEquals(phases(), { a: "Resolved 1", b: "Active 1" });
  }));

Deno.test("an interrupted list ends nothing", () =>
  leading(async ({ time, leader, list, report, phases }) => {
    await list({ "prod/web": ["a"], "prod/db": ["b"] });
    leader.findings.begin(REPORTS);
    await report("prod/db", ["b"]);
    await time.advance(GRACE_MS * 3);
    assertEquals(phases(), { a: "Active 1", b: "Active 1" });
  }));

Deno.test("a garbled document resolves nothing that it reported, and its readable part is taken in", () =>
  leading(async ({ time, list, report, phases }) => {
    await list({ "prod/web": ["a", "b"] });
    await report("prod/web", ["b", "c"], { readable: false });
    await time.advance(GRACE_MS * 3);
    assertEquals(phases(), { a: "Active 1", b: "Active 1", c: "Active 1" });
    await report("prod/web", ["c"]);
    await time.advance(GRACE_MS + 31_000);
    assertEquals(phases(), { a: "Resolved 1", b: "Resolved 1", c: "Active 1" });
  }));

for (const why of ["unreadable", "absent"] as const) {
  Deno.test(`a resource that is lost (${why}) resolves nothing`, () =>
    leading(async ({ time, leader, list, phases }) => {
      await list({ "prod/web": ["a"] });
      leader.findings.lost(REPORTS, why);
      await time.advance(GRACE_MS * 3);
      assertEquals(phases(), { a: "Active 1" });
      await list({});
      await time.advance(GRACE_MS + 31_000);
      assertEquals(phases(), { a: "Resolved 1" }, "a complete view without it does");
    }));
}

Deno.test("a CRD that is uninstalled, its reports first as an API server does it, resolves nothing", () =>
  leading(async ({ time, leader, list, phases }) => {
    await list({ "prod/web": ["a"], "prod/db": ["b", "c"] });
    leader.findings.gone(REPORTS, "prod/web");
    await list({});
    await time.advance(30_000);
    leader.findings.lost(REPORTS, "absent");
    await time.advance(GRACE_MS * 3);
    assertEquals(phases(), { a: "Active 1", b: "Active 1", c: "Active 1" });
    assertEquals(leader.findings.state(rowOf("trivy")), "absent");
    await list({ "prod/db": ["b"] });
    await time.advance(GRACE_MS + 31_000);
    assertEquals(
      phases(),
      { a: "Resolved 1", b: "Active 1", c: "Resolved 1" },
      "installed again, it says so itself",
    );
  }));

Deno.test("a finding that ended long before its resource is uninstalled stays Resolved, and one that came back counts once", () =>
  leading(async ({ time, leader, list, report, phases }) => {
    await list({ "prod/web": ["a"], "prod/db": ["b"] });
    leader.findings.gone(REPORTS, "prod/web");
    leader.findings.gone(REPORTS, "prod/db");
    await report("prod/db", ["b"]);
    await time.advance(GRACE_MS + 31_000);
    assertEquals(phases(), { a: "Resolved 1", b: "Active 1" });
    leader.findings.lost(REPORTS, "absent");
    await time.advance(GRACE_MS * 3);
    assertEquals(phases(), { a: "Resolved 1", b: "Active 1" });
    await list({ "prod/db": ["b"] });
    leader.findings.gone(REPORTS, "prod/db");
    await time.advance(GRACE_MS + 31_000);
    assertEquals(phases(), { a: "Resolved 1", b: "Resolved 1" }, "no reporter is counted twice");
  }));

Deno.test("after a restart the grace starts again, also for findings not reported in this term", () =>
  leading(async ({ time, leader, list, report, phases, nextTerm }) => {
    await list({ "prod/web": ["a", "b"] });
    await report("prod/web", ["a"]);
    await time.advance(GRACE_MS - 60_000);
    await nextTerm();
    await time.advance(GRACE_MS * 2);
    assertEquals(phases(), { a: "Active 1", b: "Active 1" }, "no evaluation in this term yet");
    await list({ "prod/web": ["a"] });
    await time.advance(GRACE_MS - 60_000);
    assertEquals(phases(), { a: "Active 1", b: "Active 1" });
    await time.advance(120_000);
    assertEquals(phases(), { a: "Active 1", b: "Resolved 1" });
    assertEquals(leader.findings.state(rowOf("trivy")), "unseen");
  }));

Deno.test("a finding pushed through an Ingester to a source with views expires when its TTL has passed since lastSeenAt", () =>
  leading(async ({ time, leader, kube, list, report, phases, nextTerm }) => {
    const door = "Ingester zen-system/edge";
    const pushed = {
      kind: "finding",
      pushed: true,
      source: { name: "trivy", door, ttlSeconds: 86_400 },
    } as const;
    const push = () =>
      leader.take([{ identity: { id: "p" }, message: "p", eventType: "vulnerability" }], pushed);
    const rowOfPushed = () =>
      leader.index.find("zen-system", kube.stored.find(isPushed)?.metadata.name ?? "");
    await push();
    await list({ "prod/web": ["a"] });
    assertEquals(
      kube.stored.map(({ metadata }) => metadata.annotations?.[ANNOTATIONS.pushedThrough]).sort(),
      [
        door,
        undefined,
      ],
    );
    await time.advance(GRACE_MS * 3);
    assertEquals(phases(), { a: "Active 1", p: "Active 1" }, "the list is silent about it");
    await report("prod/web", ["a", "p"]);
    assertEquals(leader.findings.state(rowOfPushed()!), "reported");
    await report("prod/web", []);
    await time.advance(GRACE_MS * 3);
    assertEquals(phases(), { a: "Resolved 1", p: "Active 1" });
    await nextTerm();
    assertEquals(leader.findings.state(rowOfPushed()!), "unwatched", "nor does it wait for a first list");
    await time.advance(80_000_000);
    await push();
    await time.advance(80_000_000);
    await leader.expiry.collect(new AbortController().signal);
    assertEquals(kube.stored.filter(isPushed).length, 1, "heard of within its TTL");
    await time.advance(7_000_000);
    await leader.expiry.collect(new AbortController().signal);
    assertEquals(kube.stored.filter(isPushed).length, 0);
  }));

function isPushed({ spec }: StoredObservation): boolean {
  return spec.message === "p";
}

Deno.test("after a restart a document that cannot be read keeps the findings that it may report", () =>
  leading(async ({ time, list, leader, report, phases, nextTerm }) => {
    await list({ "prod/web": ["a"], "prod/db": ["b"] });
    await nextTerm();
    leader.findings.begin(REPORTS);
    leader.findings.report(REPORTS, { key: "zen-system/web", fingerprints: [], readable: false });
    leader.findings.complete(REPORTS);
    await time.advance(GRACE_MS * 3);
    assertEquals(phases(), { a: "Active 1", b: "Active 1" });
    await report("zen-system/web", ["b"]);
    await time.advance(GRACE_MS + 62_000);
    assertEquals(phases(), { a: "Resolved 1", b: "Active 1" });
  }));

Deno.test("after a restart an uninstalled resource resolves no finding that only it could report", () =>
  leading(async ({ time, list, leader, phases, nextTerm }) => {
    await list({ "prod/web": ["a"] });
    await nextTerm();
    leader.findings.lost(REPORTS, "absent");
    leader.findings.begin({ ...REPORTS, resource: "configauditreports.aquasecurity.github.io" });
    leader.findings.complete({ ...REPORTS, resource: "configauditreports.aquasecurity.github.io" });
    await time.advance(GRACE_MS * 3);
    assertEquals(phases(), { a: "Active 1" });
  }, {
    eventTypesOf: ({ resource }) =>
      resource.startsWith("vulnerability") ? ["vulnerability"] : ["misconfiguration"],
  }));

Deno.test("one resource that is still being listed keeps the whole source from resolving unknown findings", () =>
  leading(async ({ time, list, leader, phases, nextTerm }) => {
    await list({ "prod/web": ["a"] });
    await nextTerm();
    leader.findings.begin({ ...REPORTS, resource: "clustervulnerabilityreports.aquasecurity.github.io" });
    await list({});
    await time.advance(GRACE_MS * 2);
    assertEquals(phases(), { a: "Active 1" });
    leader.findings.complete({ ...REPORTS, resource: "clustervulnerabilityreports.aquasecurity.github.io" });
    await time.advance(GRACE_MS + 62_000);
    assertEquals(phases(), { a: "Resolved 1" });
  }));

Deno.test("a pushed finding, which no view reports, is not resolved", () =>
  leading(async ({ time, leader, phases }) => {
    await leader.take([{ message: "fire" }], { kind: "finding", source: { name: "alertmanager" } });
    await time.advance(GRACE_MS * 5);
    assertEquals(phases(), { fire: "Active 1" });
  }));

Deno.test("findings are not resolved when another replica may hold the lease", () =>
  leading(async ({ time, leader, list, phases }) => {
    await list({ "prod/web": ["a"] });
    await list({});
    leader.leads = false;
    await time.advance(GRACE_MS * 2);
    assertEquals(phases(), { a: "Active 1" });
    leader.leads = true;
    await time.advance(31_000);
    assertEquals(phases(), { a: "Resolved 1" });
  }));

/** Carries out `once` as soon as a status is about to be written. */
function duringPatch(kube: FakeKube, once: () => Promise<unknown> | void): void {
  kube.script = {
    before: async ({ verb }) => {
      if (verb !== "patch") return;
      kube.script = {};
      await once();
    },
  };
}

for (const [how, lose] of [["ended in this term", false], ["was not reported in this term", true]] as const) {
  Deno.test(`a finding that ${how} and is reported while it is being resolved ends Active, even if its view is updated later`, () =>
    leading(async ({ time, leader, kube, list, take, phases, nextTerm }) => {
      await list({ "prod/web": ["a"] });
      if (lose) await nextTerm();
      await list({});
      let fingerprints: readonly string[] = [];
      duringPatch(kube, async () => fingerprints = await take("prod/web", ["a"]));
      await time.advance(GRACE_MS + 61_000);
      // Other events of the report are still being written when the resolution is through.
      leader.findings.report(REPORTS, { key: "prod/web", fingerprints, readable: true });
      await time.advance(2_000);
      assertEquals(phases(), { a: "Active 2" });
      await time.advance(GRACE_MS * 2);
      assertEquals(phases(), { a: "Active 2" });
    }));
}

Deno.test("a finding that is shown again while it is being resolved, but filtered, ends Active", () =>
  leading(async ({ time, leader, list, kube, take, phases }) => {
    await list({ "prod/web": ["a"] });
    const fingerprints = await take("prod/web", ["a"]);
    await list({});
    duringPatch(
      kube,
      () => leader.findings.report(REPORTS, { key: "prod/web", fingerprints, readable: true }),
    );
    await time.advance(GRACE_MS + 62_000);
    assertEquals(phases(), { a: "Active 2" });
  }));

Deno.test("a Resolved finding whose report comes back filtered stays Resolved", () =>
  leading(async ({ time, leader, list, take, phases }) => {
    await list({ "prod/web": ["a"] });
    const fingerprints = await take("prod/web", ["a"]);
    await list({});
    await time.advance(GRACE_MS + 62_000);
    assertEquals(phases(), { a: "Resolved 1" });
    leader.findings.report(REPORTS, { key: "prod/web", fingerprints, readable: true });
    await time.advance(GRACE_MS);
    assertEquals(phases(), { a: "Resolved 1" });
  }));

Deno.test("a finding is not resolved while the report that names it again is being written", () =>
  leading(async ({ time, leader, list, kube, take, phases }) => {
    await list({ "prod/web": ["a"] });
    await list({});
    await time.advance(GRACE_MS - 5_000);
    const fingerprints = await take("prod/web", ["a"]);
    await time.advance(120_000);
    leader.findings.report(REPORTS, { key: "prod/web", fingerprints, readable: true });
    await time.advance(GRACE_MS * 2);
    assertEquals([phases(), kube.count("patch/status")], [{ a: "Active 1" }, 0]);
  }));

Deno.test("a finding that is reported after the answer to its resolution was lost ends Active", () =>
  leading(async ({ time, leader, list, report, kube, phases }) => {
    await list({ "prod/web": ["a"] });
    await list({});
    leader.lagging = true;
    kube.script = {
      after: ({ verb }) => {
        if (verb !== "patch") return;
        kube.script = {
          before() {
            kube.script = {};
            throw new NetworkError("Cannot read it: reset");
          },
        };
        throw new NetworkError("Cannot patch it: reset");
      },
    };
    while (phases().a === "Active 1") await time.advance(1_000);
    await report("prod/web", ["a"]);
    await time.advance(2_000);
    assertEquals(phases(), { a: "Resolved 1" }, "this replica does not know that it is");
    leader.catchUp();
    await time.advance(31_000);
    assertEquals(phases(), { a: "Active 2" });
  }));

Deno.test("the return of a finding that was reported while it was being resolved is written until it succeeds", () =>
  leading(async ({ time, leader, list, kube, take, phases }) => {
    await list({ "prod/web": ["a"] });
    const fingerprints = await take("prod/web", ["a"]);
    await list({});
    let patches = 0;
    kube.script = {
      before: ({ verb }) => {
        if (verb !== "patch") return;
        if (++patches > 1 && patches < 4) throw new NetworkError("Cannot patch it: reset");
        leader.findings.report(REPORTS, { key: "prod/web", fingerprints, readable: true });
      },
    };
    await time.advance(GRACE_MS + 91_000);
    assertEquals([phases(), patches], [{ a: "Active 2" }, 4]);
  }));

function rowOf(source: string) {
  const { metadata: { namespace: belongsTo = "" }, spec: { eventType } } = storedObservation();
  return { source, eventType, belongsTo, fingerprint: sha256("none"), pushed: false };
}
