/**
 * The kinds of input that once came out wrong, and siblings of each: `tests/fixtures/siblings/<kind>.yaml`. A sibling's `inputs`
 * are merged into the file's `base`, each drawn as its source's feed hands it in.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import { textTable } from "../scripts/support/table.ts";
import type { KubeObject } from "../src/kube/api.ts";
import type { NormalEvent, Payload } from "../src/model/event.ts";
import { isObject, type Json, type JsonObject } from "../src/model/json.ts";
import { SOURCES } from "../src/sources/registry.ts";
import type { Source } from "../src/sources/source.ts";
import { printLine } from "./chaos/form.ts";
import { exampleSource } from "./support/examples.ts";
import { configMapPayloads, pushedPayload, reportPayload } from "./support/load_fixture.ts";
import { DRAW_CONTEXT, feedOf, runtimeFor } from "./support/source_runtime.ts";

const FOLDER = new URL("./fixtures/siblings/", import.meta.url);
const MIN_SIBLINGS = 3;

/** Kinds that no input alone shows: the file whose tests are their siblings, and words by which each is found there. */
const TESTED: Readonly<Record<string, { readonly file: string; readonly words: readonly string[] }>> = {
  "falco-quota-blocks-all": {
    file: "../src/store/writer_test.ts",
    words: [
      '"by its quota"',
      '"by a quota that is not counted yet"',
      '"by an admission plugin"',
      '"by a webhook with 400"',
      '"by a policy with 422"',
      '"since it is terminating"',
    ],
  },
  "ipv6-listen": {
    file: "../src/http/server_test.ts",
    words: ['["", [', '["::", [', '["::1", [', '["0.0.0.0", ['],
  },
  "trivy-report-expires": {
    file: "../src/store/expired_reports_test.ts",
    words: [
      "that is never recreated are Resolved after EXPIRED_GRACE_SECONDS",
      "are Resolved after the usual grace",
      "when the workload's last other report is deleted",
      "a CRD that is uninstalled after its reports expired",
      "at a leader's first evaluation may have expired",
    ],
  },
};

/** What must come out of a sibling; what is absent is not looked at. */
interface Sibling {
  readonly name: string;
  readonly inputs: readonly JsonObject[];
  /** Of each event: `Kind namespace/name`, `none`, or why the source itself drops it. */
  readonly resources?: readonly string[];
  /** Of each event: `SEVERITY event-type`. */
  readonly types?: readonly string[];
  /** Where each event is stored. */
  readonly namespaces?: readonly string[];
  /** Members that each event's details hold. */
  readonly details?: readonly JsonObject[];
  /** A part of each event's message. */
  readonly messages?: readonly string[];
  /** How many are stored. */
  readonly distinct?: number;
  /** Whether what is not listed is resolved. */
  readonly complete?: boolean;
  /** A part of the message of an input that cannot be read. */
  readonly error?: string;
  /** A secret that no event shows. */
  readonly hidden?: string;
}

interface Kind {
  readonly kind: string;
  readonly source: Source;
  readonly base: JsonObject;
  readonly siblings: readonly Sibling[];
}

const kinds = await readKinds();

for (const { kind, source, base, siblings } of kinds) {
  for (const sibling of siblings) {
    Deno.test(`${kind}: ${sibling.name}`, async () => await assertSibling(sibling, { source, base }));
  }
}

Deno.test("each kind has three siblings or more", async () => {
  const rows = kinds.map(({ kind, siblings }): [string, number] => [kind, siblings.length]);
  for (const [kind, { file, words }] of Object.entries(TESTED)) {
    const text = await Deno.readTextFile(new URL(file, import.meta.url));
    assertEquals(words.filter((word) => !text.includes(word)), [], file);
    rows.push([kind, words.length]);
  }
  rows.sort();
  const sum = rows.reduce((total, [, count]) => total + count, 0);
  printLine(
    textTable(["KIND", "SIBLINGS"], [...rows, [`${rows.length} kinds`, sum]].map((row) => row.map(String))),
  );
  assertEquals(rows.filter(([, count]) => count < MIN_SIBLINGS), []);
});

async function assertSibling(
  { inputs, ...wanted }: Sibling,
  { source, base }: Pick<Kind, "source" | "base">,
): Promise<void> {
  const events: NormalEvent[] = [];
  const errors: string[] = [];
  let isComplete = true;
  const { ingester: _, ...feed } = feedOf(source);
  const { normalize } = runtimeFor(source, feed);
  for (const input of inputs) {
    const { payloads, errors: unreadable } = await payloadsOf(source, merged(base, input) as JsonObject);
    errors.push(...unreadable);
    for (const payload of payloads) {
      for (const drawn of source.draw(payload, DRAW_CONTEXT)) {
        if ("note" in drawn) isComplete &&= drawn.note !== "partial";
        else if ("error" in drawn) errors.push(drawn.error.message);
        else events.push(normalize(drawn.event, payload));
      }
    }
  }
  assertEquals(errors.length, wanted.error === undefined ? 0 : 1, errors.join());
  assertStringIncludes(errors.join(), wanted.error ?? "");
  const { resources, types, namespaces, distinct, complete, hidden } = wanted;
  if (resources) assertEquals(events.map(whereOf), resources);
  if (types) assertEquals(events.map(({ severity, eventType }) => `${severity} ${eventType}`), types);
  if (namespaces) assertEquals(events.map(({ namespace }) => namespace), namespaces);
  if (distinct !== undefined) {
    assertEquals(new Set(events.map(({ fingerprint }) => fingerprint)).size, distinct);
  }
  if (complete !== undefined) assertEquals(isComplete, complete);
  if (hidden !== undefined) assert(!JSON.stringify(events).includes(hidden), hidden);
  for (const [index, part] of wanted.messages?.entries() ?? []) {
    assertStringIncludes(events[index]?.message ?? "", part);
  }
  for (const [index, members] of wanted.details?.entries() ?? []) {
    const details = events[index]?.details ?? {};
    assertEquals(Object.fromEntries(Object.keys(members).map((key) => [key, details[key]])), members);
  }
}

function whereOf({ drop, resource }: NormalEvent): string {
  if (drop) return drop;
  if (!resource) return "none";
  const { kind, namespace, name = "" } = resource;
  return `${kind} ${namespace === undefined ? name : `${namespace}/${name}`}`;
}

interface Payloads {
  readonly payloads: readonly Payload[];
  readonly errors: readonly string[];
}

/** An object as the source's first feed hands it in. */
async function payloadsOf(source: Source, input: JsonObject): Promise<Payloads> {
  const feed = feedOf(source);
  if (feed.type === "watch") return { payloads: [reportPayload(input)], errors: [] };
  if (feed.type === "post") return { payloads: [pushedPayload(input)], errors: [] };
  const isConfigMap = input.kind === "ConfigMap";
  const configMap = isConfigMap ? input as KubeObject : {
    metadata: { name: "results", namespace: "results" },
    data: { [feed.key]: JSON.stringify(input) },
  };
  const { payloads, errors } = await configMapPayloads(configMap, feed.key);
  return { payloads, errors: errors.map(({ message }) => message) };
}

/** A JSON merge patch. */
function merged(base: Json, patch: Json): Json {
  if (!isObject(base) || !isObject(patch)) return patch;
  const all: JsonObject = { ...base };
  for (const [key, value] of Object.entries(patch)) all[key] = merged(base[key] ?? null, value);
  return all;
}

async function readKinds(): Promise<Kind[]> {
  const all: Kind[] = [];
  for await (const { name } of Deno.readDir(FOLDER)) {
    const text = await Deno.readTextFile(new URL(name, FOLDER));
    const { source, base = {}, siblings } = parse(text, { schema: "core" });
    const builtIn = SOURCES.find((each) => each.name === source);
    all.push({
      kind: name.replace(".yaml", ""),
      source: builtIn ?? await exampleSource(source),
      base,
      siblings,
    });
  }
  return all.toSorted((a, b) => a.kind < b.kind ? -1 : 1);
}
