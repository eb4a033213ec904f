/**
 * Real files of each tool against what is counted in them (`truth.json`, made without this program): one event for
 * each finding, one fingerprint for each identity, the tool's severities, the workloads it names.
 */
import { assert, assertEquals } from "@std/assert";
import type { DrawnEvent, NormalEvent, Payload } from "../src/model/event.ts";
import { reportedWorkload } from "../src/model/identity.ts";
import type { Resource } from "../src/model/observation.ts";
import type { PayloadError } from "../src/model/outcome.ts";
import { checkov } from "../src/sources/checkov/mod.ts";
import { kubeBench } from "../src/sources/kube_bench/mod.ts";
import { kyverno } from "../src/sources/kyverno/mod.ts";
import type { Source } from "../src/sources/source.ts";
import { trivy } from "../src/sources/trivy/mod.ts";
import { loadPayloads } from "./support/load_fixture.ts";
import { runtimeFor } from "./support/source_runtime.ts";

interface Result {
  readonly payload: Payload;
  readonly drawn: readonly DrawnEvent[];
  readonly events: readonly NormalEvent[];
  readonly errors: readonly PayloadError[];
}

async function draw(source: Source, file: string): Promise<Result[]> {
  const { payloads, errors } = await loadPayloads(`sources/${source.name}/real/${file}`, source);
  assertEquals(errors, []);
  const runtime = runtimeFor(source);
  return payloads.map((payload) => {
    const all = [...runtime.draw(payload)];
    const drawn = all.flatMap((item) => "event" in item ? [item.event] : []);
    return {
      payload,
      drawn,
      events: drawn.map((event) => runtime.normalize(event, payload)),
      errors: all.flatMap((item) => "error" in item ? [item.error] : []),
    };
  });
}

async function truthOf<T>(source: Source): Promise<[file: string, truth: T][]> {
  const text = await Deno.readTextFile(
    new URL(`./fixtures/sources/${source.name}/truth.json`, import.meta.url),
  );
  return Object.entries<T>(JSON.parse(text));
}

function distinct(events: readonly NormalEvent[]): number {
  return new Set(events.map((event) => event.fingerprint)).size;
}

function countBy<T>(items: readonly T[], word: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[word(item)] = (counts[word(item)] ?? 0) + 1;
  return counts;
}

function sorted(counts: Readonly<Record<string, number>>): [string, number][] {
  return Object.entries(counts).toSorted(([a], [b]) => a < b ? -1 : 1);
}

interface TrivyTruth {
  readonly findings: number;
  readonly bySeverity: Readonly<Record<string, number>>;
  readonly reports: readonly {
    readonly name: string;
    readonly namespace?: string;
    readonly kind: string;
    readonly findings: number;
    readonly owner: { kind: string; name: string; namespace: string | null; container: string | null };
    readonly image?: string;
    readonly distinct_id_pkg_version_purl?: number;
  }[];
}

for (const [file, truth] of await truthOf<TrivyTruth>(trivy)) {
  Deno.test(`trivy draws each finding of ${file} once`, async () => {
    const results = await draw(trivy, file);
    const events = results.flatMap((result) => result.events);
    assertEquals(events.length, truth.findings);
    assertEquals(sorted(countBy(events, (event) => event.severity)), sorted(truth.bySeverity));
    const known = results.filter(({ payload }) =>
      truth.reports.some((report) => report.name === payload.origin.name)
    );
    for (const { payload, events, errors } of known) {
      const report = truth.reports.find(({ name, namespace, kind }) =>
        name === payload.origin.name && (namespace ?? "") === payload.origin.namespace &&
        kind === (payload.body as { kind?: string }).kind
      );
      assert(report);
      assertEquals(errors, []);
      assertEquals(events.length, report.findings);
      if (report.distinct_id_pkg_version_purl) {
        assertEquals(distinct(events), report.distinct_id_pkg_version_purl);
      }
      const { kind, name, namespace, container } = report.owner;
      const lasting = reportedWorkload({ kind, name });
      for (const event of events) {
        assertEquals(event.resource?.kind, lasting.kind);
        assertEquals(event.resource?.name, lasting.name);
        assertEquals(event.resource?.namespace ?? null, namespace || (report.namespace ?? null));
        if (lasting.name !== name) assertEquals(event.details.reportedOwner, { kind, name });
        if (container) assertEquals(event.details.container ?? container, container);
        if (event.eventType === "vulnerability") assertEquals(event.details.image, report.image);
      }
    }
  });
}

interface KyvernoTruth {
  readonly objects: number;
  readonly findings: number;
  readonly failBySeverity: Readonly<Record<string, number>>;
  readonly subjectKinds: Readonly<Record<string, number>>;
  readonly distinct: number;
}

for (const [file, truth] of await truthOf<KyvernoTruth>(kyverno)) {
  Deno.test(`kyverno draws each failed result of ${file} once`, async () => {
    const results = await draw(kyverno, file);
    assertEquals(results.length, truth.objects);
    const drawn = results.flatMap((result) => result.drawn);
    const events = results.flatMap((result) => result.events);
    assertEquals(events.length, truth.findings);
    const failed = events.filter((event) => event.details.result === "fail");
    const absent = truth.failBySeverity["None"] ?? 0;
    const severities = countBy(failed, (event) => event.severity);
    assertEquals(severities["HIGH"] ?? 0, truth.failBySeverity["high"] ?? 0);
    assertEquals(severities["MEDIUM"] ?? 0, (truth.failBySeverity["medium"] ?? 0) + absent);
    const subjects = new Map(drawn.map((event) => {
      const { kind, namespace, name } = reportedResource(event);
      return [JSON.stringify([kind, namespace, name]), kind ?? "None"];
    }));
    assertEquals(sorted(countBy([...subjects.values()], String)), sorted(truth.subjectKinds));
    assertEquals(distinct(events), lastingKeys(drawn));
    // Nothing but the parts of a workload's chain and the result itself (counted together in the truth) tells them apart.
    const reported = new Set(
      drawn.map((event) => {
        const { kind, namespace, name } = reportedResource(event);
        return JSON.stringify([event.rules[1] ?? event.rules[0], kind, namespace, name]);
      }),
    );
    assertEquals(reported.size, truth.distinct);
  });
}

/** The resource as the tool named it. */
function reportedResource({ resource, details }: DrawnEvent): Resource {
  return { ...resource, ...(details.reportedOwner as Resource | undefined) };
}

/** Policy, rule, result and the subject at the top of its chain, without the source's own code. */
function lastingKeys(drawn: readonly DrawnEvent[]): number {
  return new Set(drawn.map((event) => {
    const { kind: reported = "", name = "", namespace = "" } = reportedResource(event);
    const [, ofPod, hash = ""] = /^(.+)-([a-z0-9]{6,10})-[a-z0-9]{5}$/.exec(name) ?? [];
    const isDeployed = reported === "Pod" && ofPod !== undefined && /\d/.test(hash);
    const isNumbered = reported === "ReplicaSet" || (reported === "Job" && endsInMinutes(name));
    const lasting = isDeployed ? ofPod : isNumbered ? name.slice(0, name.lastIndexOf("-")) : name;
    const kind = isDeployed || reported === "ReplicaSet" ? "Deployment" : isNumbered ? "CronJob" : reported;
    const { policy, rule = "", result } = event.details;
    const bare = String(rule).replace("autogen-cronjob-", "").replace("autogen-", "");
    return JSON.stringify([policy, bare, result, kind, namespace, lasting]);
  })).size;
}

function endsInMinutes(name: string): boolean {
  const suffix = name.slice(name.lastIndexOf("-") + 1);
  return suffix.length === 8 && [...suffix].every((char) => char >= "0" && char <= "9");
}

interface KubeBenchTruth {
  readonly byStatus: Readonly<Record<string, number>>;
  readonly scoredFail: number;
  readonly failIds: readonly string[];
  readonly failByNodeType: Readonly<Record<string, number>>;
  readonly distinctFail: number;
}

for (const [file, truth] of await truthOf<KubeBenchTruth>(kubeBench)) {
  Deno.test(`kube-bench draws each failure and warning of ${file} once`, async () => {
    const results = await draw(kubeBench, file);
    const events = results.flatMap((result) => result.events);
    assertEquals(results.flatMap((result) => result.errors), []);
    const { FAIL = 0, WARN = 0 } = truth.byStatus;
    const failed = events.filter((event) => event.details.status === "FAIL");
    assertEquals([failed.length, events.length], [FAIL, FAIL + WARN]);
    assertEquals(failed.filter((event) => event.severity === "HIGH").length, truth.scoredFail);
    assertEquals(failed.filter((event) => event.severity === "MEDIUM").length, FAIL - truth.scoredFail);
    assertEquals(events.filter((event) => event.severity === "LOW").length, WARN);
    assertEquals(failed.flatMap((event) => event.rules), [...truth.failIds]);
    assertEquals(
      sorted(countBy(failed, (event) => String(event.details.nodeType))),
      sorted(truth.failByNodeType),
    );
    assertEquals(distinct(failed), truth.distinctFail);
    assertEquals(distinct(events), events.length);
    for (const event of events) assertEquals(event.resource?.kind, "Node");
  });
}

interface CheckovTruth {
  readonly failed: number;
  readonly bySeverity: Readonly<Record<string, number>>;
  readonly distinct: number;
  readonly checkIds: number;
  readonly kubernetesResources: readonly string[];
}

for (const [file, truth] of await truthOf<CheckovTruth>(checkov)) {
  Deno.test(`checkov draws each failed check of ${file} once`, async () => {
    const results = await draw(checkov, file);
    const events = results.flatMap((result) => result.events);
    assertEquals(results.flatMap((result) => result.errors), []);
    assertEquals(events.length, truth.failed);
    const { None: absent = 0, MEDIUM: medium = 0, ...others } = truth.bySeverity;
    const severities = { ...others, ...(absent + medium > 0 ? { MEDIUM: absent + medium } : {}) };
    assertEquals(sorted(countBy(events, (event) => event.severity)), sorted(severities));
    assertEquals(distinct(events), truth.distinct);
    assertEquals(new Set(events.flatMap((event) => event.rules)).size, truth.checkIds);
    const named = events.filter((event) => event.resource).map((event) => String(event.details.resource));
    // The truth lists the first thirty.
    assertEquals([...new Set(named)].toSorted().slice(0, 30), truth.kubernetesResources.toSorted());
    for (const { resource } of events) {
      if (resource?.kind?.startsWith("Cluster")) assertEquals(resource.namespace, undefined);
    }
  });
}
