import { assertEquals } from "@std/assert";
import { leaseReference } from "../sources/rbac.ts";
import { acceptanceText } from "../model/acceptance.ts";
import type { EventDraft } from "../kube/events.ts";
import { apiError, FakeKube } from "../../tests/support/fake_kube.ts";
import { storedObservation } from "../../tests/support/observation.ts";
import { Replica } from "../../tests/support/replica.ts";
import { VirtualTime } from "../../tests/support/virtual_time.ts";
import { logger } from "../telemetry/logging.ts";
import { type Acceptances, createAcceptances } from "./acceptances.ts";

const HELD = acceptanceText({ namespace: "shop", name: "held", expiresAt: Date.UTC(2026, 5, 1) });
const OTHER = acceptanceText({ namespace: "shop", name: "other", expiresAt: Date.UTC(2026, 6, 1) });

class Scene {
  readonly time = new VirtualTime();
  readonly kube = new FakeKube(() => this.time.now());
  readonly replica: Replica;
  readonly acceptances: Acceptances;
  readonly events: EventDraft[] = [];
  leads = true;
  #acceptance = HELD;

  /** A replica that knows so many findings of namespace `shop`, and exceptions that cover all of them. */
  constructor(findings: number) {
    for (let id = 0; id < findings; id++) this.kube.put(finding(id, "shop"));
    this.replica = new Replica(this.kube, { time: this.time, acceptanceOf: () => this.#acceptance });
    this.acceptances = createAcceptances({
      index: this.replica.index,
      repeats: this.replica.store.repeats,
      clock: this.time,
      log: logger("exceptions"),
      regarding: leaseReference(this.replica.settings),
      isKnown: () => true,
      whyEnded: () => "was deleted",
      emit: (event) => void this.events.push(event),
      isLeader: () => this.leads,
      sleep: this.time.sleep,
    });
  }

  /** From now on this exception covers all findings. */
  cover(acceptance: string): void {
    this.#acceptance = acceptance;
    this.replica.index.judgeAgain();
  }

  /** The exception that each finding's status names. */
  get stored(): (string | undefined)[] {
    return this.kube.stored.filter(({ spec }) => spec.source === "trivy").map(({ status }) =>
      status?.exception?.name
    );
  }
}

function finding(id: number, namespace: string) {
  return storedObservation({ id, namespace, source: "trivy", kind: "finding" });
}

async function withScene(findings: number, test: (scene: Scene) => Promise<void>): Promise<void> {
  const scene = new Scene(findings);
  try {
    await test(scene);
  } finally {
    await scene.replica.kill();
  }
}

Deno.test("a finding follows its exception within seconds while thousands of repeats wait to be written", () =>
  withScene(1, async ({ time, kube, replica, acceptances, ...scene }) => {
    const alerts = Array.from({ length: 2_000 }, (_, index) => ({ identity: { rule: `Alert ${index}` } }));
    await replica.take(alerts);
    await time.advance(10_000);
    await replica.take(alerts);
    await time.advance(5_000);
    assertEquals(replica.store.repeats.size > 1_000, true, "they wait");
    assertEquals(acceptances.evaluate(), 1);
    await time.advance(1_000);
    assertEquals(replica.store.repeats.size > 1_000, true, "they still wait");
    assertEquals(kube.stored.find(({ spec }) => spec.source === "trivy")?.status?.exception?.name, "held");
    assertEquals(scene.events, []);
  }));

Deno.test("1,000 findings follow their exception within ten seconds", () =>
  withScene(1_000, async (scene) => {
    assertEquals(scene.acceptances.evaluate(), 1_000);
    assertEquals(scene.acceptances.evaluate(), 0);
    await scene.time.advance(10_000);
    assertEquals([...new Set(scene.stored)], ["held"]);
  }));

Deno.test("a finding is judged again when its turn comes to be written", () =>
  withScene(1, async (scene) => {
    assertEquals(scene.acceptances.evaluate(), 1);
    scene.cover(OTHER);
    await scene.time.advance(1_000);
    assertEquals(scene.stored, ["other"]);
    assertEquals(scene.kube.count("patch/status"), 1);
  }));

Deno.test("what waits at the end of a leader's term is not written", () =>
  withScene(1, async (scene) => {
    assertEquals(scene.acceptances.evaluate(), 1);
    scene.leads = false;
    await scene.time.advance(1_000);
    assertEquals([scene.kube.count("patch/status"), scene.replica.store.repeats.size], [0, 0]);
    assertEquals(scene.acceptances.evaluate(), 0);
  }));

Deno.test("findings of a namespace with thousands that follow its exceptions do not delay those of another", () =>
  withScene(3_000, async (scene) => {
    scene.kube.put(finding(5_000, "pay"));
    const pay = () =>
      scene.kube.stored.find(({ metadata }) => metadata.namespace === "pay")?.status?.exception?.name;
    for (const [round, acceptance] of [HELD, OTHER, HELD].entries()) {
      scene.cover(acceptance);
      for (let second = 0; second < 6; second++) {
        scene.acceptances.evaluate();
        await scene.time.advance(1_000);
      }
      assertEquals(pay(), round === 1 ? "other" : "held", `round ${round}`);
    }
  }));

Deno.test("findings whose writes a namespace refuses do not hold up those of others", () =>
  withScene(1_200, async (scene) => {
    scene.kube.script = {
      before({ verb, namespace }) {
        if (verb === "patch" && namespace === "shop") throw apiError("patch", 403, "Forbidden");
      },
    };
    for (let round = 0; round < 10; round++) {
      scene.acceptances.evaluate();
      await scene.time.advance(1_000);
    }
    scene.kube.put(finding(5_000, "pay"));
    scene.acceptances.evaluate();
    await scene.time.advance(5_000);
    const pay = scene.kube.stored.find(({ metadata }) => metadata.namespace === "pay");
    assertEquals(pay?.status?.exception?.name, "held");
  }));
