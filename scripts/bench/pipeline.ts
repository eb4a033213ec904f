/** The pipeline alone, as the program wires it, in a process of its own: no socket, an API server that answers at once. */
import process from "node:process";
import { createPipeline } from "../../src/app/pipeline.ts";
import { LiveFilters } from "../../src/filters/live.ts";
import { systemClock } from "../../src/model/clock.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { compileFilterExpression } from "../../src/filters/expression.ts";
import type { FilterDocument } from "../../src/filters/filter.ts";
import { readSettings } from "../../src/settings.ts";
import { falco } from "../../src/sources/falco/mod.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { createBooks } from "../../src/telemetry/accounting.ts";
import { UNLIMITED } from "./controller.ts";
import { alert, alertTemplate, runtimeFor } from "./inputs.ts";
import { createInstantApi } from "./instant_api.ts";
import { answerQuestions } from "./worker.ts";

/** What one measurement is about. */
export interface PipelineQuestion {
  /** So many filter documents, none of which drops anything. */
  readonly documents: number;
  /** Each has an expression too. */
  readonly withExpressions: boolean;
  /** Every event repeats one of a thousand that are stored. */
  readonly repeats: boolean;
  readonly events: number;
  readonly warmUpEvents: number;
}

export interface PipelineAnswer {
  readonly eventsPerSecond: number;
  /** By the processor time used: what a core of one's own would do. */
  readonly eventsPerCpuSecond: number;
}

const BATCH = 1_000;
const ROOM = { OBSERVATION_MAX_TOTAL: "10000000", OBSERVATION_MAX_BYTES: "100GiB" };

if (import.meta.main) await answerQuestions((question: PipelineQuestion) => measure(question));

async function measure(question: PipelineQuestion): Promise<PipelineAnswer> {
  const stop = new AbortController();
  const pipeline = createWired(question);
  const index = pipeline.runIndex(stop.signal);
  while (!pipeline.store.index.complete) await new Promise((resolve) => setTimeout(resolve, 1));
  const runtime = runtimeFor(falco);
  const template = await alertTemplate();
  let number = 0;
  const batch = (): JsonObject[] =>
    Array.from(
      { length: BATCH },
      (_, place) => alert(template, "alone", question.repeats ? place : number++),
    );
  const context = { signal: stop.signal, correlationId: "bench" };
  const take = async (body: JsonObject[]) => {
    const payload = { body, origin: { confined: false }, receivedAt: Date.now() };
    const { created, deduped } = await pipeline.intake.take(runtime, payload, context);
    const settled = question.repeats ? created + deduped : created;
    if (settled !== BATCH) {
      throw new Error(`Cannot measure: ${BATCH - settled} of ${BATCH} events went elsewhere`);
    }
  };
  for (let turn = 0; turn < question.warmUpEvents / BATCH; turn++) await take(batch());
  let wallMs = 0;
  let cpuMicros = 0;
  const turns = Math.ceil(question.events / BATCH);
  for (let turn = 0; turn < turns; turn++) {
    const body = batch();
    const startedAt = performance.now();
    const cpuBefore = process.cpuUsage();
    await take(body);
    const { user, system } = process.cpuUsage(cpuBefore);
    cpuMicros += user + system;
    wallMs += performance.now() - startedAt;
  }
  stop.abort(new DOMException("measured", "AbortError"));
  await index.catch(() => {});
  const events = turns * BATCH;
  return { eventsPerSecond: events * 1_000 / wallMs, eventsPerCpuSecond: events * 1e6 / cpuMicros };
}

function createWired({ documents, withExpressions }: PipelineQuestion) {
  const settings = readSettings((name) => ({ ...UNLIMITED, ...ROOM } as Record<string, string>)[name]);
  const metrics = createMetrics();
  const clock = systemClock;
  const filters = new LiveFilters({ metrics, clock });
  filters.replace("configMap", Array.from({ length: documents }, (_, n) => document(n, withExpressions)));
  return createPipeline({
    api: createInstantApi(),
    settings,
    metrics,
    books: createBooks(metrics, () => clock.now()),
    clock,
    filter: filters.filter,
    inScope: () => true,
    rateOf: () => undefined,
    volatileDetailsOf: () => [],
    onBudget: () => {},
    onIndexState: () => {},
  });
}

function document(number: number, withExpression: boolean): FilterDocument {
  return {
    name: `document ${number}`,
    source: number % 2 === 0 ? "falco" : "*",
    block: {
      minSeverity: "LOW",
      excludeNamespaces: [`team-${number}-*`],
      excludeRules: [`Rule number ${number}`],
      ...(withExpression
        ? {
          expression: compileFilterExpression(`resource.name != "pod-${number}" || severity == "CRITICAL"`),
        }
        : {}),
    },
  };
}
