/** Three replicas; the leader is killed or stopped again and again, while four kinds of sources send events. */
import { assertEquals } from "@std/assert";
import { Fleet } from "./fleet.ts";
import { inForm, printLine } from "./form.ts";
import { RealGround } from "./ground.ts";
import { ChaosLoad } from "./load.ts";

const KILLS = inForm({ short: 3, long: 10 });
const STOPS = inForm({ short: 2, long: 5 });

Deno.test("three replicas, the leader killed again and again: nothing lost, nothing doubled", async () => {
  await using ground = await RealGround.start();
  await using fleet = new Fleet(ground);
  for (const place of [0, 1, 2]) await fleet.start(place);
  const takeovers: Record<"SIGKILL" | "SIGTERM", number[]> = { SIGKILL: [], SIGTERM: [] };
  const signals = [
    ...Array.from({ length: KILLS }, () => "SIGKILL" as const),
    ...Array.from({ length: STOPS }, () => "SIGTERM" as const),
  ];
  for (const [round, signal] of signals.entries()) {
    const namespace = await ground.namespace("failover");
    const size = { alerts: 60, auditBatches: 12, reports: 12, nodes: 3 };
    const load = new ChaosLoad({ api: ground.api, urls: () => fleet.urls, namespace, ...size });
    const leader = await fleet.untilLed();
    const running = load.run();
    await Promise.race([load.reached(1 / 4), running]);
    const killedAt = performance.now();
    // A process that gets SIGTERM releases the lease long before it has ended.
    const [takeoverMs] = await Promise.all([
      fleet.untilLedByAnother(leader, killedAt),
      fleet.end(leader, signal),
    ]);
    takeovers[signal].push(takeoverMs);
    await running;
    for (const { kind, accepted, lost, doubled } of await load.results()) {
      assertEquals([lost, doubled], [0, 0], `round ${round}, ${signal}: ${kind}, ${accepted} accepted`);
    }
    await fleet.start(leader.place);
    await fleet.closed();
  }
  printLine(`leader killed ${KILLS} times with -9 and ${STOPS} times with SIGTERM: 0 lost, 0 doubled`);
  for (const [signal, all] of Object.entries(takeovers)) {
    const seconds = all.map((ms) => (ms / 1_000).toFixed(1));
    printLine(`takeover after ${signal}: ${seconds.join(", ")} s`);
  }
});
