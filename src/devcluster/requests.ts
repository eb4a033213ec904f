import type { Call } from "./faults.ts";

const MAX_CALLS = 100_000;

/** The requests the server has had, so that a test can say what was never asked. */
export class RequestLog {
  #calls: Call[] = [];
  #dropped = 0;

  add(call: Call): void {
    if (this.#calls.length >= MAX_CALLS) this.#dropped += this.#calls.splice(0, MAX_CALLS / 2).length;
    this.#calls.push(call);
  }

  /** All since `clear`, oldest first. */
  get calls(): readonly Call[] {
    return this.#calls;
  }

  /** How many had this verb and this in their path; throws where some are forgotten. */
  count({ verb, path = "" }: { verb?: string; path?: string | RegExp }): number {
    if (this.#dropped > 0) {
      throw new Error(`Cannot count requests: ${this.#dropped} are forgotten, clear earlier`);
    }
    const fits = (call: Call) => typeof path === "string" ? call.path.includes(path) : path.test(call.path);
    return this.#calls.filter((call) => (verb === undefined || call.verb === verb) && fits(call)).length;
  }

  clear(): void {
    this.#calls = [];
    this.#dropped = 0;
  }
}
