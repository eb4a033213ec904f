/**
 * What a tenant can do to everybody else: a namespace that refuses Observations or takes them slowly, reports without end,
 * invented engines, planted Observations. The program runs as a process of its own. The long form sends ten times as
 * much.
 */
import { assert, assertEquals } from "@std/assert";
import { LONG } from "./form.ts";
import { freshBundle } from "../../scripts/bundle.ts";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { V8_FLAGS } from "../../scripts/support/permissions.ts";
import { createNamespaces, installCrds } from "../../scripts/support/feed.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import { type DevCluster, type DevClusterOptions, startDevCluster } from "../../src/devcluster/mod.ts";
import { fixedConnection, type KubeObject } from "../../src/kube/api.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { createKubeClient, type KubeClient } from "../../src/kube/client.ts";
import { report } from "../cluster/watching.ts";
import { alert } from "../support/alerts.ts";
import { eventually } from "../support/eventually.ts";
import { storedObservation } from "../support/observation.ts";
import { POLICY_REPORTS, policyReport } from "../support/policy_reports.ts";

const SCALE = LONG ? 10 : 1;
const MIB = 2 ** 20;
/** What a Pod may take; and what the library takes in addition that reads a kubeconfig, which a Pod has none of. */
const MOST_MIB = 300, KUBECONFIG_MIB = 70;
const many = <T>(length: number, of: (index: number) => T): T[] =>
  Array.from({ length }, (_, index) => of(index));
type Gate = NonNullable<DevClusterOptions["gate"]>;

interface Target extends AsyncDisposable {
  readonly controller: Controller;
  readonly cluster: DevCluster;
  readonly api: KubeClient;
  stored(): Promise<readonly KubeObject[]>;
}

async function startTarget({ env = {}, gate, before, entry }: {
  readonly env?: Readonly<Record<string, string>>;
  readonly gate?: Gate;
  /** The objects in the cluster when the program starts. */
  readonly before?: (api: KubeClient) => Promise<void>;
  /** A bundle, which runs with the image's flags, takes less memory than the source entry. */
  readonly entry?: string;
}): Promise<Target> {
  const stack = new AsyncDisposableStack();
  const cluster = stack.use(startDevCluster({ ...(gate && { gate }) }));
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-attack-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const kubeconfig = `${folder}/kubeconfig`;
  await Deno.writeTextFile(kubeconfig, cluster.kubeconfig());
  const api = stack.use(createKubeClient(fixedConnection({ server: cluster.url })));
  await installCrds(api);
  await createNamespaces(api, ["zen-system", "evil", "shop", "team-a"]);
  await before?.(api);
  const controller = stack.use(
    await startController({
      kubeconfig,
      ...(entry !== undefined && { entry, denoArgs: [V8_FLAGS] }),
      env: { POD_NAMESPACE: "zen-system", ...env },
    }),
  );
  return {
    controller,
    cluster,
    api,
    async stored() {
      return (await api.list(OBSERVATIONS)).items;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Answers creates of Observations in a namespace as `refuse` says. */
function gateOf(namespace: string, refuse: () => Promise<Response | undefined>): Gate {
  return async ({ verb, path }, { carryOut }) => {
    const isCreate = verb === "create" && path.includes(`/namespaces/${namespace}/observations`);
    return (isCreate ? await refuse() : undefined) ?? await carryOut();
  };
}

interface Sent {
  readonly status: number;
  readonly ms: number;
}

/** Most alerts of a flood that are under way at once: a sender has half of the waiting room, a namespace of it half of that. */
const AT_ONCE = 110;

/** Posts as many alerts of a namespace, the next one when one is answered. */
async function flood(controller: Controller, namespace: string, count: number): Promise<readonly Sent[]> {
  const sent: Sent[] = [];
  let next = 0;
  const post = async () => {
    while (next < count) sent.push(await send(controller, namespace, next++));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, post));
  return sent;
}

/** Posts an alert. A status of 0: there was no answer. */
async function send({ url }: Controller, namespace: string, index: number): Promise<Sent> {
  const startedAt = performance.now();
  let status = 0;
  try {
    const response = await fetch(`${url}/falco/webhook`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(alert(namespace, index)),
    });
    await response.body?.cancel();
    status = response.status;
  } catch { /* the program was ended */ }
  return { status, ms: performance.now() - startedAt };
}

/** Processor time and resident memory of a process, from /proc. */
async function usageOf(pid: number): Promise<{ readonly cpuMs: number; readonly bytes: number }> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  // Fields after the name, which may hold spaces: utime and stime are the 14th and 15th, in hundredths of a second.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return {
    cpuMs: (Number(fields[11]) + Number(fields[12])) * 10,
    bytes: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1_024,
  };
}

/** Asks for `/health` all the while, and reads what `work` cost. The bounds are the same for each attack. */
async function measured(
  what: string,
  { pid, url, mostMib = MOST_MIB }: Controller & { readonly mostMib?: number },
  work: () => Promise<unknown>,
): Promise<void> {
  const before = await usageOf(pid);
  let isOver = false, healthMs = 0, bytes = before.bytes;
  const watching = (async () => {
    while (!isOver) {
      const startedAt = performance.now();
      await (await fetch(`${url}/health`)).body?.cancel();
      healthMs = Math.max(healthMs, performance.now() - startedAt);
      bytes = Math.max(bytes, (await usageOf(pid)).bytes);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  const startedAt = performance.now();
  try {
    await work();
  } finally {
    isOver = true;
    await watching;
    const { cpuMs } = await usageOf(pid);
    const ms = performance.now() - startedAt;
    report(what, {
      "took ms": ms,
      "CPU ms": cpuMs - before.cpuMs,
      "MiB": bytes / MIB,
      "health ms": healthMs,
    });
    assert(healthMs < 1_000, `/health took ${healthMs} ms`);
    assert(bytes < mostMib * MIB, `${bytes / MIB} MiB`);
  }
}

function refusal(status: number, message: string): Promise<Response> {
  const body = {
    kind: "Status",
    apiVersion: "v1",
    status: "Failure",
    reason: "Forbidden",
    code: status,
    message,
  };
  return Promise.resolve(Response.json(body, { status }));
}

const REFUSALS: Readonly<Record<string, () => Promise<Response>>> = {
  "a quota of 0": () => refusal(403, 'observations "a" is forbidden: exceeded quota: none'),
  "a denying policy": () =>
    refusal(422, "ValidatingAdmissionPolicy 'no' with binding 'no' denied request: no"),
};

for (const [name, refuse] of Object.entries(REFUSALS)) {
  Deno.test(`110 alerts for a namespace with ${name} are stored, and delay no other's`, async () => {
    await using target = await startTarget({ gate: gateOf("shop", refuse) });
    const { controller } = target;
    await measured(name, controller, async () => {
      const flooding = flood(controller, "shop", 110 * SCALE);
      for (let index = 0; index < 20; index++) {
        const { status, ms } = await send(controller, "team-a", index);
        assertEquals(status, 200);
        assert(ms < 2_000, `${ms} ms`);
      }
      const answers = await flooding;
      assertEquals(answers.filter(({ status }) => status !== 200).length, 0);
    });
    const namespaces = (await target.stored()).map(({ metadata }) => metadata.namespace);
    assertEquals(namespaces.filter((namespace) => namespace === "zen-system").length, 110 * SCALE);
    assertEquals(namespaces.filter((namespace) => namespace === "team-a").length, 20);
  });
}

Deno.test("a namespace that takes seconds for each create delays no other's alerts", async () => {
  const slow = async () => {
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    return undefined;
  };
  await using target = await startTarget({ gate: gateOf("shop", slow) });
  const { controller } = target;
  let taken = 0;
  await measured("slow admission", controller, async () => {
    // Far more than a namespace may have under way: it loses its own alerts.
    const flooding = Array.from({ length: 110 * SCALE }, (_, index) => send(controller, "shop", index));
    if (LONG) await Promise.any(flooding.slice(-1));
    for (let index = 0; index < 20; index++) {
      const { status, ms } = await send(controller, "team-a", index);
      assertEquals(status, 200);
      assert(ms < 2_000, `${ms} ms`);
    }
    taken = (await Promise.all(flooding)).filter(({ status }) => status === 200).length;
  });
  assert(LONG || taken === 110, `${taken} taken`);
  assertEquals((await target.stored()).length, taken + 20);
});

Deno.test("a tenant's reports, far more than the rate lets through, delay no other namespace's", async () => {
  await using target = await startTarget({
    env: { DEDUP_MAX_RATE_PER_SOURCE: "20", DEDUP_RATE_BURST: "20" },
    async before(api) {
      for (let index = 0; index < 8 * SCALE; index++) {
        await api.create(POLICY_REPORTS, policyReport("evil", `report-${index}`, { results: 300 }));
      }
      await api.create(POLICY_REPORTS, policyReport("shop", "web", { results: 5 }));
    },
  });
  await measured(
    "8 reports at once",
    target.controller,
    () =>
      eventually(
        "the findings of shop",
        async () =>
          (await target.stored()).filter(({ metadata }) => metadata.namespace === "shop").length === 5,
        {
          timeoutMs: 8_000,
        },
      ),
  );
});

/** True once every kind of policy report was evaluated in full. */
async function isKyvernoRead({ metricsUrl }: Controller): Promise<boolean> {
  const text = await (await fetch(`${metricsUrl}/metrics`)).text();
  return /zen_watcher_scrape_duration_seconds_count\{watcher="kyverno"\} [4-9]/.test(text);
}

/** Reports in which one long text belongs to many findings. */
const REPEATED: Readonly<Record<string, JsonObject>> = {
  "a message": { source: "x", message: "token 12 x ".repeat(60_000) },
  "a policy": { policy: "p".repeat(700_000) },
};

for (const [name, fields] of Object.entries(REPEATED)) {
  Deno.test(`8 reports that repeat ${name} for 300 resources cost little more than their length`, async () => {
    await readsHonestReport(`8 reports, ${name}`, {
      count: 8,
      resultOf: (index) => ({
        resources: many(300, (pod) => ({ kind: "Pod", name: `pod-${index}-${pod}` })),
        ...fields,
      }),
    });
  });
}

Deno.test("20 reports of 200,000 empty objects each are read one after the other", async () => {
  const stored = await readsHonestReport("20 dense reports", {
    count: 20,
    resultOf: () => ({ result: "pass", resources: many(200_000, () => ({})) }),
  });
  assertEquals(stored.length, 5);
});

/** Starts on hostile reports of one result each, and reads a report of "shop" beside them within the bounds. */
async function readsHonestReport(
  name: string,
  { count, resultOf }: { readonly count: number; readonly resultOf: (index: number) => JsonObject },
) {
  await using target = await startTarget({
    entry: await freshBundle(),
    async before(api) {
      for (let index = 0; index < count; index++) {
        const report = policyReport("evil", `hostile-${index}`, { results: 1 });
        const [result] = report["results"] as JsonObject[];
        await api.create(POLICY_REPORTS, { ...report, results: [{ ...result, ...resultOf(index) }] });
      }
      await api.create(POLICY_REPORTS, policyReport("shop", "web", { results: 5 }));
    },
  });
  const { pid, url } = target.controller;
  const controller = { ...target.controller, pid, url, mostMib: MOST_MIB + KUBECONFIG_MIB };
  await measured(name, controller, async () => {
    await eventually("the reports to be evaluated", () => isKyvernoRead(target.controller), {
      timeoutMs: 60_000,
    });
  });
  const stored = await target.stored();
  assertEquals(stored.filter(({ metadata }) => metadata.namespace === "shop").length, 5);
  return stored;
}

Deno.test("20 CRITICAL alerts beside 100 engines that one namespace invented are stored and stay", async () => {
  await using target = await startTarget({
    env: { OBSERVATION_MAX_TOTAL: "140" },
    before: (api) =>
      api.create(POLICY_REPORTS, policyReport("evil", "invented", { results: 300, engines: 100 }))
        .then(() => {}),
  });
  await measured("invented engines", target.controller, async () => {
    await eventually("the budget to be used up", async () => (await target.stored()).length >= 139);
    for (let index = 0; index < 20; index++) {
      const body = { ...alert("shop", index), priority: "Critical" };
      const response = await fetch(`${target.controller.url}/falco/webhook`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      assertEquals((await response.json()).created, 1);
    }
    await eventually("the budget to be kept", async () => (await target.stored()).length <= 140);
  });
  const alerts = (await target.stored()).filter(({ metadata }) => metadata.namespace === "shop");
  assertEquals(alerts.length, 20);
  const text = await (await fetch(`${target.controller.metricsUrl}/metrics`)).text();
  assert(!text.includes('source="engine-'), "no invented name is a label");
});

Deno.test("Observations that a tenant planted are set aside, and do not affect others", async () => {
  const count = 1_000 * SCALE;
  await using target = await startTarget({
    async before(api) {
      for (let id = 0; id < count; id++) {
        const { metadata: { uid: _uid, resourceVersion: _version, ...metadata }, spec } = storedObservation({
          id,
          namespace: "evil",
          resource: { namespace: "shop" },
        });
        const object = { apiVersion: "zen.kube-zen.io/v1", kind: "Observation", metadata, spec };
        await api.create(OBSERVATIONS, object as unknown as KubeObject, { namespace: "evil" });
      }
    },
  });
  await measured("planted Observations", target.controller, async () => {
    const status = async () => (await (await fetch(`${target.controller.url}/tools/status`)).json()).storage;
    await eventually("the index to be listed", async () => (await status()).indexComplete === true);
    const { observations, notOurs } = await status();
    assertEquals([observations, notOurs], [0, count]);
    assertEquals((await send(target.controller, "team-a", 1)).status, 200);
  });
});
