/** Whatever a payload holds, a source does not throw, keeps what is readable, and yields what can be stored. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { clean } from "../src/text/clean.ts";
import type { NormalEvent, Payload } from "../src/model/event.ts";
import { isObject, type Json, type JsonObject } from "../src/model/json.ts";
import { observationSchema } from "../src/model/observation_schema.ts";
import { PAYLOAD_ERROR_REASONS } from "../src/model/outcome.ts";
import { toObservation } from "../src/pipeline/normalize.ts";
import { SOURCES } from "../src/sources/registry.ts";
import type { Source } from "../src/sources/source.ts";
import { loadPayloads } from "./support/load_fixture.ts";
import { runtimeFor } from "./support/source_runtime.ts";

const RUNS = { numRuns: 150 };
const POLLUTED = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"toString":1}';

/** What takes a value's place. */
const intruder: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(
    null,
    true,
    false,
    0,
    -1,
    1e308,
    "",
    "x",
    [],
    {},
    [[]],
    [null],
    "\u0000\u001b[31m\u202e\ud800",
    "true",
  ),
  fc.constant("A".repeat(70_000)),
  fc.constant(null).map(() => JSON.parse(POLLUTED) as Json),
  fc.constant(null).map(() => nested(60)),
  fc.string({ unit: "binary", maxLength: 50 }),
  fc.json().map((text) => JSON.parse(text) as Json),
);

function nested(depth: number): Json {
  let value: Json = "deep";
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { kind: value };
  return value;
}

type Path = readonly (string | number)[];

interface Mutation {
  /** Picks a place among all of the value's. */
  readonly pick: number;
  /** undefined: the place is removed. */
  readonly value: Json | undefined;
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  pick: fc.nat(),
  value: fc.option(intruder, { nil: undefined, freq: 5 }),
});

function placesOf(value: Json, at: Path = []): Path[] {
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => [[...at, index], ...placesOf(item, [...at, index])]);
  }
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => [[...at, key], ...placesOf(item, [...at, key])]);
}

/** A copy of `value` with what is at `path` replaced or removed. */
function changed(value: Json, path: Path, by: Json | undefined): Json {
  const [key, ...rest] = path;
  if (key === undefined) return by ?? null;
  if (Array.isArray(value)) {
    if (rest.length === 0 && by === undefined) return value.filter((_, index) => index !== key);
    return value.map((item, index) => index === key ? changed(item, rest, by) : item);
  }
  if (!isObject(value)) return value;
  const copy: JsonObject = { ...value };
  if (rest.length === 0 && by === undefined) delete copy[String(key)];
  else copy[String(key)] = changed(value[String(key)] ?? null, rest, by);
  return copy;
}

function mutate(value: Json, { pick, value: by }: Mutation): Json {
  const places = placesOf(value);
  const place = places[pick % Math.max(1, places.length)];
  return place ? changed(value, place, by) : by ?? null;
}

function valueAt(value: Json, path: Path): Json {
  let found: Json | undefined = value;
  for (const key of path) {
    found = Array.isArray(found) ? found[Number(key)] : isObject(found) ? found[String(key)] : undefined;
  }
  return found ?? null;
}

/** Draws and normalises all of a payload, checking that each part is fit for what comes after. */
function drawn(source: Source, payload: Payload): NormalEvent[] {
  const runtime = runtimeFor(source);
  const events: NormalEvent[] = [];
  for (const item of runtime.draw(payload)) {
    if ("error" in item) {
      assert(PAYLOAD_ERROR_REASONS.includes(item.error.reason));
      const { path, message } = item.error;
      assert(message !== "" && path.length <= 300 && message.length <= 300);
      assertEquals([clean(path, 300), clean(message, 300)], [path, message]);
      continue;
    }
    const event = runtime.normalize(item.event, payload);
    const observation = toObservation(event, 1, { instance: "default", eventId: "e" });
    const { success, error } = observationSchema.safeParse(observation);
    assert(success, error?.message);
    events.push(event);
  }
  assertEquals(({} as { polluted?: boolean }).polluted, undefined);
  return events;
}

/** Items of the list that are tried: enough to have neighbours. */
const MAX_ITEMS = 12;
/** Larger inputs than this make no better test, only a longer one. */
const MAX_LENGTH = 200_000;

interface RealPayload {
  readonly payload: Payload;
  /** Where its findings are listed. */
  readonly list: Path;
}

/** For each kind of list in the fixtures of a source the one of most items with a finding each, cut to a few items. */
async function realPayloads(source: Source): Promise<RealPayload[]> {
  const best = new Map<string, RealPayload & { readonly findings: number }>();
  for (const path of await inputsOf(source)) {
    const { payloads: [payload] } = await loadPayloads(path, source);
    if (!payload || JSON.stringify(payload.body).length > MAX_LENGTH) continue;
    for (const list of listsIn(payload.body)) {
      const items = (valueAt(payload.body, list) as Json[]).slice(0, MAX_ITEMS);
      const few = { ...payload, body: changed(payload.body, list, items) };
      const none = { ...payload, body: changed(payload.body, list, []) };
      const findings = Math.min(items.length, drawn(source, few).length - drawn(source, none).length);
      const kind = list.filter((key) => typeof key === "string").join(".");
      if (findings > (best.get(kind)?.findings ?? 1)) best.set(kind, { payload: few, list, findings });
    }
  }
  assert(best.size > 0, `Cannot test "${source.name}": no fixture of it has a list of two findings or more`);
  return [...best.values()];
}

async function inputsOf({ name }: Source): Promise<string[]> {
  const paths: string[] = [];
  const folder = new URL(`./fixtures/sources/${name}/`, import.meta.url);
  for await (const entry of Deno.readDir(folder)) {
    if (!entry.isDirectory || entry.name === "real") continue;
    for await (const file of Deno.readDir(new URL(`${entry.name}/`, folder))) {
      if (file.name.startsWith("input.")) paths.push(`sources/${name}/${entry.name}/${file.name}`);
    }
  }
  return paths.toSorted();
}

/** Places of lists of several items. */
function listsIn(value: Json): Path[] {
  return [[], ...placesOf(value)].filter((path) => {
    const list = valueAt(value, path);
    return Array.isArray(list) && list.length > 1 && list.every(isObject);
  });
}

for (const source of SOURCES) {
  Deno.test(`${source.name} survives any JSON`, () => {
    const origin = { confined: true, namespace: "shop", name: "report" };
    fc.assert(
      fc.property(
        fc.oneof(intruder, fc.array(intruder), fc.jsonValue().map((value) => value as Json)),
        (body) => {
          drawn(source, { body, origin, receivedAt: Date.now() });
        },
      ),
      RUNS,
    );
  });

  Deno.test(`${source.name} survives real input with parts missing, null, huge, of another type or hostile`, async () => {
    for (const { payload } of await realPayloads(source)) {
      fc.assert(
        fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), (mutations) => {
          drawn(source, { ...payload, body: mutations.reduce(mutate, payload.body) });
        }),
        RUNS,
      );
    }
  });

  Deno.test(`${source.name} keeps every finding but the one that cannot be read`, async () => {
    for (const { payload, list } of await realPayloads(source)) {
      const items = valueAt(payload.body, list);
      assert(Array.isArray(items));
      const without = items.map((_, index) => {
        const body = changed(payload.body, list, items.filter((_, other) => other !== index));
        return drawn(source, { ...payload, body }).map(({ fingerprint }) => fingerprint);
      });
      fc.assert(
        fc.property(
          fc.nat(items.length - 1),
          fc.array(mutation, { minLength: 1, maxLength: 2 }),
          (index, mutations) => {
            const item = mutations.reduce(mutate, items[index] ?? null);
            const body = changed(payload.body, [...list, index], item);
            const kept = new Set(drawn(source, { ...payload, body }).map(({ fingerprint }) => fingerprint));
            for (const fingerprint of without[index] ?? []) assert(kept.has(fingerprint));
          },
        ),
        RUNS,
      );
    }
  });
}
