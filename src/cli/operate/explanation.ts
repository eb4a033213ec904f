/** What the server would make of inputs, for `explain` and `test`. */
import type { ExceptionDocument } from "../../exceptions/document.ts";
import { compileFilters, type FilterDocument } from "../../filters/filter.ts";
import type { KubeObject } from "../../kube/api.ts";
import type { Json } from "../../model/json.ts";
import type { PayloadError } from "../../model/outcome.ts";
import type { Settings } from "../../settings.ts";
import type { Io } from "../io.ts";
import { chooseSource } from "./chosen_source.ts";
import { createDryRun, type ExplainedEvent } from "./dry_run.ts";
import { type Payloads, readPayloads, valuePayloads } from "./payload_files.ts";

/** What a source's tool sent, and when: a file's path, or a value. */
export type Input =
  & { readonly receivedAt: number }
  & ({ readonly path: string } | { readonly value: Json });

export interface ExplainOptions {
  readonly source: string;
  readonly filters: readonly FilterDocument[];
  readonly exceptions?: readonly ExceptionDocument[];
  /** Ingesters and ObservationMappings given by name. */
  readonly named: readonly KubeObject[];
  /** Those of a cluster. */
  readonly live?: readonly KubeObject[];
  readonly settings: Settings;
  readonly io: Io;
}

/** What `explain -o json` prints. */
export interface Explanation {
  readonly source: string;
  readonly events: readonly ExplainedEvent[];
  readonly errors: readonly PayloadError[];
  /** What is no input, and why. */
  readonly skipped: readonly string[];
}

/** Takes the inputs in order; what one creates, the next ones repeat. */
export async function explainInputs(
  inputs: readonly Input[],
  options: ExplainOptions,
): Promise<Explanation & { readonly deleted: number }> {
  const { source, named, live, settings, io } = options;
  const chosen = chooseSource(source, { named, ...(live && { live }), settings });
  const { source: { lists = "elements" }, feed } = chosen;
  const filters = compileFilters([
    ...options.filters,
    ...(feed.ingester?.filter ? [feed.ingester.filter] : []),
  ]);
  const dryRun = createDryRun({
    ...chosen,
    filters,
    settings,
    ...(options.exceptions && { exceptions: options.exceptions }),
    now: io.now(),
  });
  const errors: PayloadError[] = [];
  let deleted = 0;
  for (const input of inputs) {
    const { receivedAt } = input;
    const read: Payloads = "path" in input
      ? await readPayloads({ path: input.path, text: await io.readText(input.path) }, {
        feed,
        lists,
        receivedAt,
      })
      : await valuePayloads(input.value, { feed, lists, receivedAt });
    errors.push(...read.errors);
    deleted += read.deleted;
    for (const payload of read.payloads) await dryRun.take(payload);
  }
  return {
    source,
    events: dryRun.events,
    errors: [...errors, ...dryRun.errors],
    skipped: [...dryRun.skipped],
    deleted,
  };
}
