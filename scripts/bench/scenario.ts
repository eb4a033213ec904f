import type { Figures } from "./figures.ts";
import type { Bench } from "./measure.ts";

/** One thing to measure. */
export interface Scenario {
  readonly name: string;
  /** What it does, for the report. */
  readonly doc: string;
  /** Part of the short look. */
  readonly quick?: boolean;
  /** Runs once, however many runs are asked for: it takes minutes. */
  readonly once?: boolean;
  /** Wants a server nobody has used, and leaves one nobody should. */
  readonly heavy?: boolean;
  run(bench: Bench): Promise<Figures>;
}
