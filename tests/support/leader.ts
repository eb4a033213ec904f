/** A replica that leads: the program's own upkeep of the store, on a fake API server and virtual time. */
import { createUpkeep, type UpkeepOptions } from "../../src/app/leader.ts";
import type { ViewKey } from "../../src/model/view.ts";
import type { Budget, BudgetState } from "../../src/store/budget.ts";
import type { Expiry } from "../../src/store/expiry.ts";
import type { Findings } from "../../src/store/findings.ts";
import type { FakeKube } from "./fake_kube.ts";
import { Replica, type ReplicaOptions } from "./replica.ts";
import type { VirtualTime } from "./virtual_time.ts";

/** Sources that configuration knows. */
const SOURCES = new Set(["trivy", "kyverno", "falco", "a", "b", "c"]);
/** Sources without views. */
const PUSHED = ["falco", "alertmanager"];

export interface LeadingReplicaOptions {
  readonly kube: FakeKube;
  readonly time: VirtualTime;
  readonly stateOf?: NonNullable<UpkeepOptions["injected"]>["stateOf"];
  /** The storage budget; by default 100 Observations. */
  readonly budget?: {
    readonly maxCount?: number;
    readonly maxBytes?: number;
    readonly onChange?: (state: BudgetState) => void;
  };
  readonly replica?: Partial<ReplicaOptions>;
  readonly perSecond?: number;
  readonly timeoutSeconds?: number;
  /** Event types of reports that expire. */
  readonly expiringTypes?: readonly string[];
  readonly eventTypesOf?: (view: ViewKey) => readonly string[] | undefined;
}

/** A replica that leads. */
export class LeadingReplica extends Replica {
  readonly findings: Findings;
  readonly budget: Budget;
  readonly expiry: Expiry;
  leads = true;
  clocksAgree = true;

  constructor(
    { kube, time, budget: { maxCount = 100, maxBytes, onChange } = {}, ...options }: LeadingReplicaOptions,
  ) {
    super(kube, {
      time,
      sources: SOURCES,
      ...(onChange && { onBudget: onChange }),
      env: {
        POD_NAMESPACE: "zen-system",
        OBSERVATION_MAX_TOTAL: String(maxCount),
        OBSERVATION_MAX_BYTES: String(maxBytes ?? 2 ** 30),
        DEDUP_RATE_BURST: "10",
        GC_TIMEOUT: `${options.timeoutSeconds ?? 300}s`,
      },
      ...options.replica,
    });
    this.budget = this.pipeline.budget;
    const { stateOf, eventTypesOf } = options;
    const upkeep = createUpkeep({
      api: kube,
      settings: this.settings,
      clock: time,
      metrics: this.metrics,
      sourceLabel: (source) => source,
      pipeline: this.pipeline,
      sources: {
        expires: ({ eventType }) => options.expiringTypes?.includes(eventType) ?? false,
        viewSourceOf: (source) => PUSHED.includes(source) ? undefined : source,
        eventTypesOf: (view) => eventTypesOf?.(view),
      },
      assertLeader: () => {
        if (!this.leads) throw new Error("not the leader any more");
      },
      clocksAgree: () => this.clocksAgree,
      injected: {
        sleep: time.sleep,
        perSecond: options.perSecond ?? 1_000,
        resolvesPerSecond: 1_000,
        ...(stateOf && { stateOf }),
      },
    });
    this.findings = upkeep.findings;
    this.expiry = upkeep.expiry;
  }
}
