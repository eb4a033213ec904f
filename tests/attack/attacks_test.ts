/**
 * Every attack in turn on the bundle with the chart's rights and settings, on a real API server, beside the undisturbed load of
 * other sources. Prints one table. `ZEN_ATTACK=long` makes each attack about ten times as large.
 */
import { assert, assertEquals } from "@std/assert";
import { textTable } from "../../scripts/support/table.ts";
import { type Attack, ATTACKS } from "./attacks.ts";
import { keptOf } from "./others.ts";
import { type AttackGround, forgetPeak, startGround, usageOf } from "./real_ground.ts";
import { errorMessage } from "../../src/model/error_message.ts";
import { printLine } from "../chaos/form.ts";
import { closedBooks } from "../support/books.ts";
import { ensureNamespaces } from "../support/objects.ts";

const MAX_MIB = 300;
/** What is left of the rate of everybody else's accepted alerts, at the least. */
const LEAST_RATIO = 0.8;
/** Alerts of the others before and after each attack, in their own measure: those that wait at its end are accepted by then. */
const ALERTS_BEFORE = 20, ALERTS_AFTER = 60;
const UNDISTURBED: Attack = {
  name: "none",
  async strike({ others }) {
    await others.accept(100);
    return "";
  },
};
const HEAD = [
  "attack",
  "s",
  "CPU s",
  "peak MiB",
  "health ms",
  "failed",
  "lease lost",
  "others/s",
  "ratio",
  "slowest ms",
  "sent again",
  "stored",
  "lost",
  "doubled",
  "what came of it",
];

interface Outcome {
  readonly name: string;
  readonly peakMib: number;
  readonly probes: number;
  readonly failedProbes: readonly string[];
  readonly isLeaseLost: boolean;
  readonly perSecond: number;
  readonly lost: number;
  readonly doubled: number;
  readonly cells: (undisturbedPerSecond: number) => readonly string[];
}

async function outcomeOf(ground: AttackGround, attack: Attack, number: number): Promise<Outcome> {
  const { cluster, controller } = ground;
  const namespace = `others-${number}`, evil = `evil-${number}`;
  await ensureNamespaces(cluster, [evil, namespace]);
  await attack.prepare?.({ ...ground, evil });
  await forgetPeak(controller);
  const before = await usageOf(controller);
  const lease = await ground.lease();
  const startedAt = performance.now();
  // A report that is changed after etcd was restored from a copy without it cannot be changed.
  using others = await ground.startOthers(namespace, {
    alertsPerSecond: 20,
    changesPerSecond: attack.restoresEtcd ? 0 : 2,
  });
  await others.accept(ALERTS_BEFORE);
  const came = await attack.strike({ ...ground, others, evil });
  const since = attack.restoresEtcd ? Date.now() : 0;
  await others.accept(ALERTS_AFTER);
  const met = await others.end();
  const seconds = (performance.now() - startedAt) / 1_000;
  const after = await usageOf(controller);
  const kept = await keptOf(cluster, { met, namespace, since });
  const isLeaseLost = await ground.lease() !== lease;
  await attack.cleanUp?.({ ...ground, evil });
  await closedBooks(controller.url);
  return {
    name: attack.name,
    peakMib: after.peakMib,
    probes: met.probes,
    failedProbes: met.failedProbes,
    isLeaseLost: isLeaseLost && !attack.restoresEtcd,
    perSecond: met.alertsPerSecond,
    lost: kept.lost,
    doubled: kept.doubled,
    cells: (undisturbedPerSecond) => [
      attack.name,
      seconds.toFixed(0),
      (after.cpuS - before.cpuS).toFixed(1),
      after.peakMib.toFixed(0),
      met.slowestProbeMs.toFixed(0),
      `${met.failedProbes.length} of ${met.probes}`,
      isLeaseLost ? "yes" : "no",
      met.alertsPerSecond.toFixed(1),
      (met.alertsPerSecond / undisturbedPerSecond).toFixed(2),
      met.slowestMs.toFixed(0),
      String(met.refused + met.unanswered),
      String(kept.wanted),
      String(kept.lost),
      String(kept.doubled),
      came,
    ],
  };
}

Deno.test(
  "under every attack memory is bounded, probes are answered, the lease is kept, and others keep their rate and lose and double nothing",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    await using ground = await startGround();
    const only = Deno.env.get("ZEN_ATTACK_ONLY");
    const attacks = ATTACKS.filter(({ name }) => only === undefined || name.includes(only));
    const outcomes: Outcome[] = [];
    const unfinished: string[] = [];
    for (const [number, attack] of [UNDISTURBED, ...attacks].entries()) {
      try {
        outcomes.push(await outcomeOf(ground, attack, number));
      } catch (error) {
        unfinished.push(`${attack.name}: ${errorMessage(error)}`);
      }
    }
    const undisturbed = outcomes[0]?.perSecond ?? NaN;
    printLine(textTable(HEAD, outcomes.map(({ cells }) => cells(undisturbed))));
    assertEquals(unfinished, []);
    assert(outcomes.every(({ probes }) => probes > 0));
    const failures = outcomes.flatMap((outcome) => {
      const { name, peakMib, failedProbes, isLeaseLost, perSecond, lost, doubled } = outcome;
      const ratio = perSecond / undisturbed;
      const isHarmless = peakMib < MAX_MIB && failedProbes.length === 0 && !isLeaseLost &&
        ratio >= LEAST_RATIO && lost === 0 && doubled === 0;
      return isHarmless ? [] : [{ name, peakMib, failedProbes, isLeaseLost, ratio, lost, doubled }];
    });
    assertEquals(failures, []);
  },
);
