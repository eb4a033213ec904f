import type { Observer } from "./lifecycle.ts";
import type { Beat } from "./model/beat.ts";
import type { Clock } from "./model/time.ts";
import type { ProbeReport } from "./http/app.ts";
import type { Metrics } from "./telemetry/metrics.ts";

/** What must hold before `/ready` answers 200, and what it says while it does not. */
const READY_CHECKS = {
  api: "the API server has not been reached yet",
  crd: "the Observation CRD is not served, or Observations may not be listed",
  filters: "the filters have not been read yet",
  http: "the HTTP server is not up",
  running: "the program is shutting down",
} as const;

export type ReadyCheck = keyof typeof READY_CHECKS;

/** The last sign of life of a loop. */
interface LastBeat {
  readonly task: string;
  readonly atMs: number;
  readonly withinMs: number;
}

/** A task, and each loop that it names, beats for the first time within this time. Until then the beat of its start is due. */
const FIRST_BEAT_MS = 60_000;

/** Readiness and liveness, kept by the parts they are about. */
export class Health implements Observer {
  readonly #holds: Record<ReadyCheck, boolean> = {
    api: false,
    crd: false,
    filters: false,
    http: false,
    running: true,
  };
  readonly #running = new Set<string>();
  /** By task, or by task and loop. */
  readonly #beats = new Map<string, LastBeat>();
  readonly #ended = new Set<string>();
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #metrics: Pick<Metrics, "healthStatus" | "readinessStatus">;

  constructor(clock: Pick<Clock, "monotonic">, metrics: Pick<Metrics, "healthStatus" | "readinessStatus">) {
    this.#clock = clock;
    this.#metrics = metrics;
    this.refresh();
  }

  set(check: ReadyCheck, holds: boolean): void {
    this.#holds[check] = holds;
    this.refresh();
  }

  /** The beat of a core task. A beat that is overdue means that the task, or the event loop, is stuck. */
  beatOf(task: string): Beat {
    this.#running.add(task);
    return this.#beatOf(task, task);
  }

  #beatOf(name: string, task: string): Beat {
    const start = `${name}: start`;
    const due = (loop: string, withinMs: number) =>
      void this.#beats.set(loop, { task, atMs: this.#clock.monotonic(), withinMs });
    due(start, FIRST_BEAT_MS);
    return {
      within: (withinMs) => {
        this.#beats.delete(start);
        due(name, withinMs);
      },
      idle: () => {
        this.#beats.delete(start);
        this.#beats.delete(name);
      },
      of: (loop) => {
        this.#beats.delete(start);
        return this.#beatOf(`${name}: ${loop}`, task);
      },
    };
  }

  /** A core task was stopped: none of its loops beats any more. */
  stopped(task: string): void {
    this.#running.delete(task);
    for (const [name, beat] of this.#beats) if (beat.task === task) this.#beats.delete(name);
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
    const now = this.#clock.monotonic();
    const checks: Record<string, boolean> = Object.fromEntries(
      [...this.#running].map((task) => [task, true]),
    );
    const reasons: string[] = [];
    for (const [loop, { task, atMs, withinMs }] of this.#beats) {
      const isInTime = now - atMs <= withinMs;
      checks[loop] = isInTime;
      if (isInTime) continue;
      checks[task] = false;
      const seconds = Math.round((now - atMs) / 1_000);
      reasons.push(`${loop} has been stuck for ${seconds} s: a round takes at most ${withinMs / 1_000} s`);
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
