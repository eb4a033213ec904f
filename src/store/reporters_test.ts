import { assertEquals } from "@std/assert";
import { fingerprintKey } from "./index/projection.ts";
import { Reporters } from "./reporters.ts";

const VIEW = { source: "trivy", resource: "vulnerabilityreports.aquasecurity.github.io" };
/** More reports than are kept once they are deleted. */
const MANY = 20_001;

function fingerprintOf(id: number): string {
  return id.toString(16).padStart(8, "0").padEnd(16, "0");
}

function finding(id: number) {
  const fingerprint = fingerprintOf(id);
  return { source: VIEW.source, eventType: "vulnerability", belongsTo: "shop", fingerprint };
}

/** Creates and deletes a report, of a workload of its own. */
function churn(reporters: Reporters, id: number): void {
  const key = `shop/report-${id}`;
  const scope = { workload: `shop/deployment/web-${id}`, part: "web" };
  reporters.report(VIEW, { key, fingerprints: [fingerprintOf(id)], readable: true, scope });
  reporters.gone(VIEW, key);
}

Deno.test("Reporters forget the oldest of very many deleted reports and ended workloads", () => {
  const reporters = new Reporters({ seconds: () => 0, now: () => 0 });
  reporters.begin(VIEW);
  reporters.complete(VIEW);
  for (let id = 0; id < MANY; id++) churn(reporters, id);
  const mayHaveExpired = (id: number) =>
    reporters.mayHaveExpired(VIEW.source, {
      eventType: "vulnerability",
      scope: { workload: `shop/deployment/web-${id}`, part: "web" },
    });
  assertEquals([mayHaveExpired(0), mayHaveExpired(1), mayHaveExpired(MANY - 1)], [true, false, false]);
  // The reports that are kept count as reports of a resource that is uninstalled just after them.
  reporters.lost(VIEW, "absent");
  const kinds = [0, 1, MANY - 1].map((id) => reporters.reporting(finding(id)).kind);
  assertEquals(kinds, ["ended", "absent", "absent"]);
});

Deno.test("Reporters keep who reports a filtered finding, and the end of any, while it is stored", () => {
  const stored = new Set([fingerprintKey(fingerprintOf(1)), fingerprintKey(fingerprintOf(2))]);
  const reporters = new Reporters({ seconds: () => 0, now: () => 0, isStored: (key) => stored.has(key) });
  reporters.begin(VIEW);
  reporters.complete(VIEW);
  for (let id = 0; id < 3; id++) churn(reporters, id);
  const kinds = () => [0, 1, 2].map((id) => reporters.reporting(finding(id)).kind);
  assertEquals(kinds(), ["unseen", "ended", "ended"]);
  const report = {
    key: "shop/web",
    fingerprints: [] as string[],
    filteredFingerprints: [0, 1].map(fingerprintOf),
    readable: true,
  };
  reporters.report(VIEW, report);
  assertEquals(kinds(), ["unseen", "reported", "ended"]);
  // Not filtered, it may be stored though no answer or watch event said so yet.
  reporters.report(VIEW, { ...report, fingerprints: [fingerprintOf(0)] });
  assertEquals(kinds(), ["reported", "reported", "ended"]);
  reporters.report(VIEW, report);
  stored.add(fingerprintKey(fingerprintOf(0)));
  reporters.report(VIEW, report);
  assertEquals(kinds(), ["reported", "reported", "ended"]);
  reporters.gone(VIEW, report.key);
  assertEquals(kinds(), ["ended", "ended", "ended"]);
  stored.delete(fingerprintKey(fingerprintOf(2)));
  reporters.forgetBefore({ ended: 0, expired: 0 });
  assertEquals(kinds(), ["ended", "ended", "unseen"]);
});
