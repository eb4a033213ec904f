/** The embedded API server as tests have it: with faults to put in force and a log of what it was asked. */
import {
  type Call,
  type DevCluster,
  type DevClusterOptions,
  startDevCluster,
} from "../../src/devcluster/mod.ts";
import { type Fault, Faults, matches } from "./faults.ts";

export type TestCluster = DevCluster & { readonly faults: Faults; readonly requests: RequestLog };

/** Starts one. */
export function startTestCluster(options: Omit<DevClusterOptions, "gate"> = {}): TestCluster {
  const faults = new Faults();
  const requests = new RequestLog();
  const cluster = startDevCluster({
    ...options,
    gate(call, passage) {
      requests.add(call);
      return faults.pass(call, passage);
    },
  });
  return Object.assign(cluster, { faults, requests });
}

const MAX_CALLS = 100_000;

/** The requests the server has had, so that a test can say what was never asked. */
export class RequestLog {
  readonly #calls: Call[] = [];
  #forgotten = 0;

  add(call: Call): void {
    if (this.#calls.length >= MAX_CALLS) this.#forgotten += this.#calls.splice(0, MAX_CALLS / 2).length;
    this.#calls.push(call);
  }

  /** All since `clear`, oldest first. */
  get calls(): readonly Call[] {
    return this.#calls;
  }

  /** How many had this verb and this in their path; throws where some are forgotten. */
  count(which: Pick<Fault, "verb" | "path">): number {
    if (this.#forgotten > 0) {
      throw new Error(`Cannot count requests: ${this.#forgotten} are forgotten, clear earlier`);
    }
    return this.#calls.filter((call) => matches(call, which)).length;
  }

  clear(): void {
    this.#calls.length = this.#forgotten = 0;
  }
}
