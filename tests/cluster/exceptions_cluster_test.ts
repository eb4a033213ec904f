/** The stories of ObservationExceptions on a real API server, with two replicas; its policy, and how fast phases follow. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { installCrds } from "../../scripts/support/feed.ts";
import { OBSERVATION_EXCEPTIONS } from "../../src/exceptions/kind.ts";
import { hasStatus, type KubeObject } from "../../src/kube/api.ts";
import { exceptionObject } from "../../src/read/accept.ts";
import { OBSERVATIONS, type StoredObservation } from "../../src/store/mod.ts";
import { startTestApp } from "../support/app.ts";
import { sharedEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { EXCEPTION_STORIES, type ExceptionApps, type ExceptionWorld } from "../support/exception_stories.ts";
import { changeReports } from "../support/reports.ts";
import { ownAccount } from "../support/rights.ts";
import { connectionTo, report, transportTo } from "./watching.ts";

const cluster = await sharedEnvtest();
{
  using api = transportTo(cluster);
  await installCrds(api);
}
const { token } = await ownAccount(cluster);

/** Two replicas with the program's own rights. */
async function startTwo(...[env = {}, clock]: Parameters<ExceptionWorld["start"]>): Promise<ExceptionApps> {
  const apps = await Promise.all(["one", "two"].map((name) =>
    startTestApp({
      server: connectionTo(cluster, { token }),
      env: { POD_NAME: name, ...env },
      ...(clock && { clock }),
    })
  ));
  return {
    apps,
    [Symbol.asyncDispose]: async () => {
      for (const app of apps) await app[Symbol.asyncDispose]();
    },
  };
}

for (const { name, play } of EXCEPTION_STORIES) {
  Deno.test(name, async () => {
    using api = transportTo(cluster);
    await play({ api, namespace: await cluster.createNamespace("exceptions"), start: startTwo });
  });
}

Deno.test("1,000 findings of one exception are Accepted, and Active again, within the status lane's rate", async () => {
  using api = transportTo(cluster);
  const namespace = await cluster.createNamespace("thousand");
  await using _running = await startTwo();
  // 50 workloads with 20 vulnerabilities each.
  await changeReports(api, { namespace, reports: [0, 50], found: [0, 20], writers: 8 });
  const inPhase = async (phase: string) => {
    const { items } = await api.list<StoredObservation>(OBSERVATIONS, { namespace, limit: 2_000 });
    const found = items.filter(({ status }) => (status?.phase ?? "Active") === phase).length;
    if (found !== 1_000) throw new Error(`${found} of ${items.length} are ${phase}`);
    return true;
  };
  const patience = { timeoutMs: 240_000 };
  await eventually("1,000 findings", () => inPhase("Active"), patience);
  const rules = Array.from({ length: 20 }, (_, number) => `CVE-2026-${1_000 + number}`);
  const exception = exceptionObject({
    ...{ namespace, name: "all", match: { rules }, reason: "accepted_risk", justification: "x" },
    expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
  });
  const followed = async (phase: string, change: () => Promise<unknown>) => {
    const startedAt = performance.now();
    await change();
    await eventually(`1,000 to be ${phase}`, () => inPhase(phase), patience);
    return Math.round(performance.now() - startedAt);
  };
  const acceptedMs = await followed(
    "Accepted",
    () => api.create(OBSERVATION_EXCEPTIONS, exception, { namespace }),
  );
  const activeMs = await followed("Active", () => api.delete(OBSERVATION_EXCEPTIONS, "all", { namespace }));
  report("1,000 findings follow an exception", { acceptedMs, activeMs });
});

Deno.test("the CRD refuses invalid values of known keys, and keeps unknown keys", async () => {
  using api = transportTo(cluster);
  const namespace = await cluster.createNamespace("schema");
  const good = exceptionObject({
    ...{ namespace, name: "good", match: { rules: ["CVE-1"] }, reason: "mitigated", justification: "x" },
    expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
  });
  const changed = (change: object): KubeObject => ({ ...good, spec: { ...Object(good.spec), ...change } });
  const refused: readonly (readonly [change: object, said: RegExp])[] = [
    [{ match: {} }, /expected rules, resources, or both/],
    [{ match: { sources: ["trivy"] } }, /expected rules, resources, or both/],
    [{ reason: "because" }, /spec\.reason: Unsupported value/],
    [{ justification: undefined }, /spec\.justification: Required value/],
    [{ expiresAt: undefined }, /spec\.expiresAt: Required value/],
    [{ expiresAt: "soon" }, /spec\.expiresAt/],
    [{ match: { rules: ["x"], severities: ["high"] } }, /severities/],
  ];
  for (const [change, said] of refused) {
    const error = await api.create(OBSERVATION_EXCEPTIONS, changed(change), { namespace }).catch((error) =>
      error
    );
    assertEquals(hasStatus(error, 422), true, JSON.stringify(change));
    assertMatch(String(error.message), said);
  }
  const kept = await api.create(
    OBSERVATION_EXCEPTIONS,
    changed({ match: { rules: ["CVE-1"], severitys: ["LOW"] }, expire: "x" }),
    { namespace },
  );
  assertStringIncludes(JSON.stringify(kept.spec), '"severitys":["LOW"]');
  assertStringIncludes(JSON.stringify(kept.spec), '"expire":"x"');
});
