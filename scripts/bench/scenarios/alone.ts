/** The pipeline without a network. */
import type { PipelineAnswer, PipelineQuestion } from "../pipeline.ts";
import type { Scenario } from "../scenario.ts";
import { startWorker } from "../worker.ts";
import { V8_FLAGS } from "../../support/permissions.ts";

const QUESTIONS: Readonly<Record<string, Omit<PipelineQuestion, "events" | "warmUpEvents">>> = {
  noRules: { documents: 0, withExpressions: false, repeats: false },
  tenRules: { documents: 10, withExpressions: false, repeats: false },
  hundredRules: { documents: 100, withExpressions: false, repeats: false },
  tenExpressions: { documents: 10, withExpressions: true, repeats: false },
  repeats: { documents: 0, withExpressions: false, repeats: true },
  repeatsUnderTenRules: { documents: 10, withExpressions: false, repeats: true },
};

export const ALONE: Scenario = {
  name: "pipeline",
  doc:
    "draw, normalise, filter, dedup, books and the write path, an API server that answers at once; by processor time",
  quick: true,
  async run({ quick }) {
    const figures: Record<string, number> = {};
    for (const [name, question] of Object.entries(QUESTIONS)) {
      await using worker = startWorker("pipeline.ts", [V8_FLAGS]);
      const [events, warmUpEvents] = quick ? [8_000, 4_000] : [50_000, 20_000];
      const { eventsPerSecond, eventsPerCpuSecond } = await worker.ask<PipelineAnswer>({
        ...question,
        events,
        warmUpEvents,
      });
      figures[`${name}PerSecond`] = eventsPerSecond;
      figures[`${name}PerCpuSecond`] = eventsPerCpuSecond;
    }
    return figures;
  },
};
