/** Exceptions as metrics tell of them. */
import { DAY_MS } from "../src/model/time.ts";
import { startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { changeReports } from "./support/reports.ts";

Deno.test("findings that an exception covers count as accepted; exceptions that end within 7 days count as expiring", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await changeReports(world.api, { namespace: "shop", reports: [0, 2], found: [0, 3] });
  await using app = await world.replica("zen-watcher-0");
  const shows = async (wanted: Readonly<Record<string, number>>) => {
    const text = await (await fetch(`${app.metricsUrl}/metrics`)).text();
    const wrong = Object.entries(wanted).filter(([name, value]) =>
      !text.includes(`\nzen_watcher_${name} ${value}\n`)
    );
    if (wrong.length === 0) return true;
    const names = wrong.map(([name]) => name.replace(/\{.*/, ""));
    throw new Error(text.split("\n").filter((line) => names.some((name) => line.includes(name))).join("\n"));
  };
  const trivy = (name: string, more = "") => `${name}{source="trivy",severity="HIGH"${more}}`;
  const open = trivy("active_findings", ',older_than_days="0"');
  await eventually("all to be open", () => shows({ [open]: 6, [trivy("findings_accepted")]: 0 }));

  const accept = (name: string, rule: string, days: number) =>
    world.create([{
      apiVersion: "zen.kube-zen.io/v1alpha1",
      kind: "ObservationException",
      metadata: { name, namespace: "shop" },
      spec: {
        match: { rules: [rule] },
        reason: "accepted_risk",
        justification: "patched next sprint",
        expiresAt: new Date(Date.now() + days * DAY_MS).toISOString(),
      },
    }]);
  const rules = [...new Set(world.observations().map(({ spec }) => (spec as { rule: string }).rule))];
  await accept("soon", rules[0] ?? "", 3);
  await accept("later", rules[1] ?? "", 30);
  await eventually("both to be in force", () =>
    shows({
      [open]: 2,
      [trivy("findings_accepted")]: 4,
      'exceptions{state="in_force"}': 2,
      'exceptions{state="expiring"}': 1,
      'exceptions{state="rejected"}': 0,
    }));
});
