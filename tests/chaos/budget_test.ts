/** A flood from one source: what is stored stays within the budget, and others keep what is theirs. */
import { assert, assertEquals } from "@std/assert";
import { alert, alertedPods } from "../support/alerts.ts";
import { closedBooks, statusOf } from "../support/books.ts";
import { startDevWorld, STORED_TYPE } from "../support/dev_world.ts";
import { eventually } from "../support/eventually.ts";
import { changeReports, findingsOf, wantedFindings } from "../support/reports.ts";
import { inForm, printLine } from "./form.ts";
import { isObject } from "../../src/model/json.ts";

const BUDGET = inForm({ short: 1_500, long: 15_000 });
const BURST = 200;
const FLOOD = 2 * BUDGET;
const BATCH = 50;
const REPORTS = inForm({ short: 60, long: 600 });
const FOUND = 5;

Deno.test("a flood of forged CRITICALs stays within the budget and pushes out no finding of another source", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  const env = {
    OBSERVATION_MAX_TOTAL: String(BUDGET),
    DEDUP_RATE_BURST: String(BURST),
    DEDUP_MAX_RATE_PER_SOURCE: "1000",
    WEBHOOK_RATE_LIMIT: "100000",
    RESYNC_INTERVAL: "5s",
  };
  await using a = await world.replica("a", { env });
  await using b = await world.replica("b", { env });
  await changeReports(world.api, { namespace: "shop", reports: [0, REPORTS], found: [0, FOUND] });
  const wanted = wantedFindings(REPORTS, FOUND);
  await eventually("every finding to be stored", () => {
    const stored = world.server.count(STORED_TYPE);
    if (stored === wanted.length) return true;
    throw new Error(`${stored} of ${wanted.length} are`);
  }, { timeoutMs: 240_000 });

  let most = 0;
  let flooding = true;
  const watching = (async () => {
    while (flooding) {
      most = Math.max(most, world.server.count(STORED_TYPE));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  try {
    for (let turn = 0; turn * BATCH < FLOOD; turn++) {
      const body = Array.from({ length: BATCH }, (_, index) => ({
        ...alert("shop", turn * BATCH + index),
        priority: "Critical",
      }));
      // An event that outranks what is stored waits for an eviction: its sender is answered 503 and comes back.
      await eventually("the batch to be taken", async () => {
        const { status } = await (turn % 2 === 0 ? a : b).post("/falco/webhook", body);
        assert([200, 503].includes(status), `${status}`);
        return status === 200;
      }, { timeoutMs: 60_000 });
      if (turn % 20 === 0) {
        assertEquals(findingsOf(world.observations()).length, wanted.length, "a finding was pushed out");
      }
    }
    await eventually("the budget to be kept", () => world.server.count(STORED_TYPE) <= BUDGET, {
      timeoutMs: 120_000,
    });
  } finally {
    flooding = false;
    await watching;
  }
  const forged = alertedPods(world.observations()).length;
  printLine(
    `${FLOOD} forged CRITICALs: ${forged} stored, at most ${most} Observations at a budget of ${BUDGET}`,
  );
  assert(most <= BUDGET + 2 * BURST, `${most} were stored`);
  assertEquals(findingsOf(world.observations()), wanted);
  for (const { url } of [a, b]) await closedBooks(url);
  const { storage } = await statusOf(a.url);
  assert(isObject(storage) && isObject(storage.budget));
  assertEquals(storage.budget.state, "full", "and it is said");
  const said = world.server.objects("events").filter(({ reason }) => String(reason).includes("Budget"));
  assert(said.length > 0, "an Event reports it");
});
