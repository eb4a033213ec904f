/** The leader's part of the store on a fake API server and virtual time. */
import { type Budget, type BudgetOptions, createBudget } from "../../src/store/budget.ts";
import { createExpiry, type Expiry } from "../../src/store/expiry.ts";
import { createFindings, type Findings, type FindingState } from "../../src/store/findings.ts";
import { storedScope } from "../../src/store/observations.ts";
import type { ViewKey } from "../../src/model/view.ts";
import type { Row } from "../../src/store/index/mod.ts";
import type { FakeKube } from "./fake_kube.ts";
import { Replica, type ReplicaOptions } from "./replica.ts";
import type { VirtualTime } from "./virtual_time.ts";

const LOG = { debug() {}, info() {}, warn() {}, error() {}, fatal() {} };
/** Sources of these tests without views. */
const SOURCES = new Set(["trivy", "kyverno", "falco", "a", "b", "c"]);
const PUSHED = ["falco", "alertmanager"];

export interface LeaderOptions {
  readonly kube: FakeKube;
  readonly time: VirtualTime;
  readonly graceSeconds?: number;
  readonly stateOf?: (row: Row) => FindingState;
  readonly budget?: Partial<BudgetOptions>;
  readonly replica?: Partial<ReplicaOptions>;
  readonly perSecond?: number;
  readonly timeoutMs?: number;
  /** Event types of reports that expire. */
  readonly expiringTypes?: readonly string[];
  readonly eventTypesOf?: (view: ViewKey) => readonly string[] | undefined;
}

/** A replica that leads. */
export class Leader extends Replica {
  readonly findings: Findings;
  readonly budget: Budget;
  readonly expiry: Expiry;
  leads = true;
  clocksAgree = true;

  constructor(options: LeaderOptions) {
    const { kube, time, graceSeconds = 600, eventTypesOf } = options;
    super(kube, { time, ...options.replica });
    const assertLeader = () => {
      if (!this.leads) throw new Error("not the leader any more");
    };
    const common = {
      index: this.index,
      clock: time,
      log: LOG,
      metrics: this.metrics,
      sleep: time.sleep,
      assertLeader,
      clocksAgree: () => this.clocksAgree,
    };
    this.findings = createFindings({
      ...common,
      repeats: this.store.repeats,
      graceSeconds,
      expiredGraceSeconds: 86_400,
      expires: ({ eventType }) => options.expiringTypes?.includes(eventType) ?? false,
      scopeOf: (row) => storedScope(kube, row),
      viewSourceOf: (source) => PUSHED.includes(source) ? undefined : source,
      resolvesPerSecond: 1_000,
      ...(eventTypesOf && { eventTypesOf }),
    });
    this.budget = createBudget({
      ...common,
      maxCount: 100,
      maxBytes: 2 ** 30,
      burst: 10,
      sources: SOURCES,
      ...options.budget,
    });
    this.expiry = createExpiry({
      ...common,
      api: kube,
      budget: this.budget,
      ownNamespace: "zen-system",
      sourceLabel: (source) => source,
      perSecond: options.perSecond ?? 1_000,
      stateOf: options.stateOf ?? this.findings.state,
      ttlSeconds: 604_800,
      resolvedTtlSeconds: 2_592_000,
      intervalMs: 3_600_000,
      timeoutMs: options.timeoutMs ?? 300_000,
    });
  }
}
