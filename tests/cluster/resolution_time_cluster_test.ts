/** The mean time to resolution that the recording rule computes, for findings whose times are known. */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { CHART } from "../support/chart.ts";
import { FakeKube } from "../support/fake_kube.ts";
import { promtool } from "../support/prometheus.ts";
import { Replica, type TakeOptions } from "../support/replica.ts";
import { VirtualTime } from "../support/virtual_time.ts";

const HOUR_MS = 3_600_000;
const STEP_HOURS = 6;
const STEPS = 30 * 24 / STEP_HOURS;
const SEVERITIES = ["CRITICAL", "HIGH"] as const;
const PUSHED: TakeOptions = { kind: "finding", source: { name: "alertmanager" } };

interface Known {
  readonly id: string;
  readonly severity: typeof SEVERITIES[number];
  readonly openedHour: number;
  readonly openHours: number;
}

/** CRITICAL ones are open for 12 to 108 hours, 60 in the mean; HIGH ones for 24 to 120, 72 in the mean. */
const FINDINGS = Array.from({ length: 100 }, (_, index): Known => ({
  id: `finding-${index}`,
  severity: index % 2 === 0 ? "CRITICAL" : "HIGH",
  openedHour: STEP_HOURS * (1 + index % 97),
  openHours: 12 * (1 + index % 10),
}));

Deno.test("the recorded mean time to resolution of 100 findings equals the mean of their known times", async () => {
  const time = new VirtualTime();
  const kube = new FakeKube(() => time.now());
  const replica = new Replica(kube, { time });
  const { findingResolution } = replica.metrics;
  const series = new Map<string, number[]>();
  for (const severity of SEVERITIES) findingResolution.zero({ source: "alertmanager", severity });
  for (let step = 0; step <= STEPS; step++) {
    const hour = step * STEP_HOURS;
    for (const finding of FINDINGS) {
      if (finding.openedHour === hour) await say(replica, finding, false);
      if (finding.openedHour + finding.openHours === hour) await say(replica, finding, true);
    }
    await time.advance(STEP_HOURS * HOUR_MS);
    for (const { metricName = "", labels, value } of (await findingResolution.get()).values) {
      if (!/_(sum|count)$/.test(metricName)) continue;
      const name =
        `${metricName}{job="zen-watcher-job", source="${labels.source}", severity="${labels.severity}"}`;
      series.set(name, [...series.get(name) ?? [], value]);
    }
  }
  await replica.kill();
  assertEquals(kube.stored.filter(({ status }) => status?.phase === "Resolved").length, FINDINGS.length);

  const record = "zen_watcher:finding_resolution_seconds:mean30d";
  const cases = {
    rule_files: ["rules.json"],
    tests: [{
      interval: `${STEP_HOURS}h`,
      input_series: [...series].map(([name, values]) => ({ series: name, values: values.join(" ") })),
      promql_expr_test: [{
        expr: `round(${record})`,
        eval_time: "30d",
        exp_samples: SEVERITIES.map((severity) => ({
          labels: `{job="zen-watcher-job", source="alertmanager", severity="${severity}"}`,
          value: meanHours(severity) * 3_600,
        })),
      }],
    }],
  };
  assertEquals(SEVERITIES.map(meanHours), [60, 72]);
  const folder = await Deno.makeTempDir({ prefix: "zen-mttr-" });
  try {
    await Deno.writeTextFile(`${folder}/rules.json`, JSON.stringify({ groups: await findingRules() }));
    await Deno.writeTextFile(`${folder}/cases.json`, JSON.stringify(cases));
    const said = await promtool(["test", "rules", `${folder}/cases.json`]);
    assert(said.includes("SUCCESS"), said);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** The group of rules about findings: the others are evaluated too often for a month. */
async function findingRules(): Promise<{ name: string }[]> {
  const { groups } = parse(await Deno.readTextFile(`${CHART}files/rules.yaml`));
  return groups.filter(({ name }: { name: string }) => name === "zen-watcher.findings");
}

/** The tool pushes a finding, or says that it is over. */
async function say(replica: Replica, { id, severity }: Known, resolved: boolean): Promise<void> {
  await replica.take([{ identity: { id }, message: id, severity, eventType: "alert", resolved }], PUSHED);
}

function meanHours(severity: string): number {
  const hours = FINDINGS.filter((each) => each.severity === severity).map(({ openHours }) => openHours);
  return hours.reduce((sum, each) => sum + each, 0) / hours.length;
}
