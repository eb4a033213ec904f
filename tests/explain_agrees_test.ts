/**
 * What `explain -o json` says of every fixture is what the running program makes of it: the same outcomes, the same
 * objects. Reports and ConfigMaps come through the API server, requests through the webhooks.
 */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { fileURLToPath } from "node:url";
import { type Io, processIo } from "../src/cli/io.ts";
import { main } from "../src/cli/main.ts";
import { isObject, type Json, type JsonObject } from "../src/model/json.ts";
import { ANNOTATIONS } from "../src/model/observation.ts";
import { OBSERVATIONS } from "../src/store/mod.ts";
import { readSettings } from "../src/settings.ts";
import { BUILT_IN, SOURCES } from "../src/sources/registry.ts";
import { namespaceOf } from "../src/sources/source.ts";
import type { TestApp } from "./support/app.ts";
import { closedBooks } from "./support/books.ts";
import { hasStatus } from "../src/kube/api.ts";
import { type DevWorld, metadataOf, startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { loadObjects } from "./support/load_fixture.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const FIXTURES = `${ROOT}tests/fixtures/sources`;
const OUTCOMES = ["created", "deduped", "filtered", "failed"] as const;
/** One reading for both: what says no time of its own was detected when it came in. */
const NOW = Date.now();
const CLOCK = { now: () => NOW, monotonic: () => performance.now() };

type Counts = Readonly<Record<typeof OUTCOMES[number], number>>;

interface Explained {
  readonly counts: Counts;
  /** Parts that cannot be read. */
  readonly errors: number;
  readonly observations: readonly Json[];
  /** Where those go. */
  readonly namespaces: readonly string[];
  readonly events: number;
}

/** How the files of a source come in. */
interface Door {
  readonly source: string;
  readonly input: "informer" | "webhook" | "configmap";
  /** A webhook's path; else the namespace of ConfigMaps. */
  readonly place: string;
  readonly label: string;
  readonly ingester?: string;
}

/** `text` stands in for the file's own. */
async function explain(file: string, { source, ingester }: Door, text?: string): Promise<Explained> {
  let out = "";
  const io: Io = {
    ...processIo,
    readText: (path) =>
      path !== file
        ? processIo.readText(path)
        : text === undefined
        ? readFixture(file)
        : Promise.resolve(text),
    stdout: (text) => out += text,
    stderr: () => {},
    env: () => undefined,
    now: () => NOW,
  };
  const args = ["explain", "--source", source, "-f", file, "-o", "json"];
  await main([...args, ...(ingester === undefined ? [] : ["--ingester", ingester])], {
    io,
    settings: () => readSettings(io.env),
  });
  const explanation: unknown = JSON.parse(out);
  assert(
    isObject(explanation) && Array.isArray(explanation.events) && Array.isArray(explanation.errors),
    out,
  );
  const events = explanation.events.filter(isObject);
  const observations = events.flatMap(({ observation }) => isObject(observation) ? [observation] : []);
  return {
    counts: countsOf((outcome) => events.filter((event) => event.outcome === outcome).length),
    errors: explanation.errors.length,
    observations: comparable(observations),
    namespaces: observations.map((observation) => String(metadataOf(observation).namespace)),
    events: events.length,
  };
}

function countsOf(count: (outcome: typeof OUTCOMES[number]) => number): Counts {
  const [created, deduped, filtered, failed] = OUTCOMES.map(count);
  return { created: created!, deduped: deduped!, filtered: filtered!, failed: failed! };
}

/** Objects in order, less what only a server can give, and the id of their writing. */
function comparable(observations: readonly JsonObject[]): Json[] {
  const compared = observations.map((observation) => {
    const { name, namespace, labels, annotations } = metadataOf(observation);
    assert(isObject(annotations));
    const { [ANNOTATIONS.eventId]: _eventId, ...lasting } = annotations;
    return {
      name: String(name),
      namespace: namespace ?? null,
      labels: labels ?? null,
      annotations: lasting,
      spec: observation.spec ?? null,
    };
  });
  return compared.toSorted((a, b) => a.name < b.name ? -1 : 1);
}

/** A server, a program, and the totals of its books. */
class Running implements AsyncDisposable {
  readonly world: DevWorld;
  readonly app: TestApp;
  #unreadBefore = 0;
  #before: Counts = { created: 0, deduped: 0, filtered: 0, failed: 0 };

  constructor(world: DevWorld, app: TestApp) {
    this.world = world;
    this.app = app;
  }

  /** Waits until `events` more events have their outcomes; what these are. */
  async settled(events: number): Promise<Counts> {
    const all = await this.#reached(events);
    const before = this.#before;
    this.#before = all;
    return countsOf((outcome) => all[outcome] - before[outcome]);
  }

  /** Creates objects one after another, each once `eventsOf` those before it are settled. Returns those that are stored. */
  async create(objects: readonly JsonObject[], eventsOf: (object: JsonObject) => Promise<number>) {
    const stored: JsonObject[] = [];
    let events = 0;
    for (const object of objects) {
      try {
        await this.world.create([object]);
      } catch (error) {
        if (hasStatus(error, 400) || hasStatus(error, 422)) continue; // The API server takes no such object.
        throw error;
      }
      stored.push(object);
      events += await eventsOf(object);
      await this.#reached(events);
    }
    return stored;
  }

  /** The totals once `events` more events than before have their outcomes. */
  #reached(events: number): Promise<Counts> {
    return eventually(`${events} events`, async () => {
      const books = Object.values(await closedBooks(this.app.url));
      const totals = countsOf((outcome) => books.reduce((sum, account) => sum + account[outcome], 0));
      const more = OUTCOMES.reduce((sum, outcome) => sum + totals[outcome] - this.#before[outcome], 0);
      if (more < events) throw new Error(`${more} are settled`);
      return totals;
    });
  }

  /** Parts that could not be read since it was last asked. */
  async unread(): Promise<number> {
    const all = await this.app.metric("payload_errors_total");
    const before = this.#unreadBefore;
    this.#unreadBefore = all;
    return all - before;
  }

  /** Nothing is stored, and the program knows it. */
  async empty(): Promise<void> {
    for (const observation of this.world.observations()) {
      const { name, namespace } = metadataOf(observation);
      await this.world.api.delete(OBSERVATIONS, String(name), { namespace: String(namespace) });
    }
    await eventually("the index to be empty", async () => {
      const { storage } = await (await fetch(`${this.app.url}/tools/status`)).json();
      return storage.observations === 0;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.app[Symbol.asyncDispose]();
    await this.world[Symbol.asyncDispose]();
  }
}

async function running(): Promise<Running> {
  const world = await startDevWorld();
  // Without filters the program warns of that by an Event, which is a finding of one of the sources here.
  const metadata = { name: "zen-watcher-filter", namespace: "zen-system" };
  const data = { "filter.json": JSON.stringify({ sources: {} }) };
  await world.create([{ apiVersion: "v1", kind: "ConfigMap", metadata, data }]);
  return new Running(world, await world.replica("a", { clock: CLOCK }));
}

/** What was brought in: as it is now, and what is to be taken away afterwards. */
interface Brought {
  readonly text: string | undefined;
  readonly objects: readonly JsonObject[];
}

/** Brings a file in as its tool would. An object is another once it is stored: it has a time of creation. */
async function bringIn(run: Running, file: string, door: Door): Promise<Brought> {
  const { world, app } = run;
  if (door.input === "webhook") {
    const { status } = await app.post(door.place, await readFixture(file));
    assert([200, 400, 422].includes(status), `${status}`);
    return { text: undefined, objects: [] };
  }
  const given = door.input === "configmap" ? await configMaps(file, door) : await objectsOf(file);
  // Documents are evaluated several at once: which of two that say the same comes first is only known one by one.
  const hasRepeats = (await explain(file, door)).counts.deduped > 0;
  const eventsOf = async (object: JsonObject) =>
    hasRepeats ? (await explain(file, door, JSON.stringify(object))).events : 0;
  const served = await run.create(await storable(given, world), eventsOf);
  // What the server was never asked to store, the program never reads.
  const items: Json[] = [];
  for (const object of served) items.push(await world.read(object));
  return { text: JSON.stringify({ apiVersion: "v1", kind: "List", items }), objects: served };
}

/** The objects that the server takes: of a kind it serves, with a name, and the first of each name. */
async function storable(objects: readonly JsonObject[], world: DevWorld): Promise<JsonObject[]> {
  const taken = new Map<string, JsonObject>();
  for (const object of objects) {
    const { namespace, name } = isObject(object.metadata) ? object.metadata : {};
    const key = `${object.apiVersion} ${object.kind} ${namespace}/${name}`;
    if (typeof name === "string" && !taken.has(key) && await world.find(object)) taken.set(key, object);
  }
  return [...taken.values()];
}

/** The text of a fixture, compressed ones too. */
async function readFixture(file: string): Promise<string> {
  if (!file.endsWith(".gz")) return await Deno.readTextFile(file);
  const { readable } = await Deno.open(file);
  return await new Response(readable.pipeThrough(new DecompressionStream("gzip"))).text();
}

function objectsOf(file: string): Promise<JsonObject[]> {
  return loadObjects(file.slice(`${ROOT}tests/fixtures/`.length));
}

/** A ConfigMap as it is; anything else is what one of the file's name holds. */
async function configMaps(file: string, { place, label }: Door): Promise<JsonObject[]> {
  const text = await readFixture(file);
  const name = file.slice(file.lastIndexOf("/") + 1).replace(/\.\w+(\.gz)?$/, "").replaceAll("_", "-")
    .toLowerCase();
  const wrapped = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, namespace: place, labels: { app: label } },
    data: { "results.json": text },
  };
  if (!text.includes('"ConfigMap"')) return [wrapped];
  return await objectsOf(file);
}

async function agrees(run: Running, file: string, door: Door): Promise<number> {
  const { namespaces } = await explain(file, door);
  await run.world.namespaces(namespaces);
  const { text, objects } = await bringIn(run, file, door);
  const explained = await explain(file, door, text);
  const counts = await run.settled(explained.events);
  const where = file.slice(ROOT.length);
  assertEquals(counts, explained.counts, where);
  assertEquals(await run.unread(), explained.errors, where);
  assertEquals(comparable(run.world.observations()), explained.observations, where);
  await run.world.delete(objects);
  await run.empty();
  return explained.events;
}

async function filesOf(folder: string): Promise<string[]> {
  const files: string[] = [];
  for (const file of await processIo.listFolder(`${FIXTURES}/${folder}`) ?? []) {
    if (/\/(input\.\w+|real\/.*)$/.test(file)) files.push(file);
  }
  return files;
}

const INPUTS = { watch: "informer", post: "webhook", configmap: "configmap" } as const;

for (const { name, feeds: [feed] } of SOURCES) {
  assert(feed);
  const settings = readSettings(() => undefined);
  const place = feed.type === "post"
    ? feed.path
    : feed.type === "configmap"
    ? namespaceOf(feed, settings)
    : "";
  const door: Door = { source: name, input: INPUTS[feed.type], place, label: name };
  Deno.test(`explain shows for ${name}'s fixtures the outcomes of the running program`, async () => {
    await using run = await running();
    let events = 0;
    for (const file of await filesOf(name)) events += await agrees(run, file, door);
    assertEquals(OUTCOMES.reduce((sum, outcome) => sum + totalOf(run, outcome), 0), events);
    function totalOf({ app }: Running, outcome: typeof OUTCOMES[number]): number {
      return Object.values(app.books.accounts()).reduce((sum, account) => sum + account[outcome], 0);
    }
  });
}

Deno.test("explain shows for requests without an event the answers of the running program", async () => {
  await using run = await running();
  const door: Door = { source: "falco", input: "webhook", place: "/falco/webhook", label: "falco" };
  for (const body of ["", "[]", "06:00:00: Notice A shell", '[{"rule"', "{}", "[[]]", '"text"']) {
    const { status } = await run.app.post(door.place, body);
    assert([200, 400].includes(status), `${status}`);
    const { counts, errors, events } = await explain("-", door, body);
    assertEquals([await run.settled(events), await run.unread()], [counts, errors], body);
  }
});

/** The manifest's source with a door that is open, as a kind the server serves. */
async function install(
  { world, app }: Running,
  ingester: JsonObject,
  files: readonly string[],
): Promise<Door> {
  const { spec } = ingester;
  assert(isObject(spec));
  const source = String(spec.source ?? spec.sourceName);
  if (isObject(spec.webhook)) {
    const webhook = { ...spec.webhook, auth: { type: "none" } };
    await world.create([{ ...ingester, spec: { ...spec, webhook } }]);
    const place = String(spec.webhook.path);
    await eventually("the path to be served", async () => {
      const answer = await fetch(app.url + place, { method: "POST", body: "" });
      await answer.body?.cancel();
      return answer.status === 400;
    });
    return { source, input: "webhook", place, label: source };
  }
  const kinds = new Map<string, JsonObject>();
  for (const file of files) {
    const objects = isObject(spec.configmap) ? [] : await objectsOf(file);
    for (const object of objects) {
      if (!await world.find(object)) kinds.set(String(object.kind), object);
    }
  }
  await world.create([...kinds.values()].map((object) => crdOf(object, spec)));
  for (const object of kinds.values()) await world.typeOf(object);
  await world.create([ingester]);
  await eventually("the source to be in force", async () => {
    const { sources } = await (await fetch(`${app.url}/tools/status`)).json();
    return sources[source]?.state === "synced";
  });
  return {
    source,
    input: isObject(spec.configmap) ? "configmap" : "informer",
    place: "zen-system",
    label: source,
  };
}

/** A CRD that takes anything, for a kind whose own is not at hand. */
function crdOf({ apiVersion, kind, metadata }: JsonObject, spec: JsonObject): JsonObject {
  const [group = "", version = ""] = String(apiVersion).split("/");
  const named = isObject(spec.informer) && spec.informer.resource !== "*"
    ? spec.informer.resource
    : undefined;
  const plural = String(named ?? String(kind).toLowerCase());
  const scope = isObject(metadata) && metadata.namespace !== undefined ? "Namespaced" : "Cluster";
  const openAPIV3Schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  // What the kind's own server can select by, as `type=Warning`.
  const selector = isObject(spec.informer) ? String(spec.informer.fieldSelector ?? "") : "";
  const selectableFields = selector === "" ? [] : [{ jsonPath: `.${selector.split("=", 1)[0]}` }];
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope,
      names: { plural, singular: String(kind).toLowerCase(), kind: kind ?? "", listKind: `${kind}List` },
      versions: [{
        name: version,
        served: true,
        storage: true,
        schema: { openAPIV3Schema },
        selectableFields,
      }],
    },
  };
}

for await (const { name } of Deno.readDir(`${ROOT}examples`)) {
  if (!name.endsWith(".yaml")) continue;
  const manifest = name.slice(0, -".yaml".length);
  Deno.test(`explain shows for the fixtures of examples/${name} the outcomes of the running program`, async () => {
    await using run = await running();
    const files = await filesOf(`mapped-${manifest}`);
    const ingester: unknown = parse(await Deno.readTextFile(`${ROOT}examples/${name}`));
    assert(isObject(ingester) && !BUILT_IN.has(manifest));
    const door = { ...await install(run, ingester, files), ingester: `${ROOT}examples/${name}` };
    await run.unread(); // The path was tried with a request that holds nothing.
    for (const file of files) await agrees(run, file, door);
  });
}
