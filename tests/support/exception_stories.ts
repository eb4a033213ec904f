/** The life of ObservationExceptions, told once: the embedded and the real API server play the same stories. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { OBSERVATION_EXCEPTIONS } from "../../src/exceptions/kind.ts";
import { hasStatus, type KubeApi, type KubeObject } from "../../src/kube/api.ts";
import { EVENTS } from "../../src/kube/events.ts";
import { type Clock, DAY_MS } from "../../src/model/time.ts";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { OBSERVATIONS, type StoredObservation } from "../../src/store/mod.ts";
import type { TestApp } from "./app.ts";
import { eventually } from "./eventually.ts";
import { MovedClock } from "./moved_clock.ts";
import { VULNERABILITY_REPORTS } from "./reports.ts";
import { NAMESPACES } from "../../src/kube/core_resources.ts";

/** Where a story takes place. */
export interface ExceptionWorld {
  readonly api: KubeApi;
  /** A namespace of the story's own. */
  readonly namespace: string;
  /** Starts the program: as many replicas as this ground has. */
  start(env?: Readonly<Record<string, string>>, clock?: Clock): Promise<ExceptionApps>;
}

/** Replicas that stop when they are disposed of. */
export interface ExceptionApps extends AsyncDisposable {
  readonly apps: readonly TestApp[];
}

/** One story. */
export interface ExceptionStory {
  readonly name: string;
  play(world: ExceptionWorld): Promise<void>;
}

const RULE = "CVE-2024-3094";
const OTHER_RULE = "CVE-2024-0001";
const SOON_MS = 8_000;

interface Vulnerability {
  readonly id: string;
  readonly fixedVersion?: string;
}

/** A report of Trivy on the Deployment `web`. */
export function vulnerabilityReportOf(
  namespace: string,
  found: readonly Vulnerability[] = [{ id: RULE }],
): KubeObject {
  return {
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind: "VulnerabilityReport",
    metadata: {
      name: "deployment-web-app",
      namespace,
      labels: {
        "trivy-operator.resource.kind": "Deployment",
        "trivy-operator.resource.name": "web",
        "trivy-operator.resource.namespace": namespace,
        "trivy-operator.container.name": "app",
      },
    },
    report: {
      artifact: { repository: "library/app", tag: "1.0" },
      scanner: { name: "Trivy", vendor: "Aqua Security", version: "0.35.0" },
      vulnerabilities: found.map(({ id, fixedVersion = "" }) => ({
        vulnerabilityID: id,
        resource: "xz-utils",
        installedVersion: "5.6.0",
        fixedVersion,
        severity: "CRITICAL",
        title: "A backdoor",
        target: "",
      })),
    },
  };
}

function exceptionOf(
  namespace: string,
  { name = "held", ...spec }: JsonObject & { readonly name?: string } = {},
): KubeObject {
  return {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationException",
    metadata: { name, namespace },
    spec: {
      match: { rules: [RULE] },
      reason: "accepted_risk",
      justification: "The package is not loaded",
      expiresAt: after(30 * DAY_MS),
      ...spec,
    },
  };
}

function after(ms: number): string {
  return new Date(Date.now() + ms).toISOString();
}

/** What a story does and sees in its namespace. */
class Scene {
  readonly #world: ExceptionWorld;

  constructor(world: ExceptionWorld) {
    this.#world = world;
  }

  async report(...found: readonly Vulnerability[]): Promise<void> {
    const { api, namespace } = this.#world;
    const report = vulnerabilityReportOf(namespace, found);
    try {
      await api.create(VULNERABILITY_REPORTS, report, { namespace });
    } catch (error) {
      if (!hasStatus(error, 409)) throw error;
      const patch = { report: report.report } as JsonObject;
      await api.patch(VULNERABILITY_REPORTS, "deployment-web-app", patch, { namespace, type: "merge" });
    }
  }

  async accept(spec: JsonObject & { readonly name?: string } = {}, namespace = this.#world.namespace) {
    return await this.#world.api.create(OBSERVATION_EXCEPTIONS, exceptionOf(namespace, spec), { namespace });
  }

  async edit(spec: JsonObject, name = "held"): Promise<void> {
    const { api, namespace } = this.#world;
    await api.patch(OBSERVATION_EXCEPTIONS, name, { spec }, { namespace, type: "merge" });
  }

  async withdraw(name = "held"): Promise<void> {
    const { api, namespace } = this.#world;
    await api.delete(OBSERVATION_EXCEPTIONS, name, { namespace });
  }

  async finding(rule = RULE): Promise<StoredObservation | undefined> {
    const { api, namespace } = this.#world;
    const { items } = await api.list<StoredObservation>(OBSERVATIONS, { namespace });
    return items.find(({ spec }) => spec.rule === rule);
  }

  /** Waits until the finding has the phase, and is accepted by the exception of that name where one is given. */
  phase(phase: string, { rule = RULE, by }: { readonly rule?: string; readonly by?: string } = {}) {
    return eventually(`${rule} to be ${phase}`, async () => {
      const found = await this.finding(rule);
      const said = found?.status?.phase ?? "Active";
      if (!found || said !== phase) throw new Error(`it is ${found ? said : "not stored"}`);
      const name = found.status?.exception?.name;
      if (by !== undefined && name !== by) throw new Error(`it is accepted by ${name}`);
      return found;
    }, { timeoutMs: 60_000 });
  }

  /** Waits until `Ready` says so. */
  ready(reason: string, name = "held", namespace = this.#world.namespace): Promise<JsonObject> {
    return eventually(`the exception ${name} to be ${reason}`, async () => {
      const { status } = await this.#world.api.get(OBSERVATION_EXCEPTIONS, name, { namespace });
      const conditions = isObject(status) && Array.isArray(status.conditions) ? status.conditions : [];
      const ready = conditions.filter(isObject).find(({ type }) => type === "Ready");
      if (ready?.reason !== reason) throw new Error(`it is ${JSON.stringify(ready)}`);
      return { ...ready, matched: isObject(status) ? status.matched ?? null : null };
    }, { timeoutMs: 60_000 });
  }

  /** Waits for the Event that says that findings are Active again. */
  event(text: string): Promise<string> {
    return eventually(`an Event "${text}"`, async () => {
      const { items } = await this.#world.api.list(EVENTS, { namespace: "zen-system" });
      const messages = items.filter(({ reason }) => reason === "ExceptionEnded").map(({ message }) =>
        `${message}`
      );
      const found = messages.find((message) =>
        message.includes(`${this.#world.namespace}/`) && message.includes(text)
      );
      if (found === undefined) throw new Error(messages.join("; "));
      return found;
    }, { timeoutMs: 60_000 });
  }
}

/** Active CRITICAL findings as each replica counts them: other stories' are in the sum. */
async function activeOf({ apps }: ExceptionApps): Promise<number[]> {
  return await Promise.all(apps.map(async (app) => {
    const text = await (await fetch(`${app.metricsUrl}/metrics`)).text();
    const line = /^zen_watcher_active_events\{category="security",severity="CRITICAL"\} (\d+)$/m.exec(text);
    return Number(line?.[1] ?? NaN);
  }));
}

function lowered(counts: readonly number[], by: number): number[] {
  return counts.map((count) => count - by);
}

/** Every story. */
export const EXCEPTION_STORIES: readonly ExceptionStory[] = [
  {
    name:
      "an exception accepts what matches; its edit, its return and its deletion are followed, with an Event",
    async play(world) {
      const scene = new Scene(world);
      await using running = await world.start();
      await scene.report({ id: RULE }, { id: OTHER_RULE });
      const first = await scene.phase("Active");
      await scene.phase("Active", { rule: OTHER_RULE });
      const before = await eventually("both to be counted by every replica", async () => {
        const counts = await activeOf(running);
        return counts.every((count) => count >= 2 && count === counts[0]) && counts;
      });
      await scene.accept();
      await eventually(
        "active_events without it",
        async () => `${await activeOf(running)}` === `${lowered(before, 1)}`,
      );
      const accepted = await scene.phase("Accepted", { by: "held" });
      assertEquals(accepted.metadata.uid, first.metadata.uid);
      assertEquals(accepted.status?.exception?.namespace, world.namespace);
      assertEquals((await scene.ready("InForce")).status, "True");
      await eventually("the exception to count it", async () => (await scene.ready("InForce")).matched === 1);
      assertEquals((await scene.finding(OTHER_RULE))?.status?.phase, "Active");

      await scene.edit({ match: { rules: [OTHER_RULE] } });
      await scene.phase("Accepted", { rule: OTHER_RULE });
      const active = await scene.phase("Active");
      assertEquals(active.status?.exception, undefined);
      await scene.event("no longer matches");

      await scene.edit({ match: { rules: [RULE, OTHER_RULE] }, expiresAt: after(60 * DAY_MS) });
      await scene.phase("Accepted");
      await scene.withdraw();
      await scene.phase("Active");
      await scene.phase("Active", { rule: OTHER_RULE });
      assertStringIncludes(await scene.event("was deleted"), "2 findings are Active again");
      await eventually("active_events with both", async () => `${await activeOf(running)}` === `${before}`);
    },
  },
  {
    name: "an exception that expires makes its findings Active again, also where nothing ran at that moment",
    async play(world) {
      const scene = new Scene(world);
      {
        await using _running = await world.start();
        await scene.report({ id: RULE }, { id: OTHER_RULE });
        await scene.phase("Active");
        await scene.accept({ expiresAt: after(SOON_MS) });
        await scene.phase("Accepted");
        await scene.phase("Active");
        await scene.event("has expired");
        assertMatch(String((await scene.ready("Expired")).message), /^It expired at 20/);
        await scene.edit({ expiresAt: after(2 * SOON_MS) });
        await scene.phase("Accepted");
      }
      const accepted = await scene.phase("Accepted");
      await eventually("it to be over", () => accepted.status?.exception?.expiresAt! < after(0));
      await using _running = await world.start();
      await scene.phase("Active");
      assertEquals((await scene.ready("Expired")).matched, 0);
    },
  },
  {
    name: "a misspelt key, no bound and a mistake accept nothing, and the condition names each",
    async play(world) {
      const scene = new Scene(world);
      await using running = await world.start();
      await scene.report({ id: RULE });
      await scene.phase("Active");
      await scene.accept({ name: "typo", match: { rules: [RULE], workload: ["web"] } });
      assertStringIncludes(
        String((await scene.ready("Invalid", "typo")).message),
        'at spec.match.workload: unknown key; did you mean "workloads"?',
      );
      await scene.accept({ name: "nested", onlyWhileNofix: true });
      assertStringIncludes(String((await scene.ready("Invalid", "nested")).message), '"onlyWhileNoFix"');
      await scene.accept({ name: "long", expiresAt: after(366 * DAY_MS) });
      assertStringIncludes(String((await scene.ready("TooLong", "long")).message), "at most 365 days");
      await scene.accept({ name: "good", match: { rules: [OTHER_RULE] } });
      await scene.ready("InForce", "good");
      assertEquals((await scene.finding())?.status?.phase, "Active");
      const { exceptions } = await (await fetch(`${running.apps[0]?.url}/tools/status`)).json();
      assert(exceptions.rejected >= 3 && exceptions.inForce >= 1, JSON.stringify(exceptions));
      await scene.edit({ match: { workload: null } }, "typo");
      await scene.phase("Accepted", { by: "typo" });
    },
  },
  {
    name: "an exception acts in its own namespace alone, and names there what it names exactly",
    async play(world) {
      const scene = new Scene(world);
      const other = `${world.namespace}-other`;
      await world.api.create(NAMESPACES, { metadata: { name: other } });
      await using _running = await world.start();
      await scene.report({ id: RULE });
      await scene.phase("Active");
      await scene.accept({}, other);
      await scene.accept({ name: "own" }, "zen-system");
      const spared: Readonly<Record<string, JsonObject>> = {
        source: { rules: [RULE], sources: ["kyverno"] },
        workload: { rules: [RULE], workloads: ["we"] },
        severity: { rules: [RULE], severities: ["HIGH"] },
        resource: { resources: [{ kind: "Deployment", name: "web2" }] },
      };
      for (const [name, match] of Object.entries(spared)) {
        await scene.accept({ name, match });
        assertEquals((await scene.ready("InForce", name)).matched, 0);
      }
      assertEquals((await scene.ready("InForce", "held", other)).matched, 0);
      assertEquals((await scene.finding())?.status?.phase, "Active");
      const match = {
        sources: ["trivy"],
        rules: [RULE],
        workloads: ["web"],
        severities: ["CRITICAL"],
        resources: [{ kind: "Deployment", name: "web" }],
      };
      await scene.accept({ name: "exact", match });
      await scene.phase("Accepted", { by: "exact" });
      await world.api.delete(OBSERVATION_EXCEPTIONS, "own", { namespace: "zen-system" });
    },
  },
  {
    name: "of two exceptions that match the one that ends last counts, and the other one where it is gone",
    async play(world) {
      const scene = new Scene(world);
      await using _running = await world.start();
      await scene.report({ id: RULE });
      await scene.phase("Active");
      await scene.accept({ name: "short" });
      await scene.phase("Accepted", { by: "short" });
      const expiresAt = after(60 * DAY_MS);
      await scene.accept({ name: "b-long", expiresAt });
      await scene.phase("Accepted", { by: "b-long" });
      const resources = [{ kind: "Deployment", name: "web" }];
      await scene.accept({ name: "a-long", match: { resources }, expiresAt });
      const found = await scene.phase("Accepted", { by: "a-long" });
      assertEquals(Date.parse(found.status?.exception?.expiresAt ?? ""), Date.parse(expiresAt));
      await scene.withdraw("a-long");
      await scene.phase("Accepted", { by: "b-long" });
      await scene.withdraw("b-long");
      await scene.phase("Accepted", { by: "short" });
    },
  },
  {
    name:
      "a finding that is fixed and reported again under its exception is Accepted again, and counts its return",
    async play(world) {
      const scene = new Scene(world);
      await using _running = await world.start({ RESOLVE_GRACE_SECONDS: "1" });
      await scene.report({ id: RULE }, { id: OTHER_RULE });
      await scene.accept();
      const accepted = await scene.phase("Accepted");
      await scene.report({ id: OTHER_RULE });
      const resolved = await scene.phase("Resolved");
      assertEquals(resolved.status?.exception, undefined);
      await eventually(
        "the exception to count none",
        async () => (await scene.ready("InForce")).matched === 0,
      );
      await scene.report({ id: RULE }, { id: OTHER_RULE });
      const returned = await scene.phase("Accepted", { by: "held" });
      assertEquals(returned.metadata.uid, accepted.metadata.uid);
      assertEquals(returned.status?.occurrences, 2);
      assertEquals(returned.status?.resolvedAt, undefined);
    },
  },
  {
    name: "an exception with onlyWhileNoFix ends for a finding whose fix appears",
    async play(world) {
      const scene = new Scene(world);
      await using _running = await world.start();
      await scene.report({ id: RULE }, { id: OTHER_RULE, fixedVersion: "5.6.2" });
      await scene.accept({ match: { rules: [RULE, OTHER_RULE] }, onlyWhileNoFix: true });
      await scene.phase("Accepted");
      assertEquals((await scene.finding(OTHER_RULE))?.status?.phase, "Active");
      await scene.report({ id: RULE, fixedVersion: "5.6.2" }, { id: OTHER_RULE, fixedVersion: "5.6.2" });
      const active = await scene.phase("Active");
      assertEquals(active.spec.details?.fixedVersion, "5.6.2");
    },
  },
  {
    name:
      "a finding that is Accepted outlives its time to live while it is reported, and is not created anew",
    async play(world) {
      const scene = new Scene(world);
      await using running = await world.start({ OBSERVATION_TTL_SECONDS: "1", GC_INTERVAL: "1s" });
      await scene.report({ id: RULE });
      await scene.accept();
      const accepted = await scene.phase("Accepted");
      const collections = async () => {
        const counts = await Promise.all(running.apps.map((app) => app.metric("gc_runs_total")));
        return counts.reduce((sum, count) => sum + count, 0);
      };
      const enough = await collections() + 4;
      await eventually("four garbage collections", async () => await collections() >= enough);
      await scene.report({ id: RULE }, { id: OTHER_RULE });
      await scene.phase("Active", { rule: OTHER_RULE });
      assertEquals((await scene.phase("Accepted")).metadata.uid, accepted.metadata.uid);
    },
  },
  {
    name: "a clock that is an hour ahead ends no exception before its time",
    async play(world) {
      const scene = new Scene(world);
      await using _running = await world.start({}, new MovedClock(3_600_000));
      await scene.report({ id: RULE }, { id: OTHER_RULE });
      await scene.phase("Active");
      await scene.accept({ expiresAt: after(1_800_000) });
      await scene.accept({ name: "ends", match: { rules: [OTHER_RULE] }, expiresAt: after(SOON_MS) });
      await scene.phase("Accepted");
      await scene.phase("Accepted", { rule: OTHER_RULE });
      await scene.phase("Active", { rule: OTHER_RULE });
      assertEquals((await scene.finding())?.status?.phase, "Accepted");
      assertEquals((await scene.ready("InForce")).status, "True");
    },
  },
];
