/** What is sent: alerts of Falco, and the Observations that zen-watcher makes of them. */
import { createDryRun } from "../../src/cli/operate/dry_run.ts";
import { chooseSource } from "../../src/cli/operate/chosen_source.ts";
import { compileFilters } from "../../src/filters/filter.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { readSettings } from "../../src/settings.ts";

/** Where the events' resources, and so their Observations, are. */
export const NAMESPACE = "bench";
/** The collection that they are stored in. */
export const OBSERVATIONS_PATH = `/apis/zen.kube-zen.io/v1/namespaces/${NAMESPACE}/observations`;

const [SAMPLE = ""] = (await Deno.readTextFile(new URL("../samples/falco.ndjson", import.meta.url))).split(
  "\n",
);

/** The first sample alert, about a Pod of its own, at this moment: the same run and number is the same event. */
export function alert(run: string, number: number): JsonObject {
  const sample = JSON.parse(SAMPLE);
  const fields = {
    ...sample.output_fields,
    "k8s.ns.name": NAMESPACE,
    "k8s.pod.name": `bench-${run}-${number}`,
  };
  return { ...sample, time: new Date().toISOString(), output_fields: fields };
}

/** Finds an alert's number in a stored Observation or a line of a watch. */
export function numberPattern(run: string): RegExp {
  return new RegExp(`bench-${run}-(\\d+)`);
}

/** The server's own intake over a store in memory, for Falco's alerts. */
export function dryIntake() {
  const settings = readSettings(() => undefined);
  const chosen = chooseSource("falco", { named: [], settings });
  const dryRun = createDryRun({ ...chosen, filters: compileFilters([]), settings });
  const take = (body: JsonObject[]) =>
    dryRun.take({ body, origin: { confined: false }, receivedAt: Date.now() });
  return { take, events: dryRun.events };
}

/** The Observations of alerts, as text. */
export async function observationsOf(alerts: JsonObject[]): Promise<string[]> {
  const { take, events } = dryIntake();
  await take(alerts);
  return events.map(({ observation }) =>
    JSON.stringify(observation).replace('"explained"', `"${crypto.randomUUID()}"`)
  );
}
