/** An upgrade from an older CRD of ours with Observations under it, and the way back. */
import { assert, assertEquals } from "@std/assert";
import { isObject, type JsonObject } from "../../src/model/json.ts";
import { alert } from "../support/alerts.ts";
import { startTestApp, type TestApp } from "../support/app.ts";
import { closedBooks, statusOf } from "../support/books.ts";
import { valueIn } from "../support/chart.ts";
import { startEnvtest } from "../support/envtest.ts";
import { eventually } from "../support/eventually.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { changeReports, findingsOf, wantedFindings } from "../support/reports.ts";
import { CRDS } from "../support/crds.ts";
import { ownAccount } from "../support/rights.ts";
import { connectionTo, transportTo } from "./watching.ts";

const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const OLDER = new URL("../fixtures/crds-older/observation.yaml", import.meta.url);
const TODAY = new URL("../../crds/observation.yaml", import.meta.url);
const ALERTS = 3;
/** Reports, and vulnerabilities in each. */
const [REPORTS, FOUND] = [2, 3];

Deno.test("an upgrade from an older CRD and the rollback keep every Observation and dedupe into them", async (t) => {
  await using cluster = await startEnvtest();
  await cluster.applyCrds([
    OLDER,
    ...CRDS.filter(({ href }) => href !== TODAY.href),
  ]);
  await ensureNamespaces(cluster, ["shop"]);
  const connection = connectionTo(cluster, await ownAccount(cluster));
  const alerts = Array.from({ length: ALERTS }, (_, index) => alert("shop", index));
  const stored = () => listAll(cluster, OBSERVATIONS);

  await t.step("Observations are stored in the older form", async () => {
    {
      await using app = await startTestApp({ server: connection });
      await post(app, alerts);
      using api = transportTo(cluster);
      await changeReports(api, { namespace: "shop", reports: [0, REPORTS], found: [0, FOUND] });
      await eventually("every Observation", async () => (await stored()).length === ALERTS + REPORTS * FOUND);
    }
    // What that version said of itself, and what somebody wrote by hand.
    const [first] = await stored();
    await cluster.expect("PATCH", `${pathOf(first)}/status`, {
      body: { status: { processed: true, lastProcessedAt: "2026-01-02T03:04:05Z" } },
      contentType: "application/merge-patch+json",
    });
    await cluster.expect("POST", "/apis/zen.kube-zen.io/v1/namespaces/shop/observations", { body: BY_HAND });
    for (const { spec, status } of await stored()) {
      assert(isObject(spec) && !("ttlSecondsAfterCreation" in spec));
      assertEquals(
        Object.keys(isObject(status) ? status : {}).filter((key) => !OLD_STATUS.includes(key)),
        [],
      );
    }
  });

  const before = await stored();
  await t.step("today's CRD rewrites none, its defaults are there to be read", async () => {
    assertEquals(await cluster.applyCrds([TODAY]), []);
    const after = await eventually("the defaults", async () => {
      const all = await stored();
      return all.every(({ status }) => valueIn(status, "phase") === "Active") && all;
    });
    assertEquals(after.map(withoutStatus), before.map(withoutStatus));
    after.forEach(({ status }, index) => {
      const kept = before[index]?.status;
      assertEquals(status, { phase: "Active", occurrences: 1, processed: true, ...(isObject(kept) && kept) });
    });
    // Kubernetes selects by them from 1.31 on.
    if (await cluster.minorVersion() < 31) return;
    await eventually("the selectable fields", async () => {
      const { status, body } = await cluster.ask("GET", `${OBSERVATIONS}?fieldSelector=spec.source=falco`);
      return status === 200 && Array.isArray(body.items) && body.items.length === ALERTS;
    });
  });

  await t.step(
    "the program goes on with them: the same again makes no second, what is unchanged is not written",
    async () => {
      {
        // Stopping it writes the counts.
        await using app = await startTestApp({
          server: connection,
          env: { DEDUP_WINDOW_SECONDS: "4000000" },
        });
        await post(app, alerts);
        await eventually("the reports to be read", async () => {
          return await app.metric("events_total", { source: "trivy" }) >= REPORTS * FOUND;
        });
        const { trivy, falco } = await closedBooks(app.url);
        assertEquals([falco?.created, falco?.deduped], [0, ALERTS]);
        assertEquals([trivy?.created, trivy?.deduped], [0, REPORTS * FOUND]);
        const { storage } = await statusOf(app.url);
        assertEquals([valueIn(storage, "observations"), valueIn(storage, "notOurs")], [before.length - 1, 1]);
      }
      const after = await stored();
      assertEquals(findingsOf(after), wantedFindings(REPORTS, FOUND));
      assertEquals(after.map(content), before.map(content));
      assertEquals(after.filter(isAlert).map(occurrences), Array(ALERTS).fill(2));
      assertEquals(
        after.filter((each) => !isAlert(each)).map(withoutStatus),
        before.filter((each) => !isAlert(each)).map(withoutStatus),
      );
    },
  );

  await t.step(
    "the way back deletes nothing; only what is written meanwhile loses what the older one does not know",
    async () => {
      const ahead = await stored();
      await cluster.applyCrds([OLDER]);
      const back = await eventually("the older form", async () => {
        const all = await stored();
        return all.every(({ status }) => valueIn(status, "phase") === undefined) && all;
      });
      assertEquals(back.map(withoutStatus), ahead.map(withoutStatus));
      const [written, ...others] = back.filter(isAlert);
      await cluster.expect("PATCH", pathOf(written), {
        body: { metadata: { labels: { team: "payments" } } },
        contentType: "application/merge-patch+json",
      });
      await cluster.applyCrds([TODAY]);
      const again = await eventually("the defaults", async () => {
        const all = (await stored()).filter(isAlert);
        return all.every(({ status }) => valueIn(status, "phase") === "Active") && all;
      });
      assertEquals(again.map(occurrences), [1, ...others.map(() => 2)]);
    },
  );

  await t.step(
    "what has outlived its time is collected, what is reported and what is not ours stays",
    async () => {
      await using _app = await startTestApp({
        server: connection,
        // They say no time to live of their own.
        env: { OBSERVATION_TTL_SECONDS: "1", GC_INTERVAL: "200ms" },
      });
      await eventually("the alerts to be gone", async () => !(await stored()).some(isAlert));
      assertEquals((await stored()).map(content), before.filter((each) => !isAlert(each)).map(content));
    },
  );
});

const OLD_STATUS = ["processed", "lastProcessedAt"];
const BY_HAND: JsonObject = {
  apiVersion: "zen.kube-zen.io/v1",
  kind: "Observation",
  metadata: { name: "by-hand" },
  spec: { source: "manual", category: "security", severity: "HIGH", eventType: "note", message: "seen" },
};

async function post(app: TestApp, alerts: readonly JsonObject[]): Promise<void> {
  for (const body of alerts) assertEquals((await app.post("/falco/webhook", body)).status, 200);
}

function pathOf(observation: JsonObject | undefined): string {
  return `/apis/zen.kube-zen.io/v1/namespaces/${valueIn(observation, "metadata", "namespace")}/observations/${
    valueIn(observation, "metadata", "name")
  }`;
}

/** All of it, resourceVersion too. */
function withoutStatus({ status: _, ...rest }: JsonObject): JsonObject {
  return rest;
}

/** What says that it is the same object, and what it says. */
function content({ metadata, spec }: JsonObject): JsonObject {
  return { name: valueIn(metadata, "name") ?? "", uid: valueIn(metadata, "uid") ?? "", spec: spec ?? {} };
}

function isAlert({ spec }: JsonObject): boolean {
  return valueIn(spec, "source") === "falco";
}

function occurrences({ status }: JsonObject): unknown {
  return valueIn(status, "occurrences");
}
