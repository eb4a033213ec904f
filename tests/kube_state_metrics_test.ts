/** The example for kube-state-metrics names fields that Observations have. */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { at, isObject, type Json, type JsonObject } from "../src/model/json.ts";
import { LABELS } from "../src/model/observation.ts";
import { namesIn } from "./support/promql.ts";
import { observationCrd } from "../src/model/crd.ts";

const FILE = new URL("../examples/kube-state-metrics/custom-resource-state.yaml", import.meta.url);

Deno.test("examples/kube-state-metrics reads fields of the Observation's CRD alone", async () => {
  const document = parse(await Deno.readTextFile(FILE));
  const crd = observationCrd();
  const versions = at(crd, "spec", "versions");
  const schema = at(Array.isArray(versions) ? versions[0] : undefined, "schema", "openAPIV3Schema");
  assert(isObject(schema));
  const [{ groupVersionKind, metrics, labelsFromPath }] = document.spec.resources;
  assertEquals(groupVersionKind, { group: "zen.kube-zen.io", version: "v1", kind: "Observation" });
  const paths = [labelsFromPath, ...metrics].flatMap(pathsIn);
  assert(paths.length > 10, JSON.stringify(paths));
  assertEquals(paths.filter((path) => !isField(schema, path)), []);
});

Deno.test("examples/kube-state-metrics/README.md uses only metrics and labels of the example", async () => {
  const [{ metricNamePrefix, metrics, labelsFromPath }] = parse(await Deno.readTextFile(FILE)).spec.resources;
  const known = new Map<string, string[]>(
    metrics.map(({ name, each }: { name: string; each: { info?: { labelsFromPath: object } } }) => [
      `${metricNamePrefix}_${name}`,
      Object.keys({ ...labelsFromPath, ...each.info?.labelsFromPath }),
    ]),
  );
  const readme = await Deno.readTextFile(new URL("README.md", FILE));
  const queries = [...readme.matchAll(/\| `([^`]*zen_observation[^`]*)` \|/g)].map(([, query = ""]) => query);
  assert(queries.length >= 4, readme);
  for (const query of queries) {
    const { selectors, grouping } = namesIn(query);
    const labels = selectors.flatMap(({ metric, labels: used }) => {
      assertEquals(used.filter((label) => !known.get(metric)?.includes(label)), [], query);
      return known.get(metric) ?? [];
    });
    assertEquals(grouping.filter((label) => !labels.includes(label)), [], query);
  }
});

/** Every list of texts in a value: the paths of labels and gauges. */
function pathsIn(value: Json): string[][] {
  if (Array.isArray(value)) return [value.map(String)];
  return isObject(value) ? Object.values(value).flatMap((each) => pathsIn(each ?? null)) : [];
}

function isField(schema: JsonObject, path: readonly string[]): boolean {
  if (path[0] === "metadata") {
    return ["name", "namespace", "creationTimestamp"].includes(path[1] ?? "") ||
      (path[1] === "labels" && Object.values<string>(LABELS).includes(path[2] ?? ""));
  }
  const properties = path.flatMap((step) => ["properties", step]);
  return at(schema, ...properties) !== undefined;
}
