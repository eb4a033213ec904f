/** Files of fixtures as payloads: every form that tools, kubectl and loggers leave them in. */
import { readYaml } from "../../src/cli/operate/documents.ts";
import type { Payload } from "../../src/model/event.ts";
import { isObject, type Json, type JsonObject } from "../../src/model/json.ts";
import type { PayloadError } from "../../src/model/outcome.ts";
import type { KubeObject } from "../../src/kube/api.ts";
import { createTextLimits, NO_LIMITS } from "../../src/pipeline/limits.ts";
import { scanJson, wholeOf } from "../../src/text/json.ts";
import { configMapPayload, objectPayload } from "../../src/sources/feeds/pulled.ts";
import type { Source } from "../../src/sources/source.ts";
import { feedOf } from "./source_runtime.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);
const RECEIVED_AT = Date.parse("2026-11-22T06:00:00Z");

/** The documents of a file under `tests/fixtures`: JSON, NDJSON, values one after another, YAML; also gzipped. */
export async function loadDocuments(path: string): Promise<Json[]> {
  const text = await readText(path);
  const name = path.endsWith(".gz") ? path.slice(0, -".gz".length) : path;
  if (name.endsWith(".yaml") || name.endsWith(".yml")) {
    const read = readYaml(text);
    if (!read.ok) throw new Error(`Cannot load "${path}": ${JSON.stringify(read.problems)}`);
    return read.documents.map(({ value }) => plain(value)).filter((value) => value !== null);
  }
  const { parts, errors: [error] } = scanJson(text);
  if (error) throw new Error(`Cannot load "${path}": at line ${error.line}: ${error.message}`);
  return parts.map((part) => part.read());
}

/** The Kubernetes objects (or whatever else is no list) of a file, taken out of lists, arrays, maps and watch frames. */
export async function loadObjects(path: string): Promise<JsonObject[]> {
  const documents = await loadDocuments(path);
  return documents.flatMap((document) => [...objectsIn(document, {})]);
}

/** A file as the driver of reports hands it in: one payload an object, confined to its namespace. */
export async function loadReportPayloads(path: string): Promise<Payload[]> {
  return (await loadObjects(path)).map(reportPayload);
}

/** A report as a watch feed hands it in. */
export function reportPayload(report: JsonObject): Payload {
  return objectPayload({ metadata: {}, ...report }, RECEIVED_AT);
}

/** Anything else as a webhook hands it in: no object, no namespace. */
export function pushedPayload(body: Json): Payload {
  return { body, origin: { confined: false }, receivedAt: RECEIVED_AT };
}

/** A file as its source's driver makes payloads of it. */
export interface LoadedPayloads {
  readonly payloads: readonly Payload[];
  /** What the driver itself could not read. */
  readonly errors: readonly PayloadError[];
}

/** A file as the first feed of `source` hands it in: reports one by one, ConfigMaps by their key, requests whole. */
export async function loadPayloads(path: string, source: Source): Promise<LoadedPayloads> {
  const feed = feedOf(source);
  switch (feed.type) {
    case "watch":
      return { payloads: await loadReportPayloads(path), errors: [] };
    case "post": {
      const body = wholeOf(scanJson(await readText(path)));
      return { payloads: body === undefined ? [] : [pushedPayload(body)], errors: [] };
    }
    case "configmap":
      return await loadResults(path, feed.key);
  }
}

/** Files of `results.json`; one that is no ConfigMap becomes the content of `kube-bench-node-0`. */
async function loadResults(path: string, key: string): Promise<LoadedPayloads> {
  const text = await readText(path);
  return await configMapPayloads(
    configMapIn(text) ?? {
      metadata: { name: "kube-bench-node-0", namespace: "results" },
      data: { [key]: text },
    },
    key,
  );
}

/** A ConfigMap as a configmap feed hands it in. */
export async function configMapPayloads(configMap: KubeObject, key: string): Promise<LoadedPayloads> {
  const errors: PayloadError[] = [];
  const onError = (error: PayloadError) => void errors.push(error);
  const result = await configMapPayload(configMap, {
    key,
    receivedAt: RECEIVED_AT,
    limits: createTextLimits({ maxBytes: 16 * 2 ** 20, memoryBytes: Infinity }),
    slices: NO_LIMITS.slices,
    signal: new AbortController().signal,
    onError,
  });
  return { payloads: result ? [result.payload] : [], errors };
}

function configMapIn(text: string): KubeObject | undefined {
  const document = scanJson(text).parts[0]?.read();
  if (!isObject(document) || document.kind !== "ConfigMap") return undefined;
  const { name, namespace, labels, annotations } = isObject(document.metadata) ? document.metadata : {};
  return {
    metadata: {
      name: String(name),
      namespace: String(namespace),
      labels: strings(labels),
      annotations: strings(annotations),
    },
    data: document.data,
    binaryData: document.binaryData,
  };
}

async function readText(path: string): Promise<string> {
  const url = new URL(path, FIXTURES);
  if (!path.endsWith(".gz")) return await Deno.readTextFile(url);
  const file = await Deno.open(url);
  return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
}

function* objectsIn(value: Json, list: { kind?: string; apiVersion?: string }): Generator<JsonObject> {
  if (Array.isArray(value)) {
    for (const item of value) yield* objectsIn(item, list);
  } else if (!isObject(value)) {
    throw new Error(`Cannot load an object: received ${JSON.stringify(value)}`);
  } else if (Array.isArray(value.items)) {
    const { kind, apiVersion } = value;
    const typed = typeof kind === "string" && kind.endsWith("List") && kind !== "List";
    const inherited = typed ? { kind: kind.slice(0, -"List".length), apiVersion: String(apiVersion) } : {};
    for (const item of value.items) yield* objectsIn(item, inherited);
  } else if (typeof value.type === "string" && isObject(value.object)) {
    yield* objectsIn(value.object, {});
  } else if (Object.keys(value).length > 0 && Object.keys(value).every((key) => key.endsWith(".github.io"))) {
    for (const item of Object.values(value)) yield* objectsIn(item, {});
  } else {
    yield { ...list, ...value };
  }
}

function strings(value: Json | undefined): Record<string, string> {
  if (!isObject(value)) return {};
  return Object.fromEntries(Object.entries(value).map(([key, word]) => [key, String(word)]));
}

/** YAML's dates and the like become the JSON that kubectl makes of them. */
function plain(value: unknown): Json {
  return JSON.parse(JSON.stringify(value ?? null));
}
