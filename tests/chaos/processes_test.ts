/** Real processes on a real kube-apiserver and etcd: what is killed, stopped, cut off and restarted under load. */
import { assert } from "@std/assert";
import { Fleet, type Member } from "./fleet.ts";
import { inForm, pause, printLine } from "./form.ts";
import { RealGround } from "./ground.ts";
import { type ChaosFault, judge, type RunRow, underFault } from "./run.ts";

/** A write that a process has sent can arrive when it no longer leads; no more than it may have under way. */
const WRITES_UNDER_WAY = 32;
const AWAY_MS = 20_000;

Deno.test("under every fault of processes, servers and connections: nothing acknowledged is lost, nothing is doubled", async () => {
  await using ground = await RealGround.start();
  await using fleet = new Fleet(ground);
  for (const place of [0, 1]) await fleet.start(place);
  const rows: RunRow[] = [];
  for (const fault of faultsOf(fleet, ground)) {
    const namespace = await ground.namespace("chaos");
    rows.push(...await underFault(fault, { fleet, namespace }));
  }
  judge("chaos on a real API server, two replicas", rows);
  assert(fleet.scraped > 0, "books were read before a kill");
});

function faultsOf(fleet: Fleet, ground: RealGround): ChaosFault[] {
  let struck: Member | undefined;
  const killed = (
    name: string,
    signal: "SIGKILL" | "SIGTERM",
    choose: () => Promise<Member>,
  ): ChaosFault => ({
    name,
    async strike() {
      struck = await choose();
      const at = performance.now();
      await fleet.end(struck, signal);
      return at;
    },
    restore: () => fleet.start(struck?.place ?? 0),
  });
  const all: (ChaosFault | undefined)[] = [
    { name: "none", strike: () => Promise.resolve(performance.now()) },
    killed("kill -9 of the follower", "SIGKILL", () => fleet.follower()),
    killed("kill -9 of the leader", "SIGKILL", () => fleet.untilLed()),
    killed("SIGTERM of the leader", "SIGTERM", () => fleet.untilLed()),
    {
      name: "leader paused for 20 s",
      async strike() {
        const leader = await fleet.untilLed();
        await pausedFor(leader, AWAY_MS, ground);
        return performance.now();
      },
    },
    {
      name: "API server away for 20 s",
      async strike() {
        await ground.envtest.killApiServer("SIGKILL");
        await pause(AWAY_MS);
        await ground.envtest.startApiServer();
        return performance.now();
      },
    },
    {
      name: "etcd killed, away for 5 s",
      async strike() {
        await ground.envtest.killEtcd("SIGKILL");
        await pause(5_000);
        await ground.envtest.startEtcd();
        return performance.now();
      },
    },
    {
      name: "connections reset, 10 times",
      async strike() {
        for (let time = 0; time < 10; time++) {
          for (const proxy of fleet.proxies) proxy.reset();
          await pause(500);
        }
        return performance.now();
      },
    },
    {
      name: "half-open for 20 s, then reset",
      async strike() {
        for (const proxy of fleet.proxies) proxy.freeze();
        await pause(AWAY_MS);
        for (const proxy of fleet.proxies) {
          proxy.reset();
          proxy.resume();
        }
        return performance.now();
      },
    },
    inForm<ChaosFault | undefined>({
      short: undefined,
      // Watches notice by their idle guard alone, after 150 s.
      long: {
        name: "connections silent for ever",
        strike() {
          for (const proxy of fleet.proxies) proxy.silence();
          return Promise.resolve(performance.now());
        },
      },
    }),
  ];
  return all.filter((fault) => fault !== undefined);
}

/** Pauses a leader until its lease is over, and counts what it writes as leader after it is resumed. */
async function pausedFor(leader: Member, ms: number, ground: RealGround): Promise<void> {
  const asLeader = async (since: number) =>
    (await ground.writes(since)).filter(({ place, name, subresource }) =>
      place === leader.place && subresource === "" && /^(trivy|kube-bench)-/.test(name)
    ).length;
  assert(await asLeader(0) > 0, "it did write as leader, and the log tells");
  leader.controller.kill("SIGSTOP");
  await pause(ms);
  const wokenAt = Date.now();
  leader.controller.kill("SIGCONT");
  await pause(3_000);
  const writes = await asLeader(wokenAt);
  printLine(`a paused leader that woke up made ${writes} writes of the leader's`);
  assert(writes <= WRITES_UNDER_WAY, `${writes} writes`);
}
