/**
 * Every built-in source draws the Observations that `tests/fixtures/sources/<source>/<case>/expected.json` says.
 * After a change that is meant to change them: `UPDATE_EXPECTED=1 deno test -A tests/sources_fixtures_test.ts`,
 * then read the difference.
 */
import { assert, assertEquals } from "@std/assert";
import type { Json } from "../src/model/json.ts";
import type { Observation } from "../src/model/observation.ts";
import type { PayloadError } from "../src/model/outcome.ts";
import { toObservation } from "../src/pipeline/normalize.ts";
import { SOURCES } from "../src/sources/registry.ts";
import type { Source } from "../src/sources/source.ts";
import { type LoadedPayloads, loadPayloads } from "./support/load_fixture.ts";
import { runtimeFor } from "./support/source_runtime.ts";

const FIXTURES = new URL("./fixtures/sources/", import.meta.url);
const UPDATE = Deno.env.get("UPDATE_EXPECTED") === "1";

interface Expected {
  readonly observations: readonly Observation[];
  readonly errors: readonly PayloadError[];
}

for (const source of SOURCES) {
  const cases = await casesOf(source);

  Deno.test(`fixtures of ${source.name} say where they come from and hold at least one case`, async () => {
    assert(
      cases.length > 0,
      `Cannot test "${source.name}": no ${FIXTURES.pathname}${source.name}/<case>/input.*`,
    );
    const provenance = await Deno.readTextFile(new URL(`${source.name}/SOURCES.md`, FIXTURES));
    assert(provenance.includes("licence") || provenance.includes("Licence"));
  });

  for (const { name, input } of cases) {
    Deno.test(`${source.name} draws the expected Observations of ${name}`, async () => {
      const actual = plain(drawAll(source, await loadPayloads(input, source)));
      const path = new URL(`${source.name}/${name}/expected.json`, FIXTURES);
      if (UPDATE) await Deno.writeTextFile(path, `${JSON.stringify(actual, undefined, 1)}\n`);
      assertEquals(actual, JSON.parse(await Deno.readTextFile(path)));
    });
  }
}

async function casesOf({ name }: Source): Promise<{ name: string; input: string }[]> {
  const cases: { name: string; input: string }[] = [];
  try {
    for await (const folder of Deno.readDir(new URL(`${name}/`, FIXTURES))) {
      if (!folder.isDirectory || folder.name === "real") continue;
      for await (const file of Deno.readDir(new URL(`${name}/${folder.name}/`, FIXTURES))) {
        if (!file.name.startsWith("input.")) continue;
        cases.push({ name: folder.name, input: `sources/${name}/${folder.name}/${file.name}` });
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return cases.toSorted((a, b) => a.name < b.name ? -1 : 1);
}

/** What is stored of the payloads: events filtered out by the source itself leave no Observation, twins one. */
function drawAll(source: Source, { payloads, errors: unreadable }: LoadedPayloads): Expected {
  const runtime = runtimeFor(source);
  const observations = new Map<string, Observation>();
  const errors: PayloadError[] = [...unreadable];
  for (const payload of payloads) {
    for (const drawn of runtime.draw(payload)) {
      if ("error" in drawn) {
        errors.push(drawn.error);
        continue;
      }
      const event = runtime.normalize(drawn.event, payload);
      if (event.drop) continue;
      const generation = event.kind === "finding" ? 0 : 1;
      const observation = toObservation(event, generation, { instance: "default", eventId: "event-1" });
      const key = observation.metadata.name ?? "";
      if (!observations.has(key)) observations.set(key, observation);
    }
  }
  return { observations: [...observations.values()], errors };
}

function plain(value: Expected): Json {
  return JSON.parse(JSON.stringify(value));
}
