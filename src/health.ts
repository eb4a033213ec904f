import type { ProbeReport } from "./http/app.ts";
import type { Metrics } from "./telemetry/metrics.ts";

/** What must hold before requests are welcome (SPEC section 10). */
const READY_CHECKS = {
  api: "the API server has not been reached yet",
  crd: "the Observation CRD is not served, or Observations may not be listed",
  filters: "the filters have not been read yet",
  http: "the HTTP server is not up",
  running: "the program is shutting down",
} as const;

export type ReadyCheck = keyof typeof READY_CHECKS;

/** A beat this old means that the event loop, or the task it belongs to, is stuck. */
const STUCK_AFTER_MS = 60_000;

/** Readiness and liveness, kept by the parts they speak of. */
export class Health {
  readonly #holds: Record<ReadyCheck, boolean> = {
    api: false,
    crd: false,
    filters: false,
    http: false,
    running: true,
  };
  readonly #beats = new Map<string, number>();
  readonly #ended = new Set<string>();
  readonly #monotonicMs: () => number;
  readonly #metrics: Pick<Metrics, "healthStatus" | "readinessStatus">;

  constructor(monotonicMs: () => number, metrics: Pick<Metrics, "healthStatus" | "readinessStatus">) {
    this.#monotonicMs = monotonicMs;
    this.#metrics = metrics;
    this.refresh();
  }

  set(check: ReadyCheck, holds: boolean): void {
    this.#holds[check] = holds;
    this.refresh();
  }

  /** A core task is alive. */
  beat(task: string): void {
    this.#beats.set(task, this.#monotonicMs());
  }

  /** A core task ended that never should. */
  ended(task: string): void {
    this.#ended.add(task);
    this.refresh();
  }

  ready(): ProbeReport {
    const checks: Record<string, boolean> = { ...this.#holds };
    const reasons = Object.entries(READY_CHECKS).filter(([check]) => !checks[check]).map(([, reason]) =>
      reason
    );
    return { ok: reasons.length === 0, reasons, checks };
  }

  /** False only when the event loop or a core task is stuck: never for the API server, a source or the lease. */
  live(): ProbeReport {
    const now = this.#monotonicMs();
    const checks: Record<string, boolean> = {};
    const reasons: string[] = [];
    for (const [task, at] of this.#beats) {
      checks[task] = now - at < STUCK_AFTER_MS;
      if (!checks[task]) reasons.push(`${task} has been stuck for ${Math.round((now - at) / 1_000)} s`);
    }
    for (const task of this.#ended) {
      checks[task] = false;
      reasons.push(`${task} has ended`);
    }
    return { ok: reasons.length === 0, reasons, checks };
  }

  /** Brings the gauges up to date. */
  refresh(): void {
    this.#metrics.healthStatus.set(this.live().ok ? 1 : 0);
    this.#metrics.readinessStatus.set(this.ready().ok ? 1 : 0);
  }
}
