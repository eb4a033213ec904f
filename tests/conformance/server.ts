/** A bare client for the conformance cases: plain HTTP, so that they judge the server and nothing of ours. */
import { assert, assertEquals } from "@std/assert";
import type { Endpoint } from "../../src/kube/api.ts";
import { type Json, type JsonObject } from "../../src/model/json.ts";

/** Where a server is, with the credentials of a user in the headers or the client. */
export interface ServerAccess {
  readonly url: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly client?: Deno.HttpClient;
}

/** Access by the address and credentials of a connection. */
export function accessOf(
  { server, authorization, headers = {}, ...tls }: Endpoint,
): ServerAccess & Disposable {
  const { caPem, certPem, keyPem, proxyUrl } = tls;
  const client = Deno.createHttpClient({
    ...(caPem === undefined ? {} : { caCerts: [caPem] }),
    ...(proxyUrl === undefined ? {} : { proxy: { url: proxyUrl } }),
    ...(certPem === undefined || keyPem === undefined ? {} : { cert: certPem, key: keyPem }),
  });
  const all = { ...headers, ...(authorization === undefined ? {} : { authorization }) };
  return {
    url: server.replace(/\/+$/, ""),
    headers: Object.entries(all).flatMap(([name, value]) =>
      [value].flat().map((each) => [name, each] as const)
    ),
    client,
    [Symbol.dispose]: () => client.close(),
  };
}

/** An answer, its body parsed where it is JSON. */
export interface ParsedAnswer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly body: JsonObject;
}

export interface ConformanceSendOptions {
  readonly body?: Json | string;
  readonly type?: string;
  readonly accept?: string;
}

export const MERGE = "application/merge-patch+json";
export const JSON_PATCH = "application/json-patch+json";
export const TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json";

const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/** One API server, real or embedded. */
export class Server {
  constructor(readonly access: ServerAccess) {}

  async send(method: string, path: string, options: ConformanceSendOptions = {}): Promise<ParsedAnswer> {
    const { body, type = "application/json", accept = "application/json" } = options;
    const response = await this.open(path, {
      method,
      headers: { accept, ...(body === undefined ? {} : { "content-type": type }) },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const contentType = response.headers.get("content-type") ?? "";
    const parsed: JsonObject = contentType.startsWith("application/json") && text ? JSON.parse(text) : {};
    return { status: response.status, type: contentType, text, body: parsed };
  }

  get(path: string, options?: ConformanceSendOptions): Promise<ParsedAnswer> {
    return this.send("GET", path, options);
  }

  create(path: string, body: Json): Promise<ParsedAnswer> {
    return this.send("POST", path, { body });
  }

  put(path: string, body: Json): Promise<ParsedAnswer> {
    return this.send("PUT", path, { body });
  }

  patch(path: string, body: Json, type: string = MERGE): Promise<ParsedAnswer> {
    return this.send("PATCH", path, { body, type });
  }

  delete(path: string, body?: Json): Promise<ParsedAnswer> {
    return this.send("DELETE", path, body === undefined ? {} : { body });
  }

  /** Creates what must be created; its body. */
  async created(path: string, body: Json): Promise<JsonObject> {
    const answer = await this.create(path, body);
    assertEquals(answer.status, 201, answer.text);
    return answer.body;
  }

  /** Opens a watch; `query` without `watch=1`. */
  async watch(path: string, query = "", accept = "application/json"): Promise<WatchFrames> {
    const stop = new AbortController();
    const init = { headers: { accept }, signal: stop.signal };
    const timeout = query.includes("timeoutSeconds") ? "" : "&timeoutSeconds=30";
    const response = await this.open(`${path}?watch=1${timeout}${query}`, init);
    return new WatchFrames(response, stop);
  }

  open(path: string, init: RequestInit): Promise<Response> {
    const { url, headers = [], client } = this.access;
    const all = new Headers(init.headers);
    for (const [name, value] of headers) all.append(name, value);
    return fetch(url + path, { ...init, headers: all, ...(client ? { client } : {}) });
  }
}

/** The frames of one watch, read one by one. */
export class WatchFrames implements AsyncDisposable {
  #rest = "";
  readonly #reader: ReadableStreamDefaultReader<string> | undefined;

  constructor(readonly response: Response, readonly stop: AbortController) {
    this.#reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** The next frame; undefined at the end. */
  async next(): Promise<{ type: string; object: JsonObject } | undefined> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return JSON.parse(line);
      }
      const { value, done } = await this.#reader?.read() ?? { done: true, value: undefined };
      if (done) return undefined;
      this.#rest += value;
    }
  }

  /** The next frame that is no bookmark, as `TYPE name`. */
  async nextName(): Promise<string> {
    for (;;) {
      const frame = await this.next();
      if (frame === undefined) return "END";
      if (frame.type !== "BOOKMARK") return `${frame.type} ${metadata(frame.object).name}`;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader?.cancel().catch(() => {});
    this.stop.abort();
  }
}

/** A place of its own for one run: a namespace and two custom resources, removed at the end. */
export class Scratch {
  readonly namespace: string;
  readonly group: string;

  constructor(readonly server: Server) {
    const id = crypto.randomUUID().slice(0, 8);
    this.namespace = `conformance-${id}`;
    this.group = `${id.replace(/^\d/, "g")}.example.com`;
  }

  get widgets(): string {
    return `/apis/${this.group}/v1/namespaces/${this.namespace}/widgets`;
  }

  core(plural: string): string {
    return `/api/v1/namespaces/${this.namespace}/${plural}`;
  }

  get leases(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.namespace}/leases`;
  }

  widget(name: string, fields: JsonObject = {}): JsonObject {
    const { metadata = {}, ...rest } = fields as { metadata?: JsonObject };
    return {
      apiVersion: `${this.group}/v1`,
      kind: "Widget",
      metadata: { name, ...metadata },
      spec: { color: "red" },
      ...rest,
    };
  }

  /** Installs a CustomResourceDefinition and waits until it serves. */
  async install(definition: JsonObject): Promise<void> {
    await this.server.created(CRDS, definition);
    const spec = definition.spec as {
      names: { plural: string };
      versions: { name: string; storage: boolean }[];
    };
    const stored = spec.versions.find(({ storage }) => storage)!;
    const path = `/apis/${this.group}/${stored.name}/${spec.names.plural}`;
    await until(async () => (await this.server.get(path)).status === 200);
  }

  async uninstall(plural: string): Promise<void> {
    await this.server.delete(`${CRDS}/${plural}.${this.group}`);
  }

  async open(): Promise<void> {
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: this.namespace } };
    await until(async () => (await this.server.create("/api/v1/namespaces", namespace)).status < 500);
    await this.install(widgetDefinition(this.group));
  }

  async close(): Promise<void> {
    await this.uninstall("widgets");
    await this.server.delete(`/api/v1/namespaces/${this.namespace}`);
  }
}

/** Waits until `condition` holds; fails after a minute. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 60_000;
  while (!await condition()) {
    assert(performance.now() < end, "waited a minute for a condition");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** An object's metadata. */
export function metadata(object: JsonObject): JsonObject {
  return object.metadata as JsonObject;
}

/** The names of a list's items. */
export function names(list: JsonObject): string[] {
  return (list.items as JsonObject[]).map((item) => String(metadata(item).name));
}

/** The fields a Status complains of. */
export function fieldsOf(status: JsonObject): string[] {
  const causes = (status.details as { causes?: { field: string }[] } | undefined)?.causes ?? [];
  return causes.map(({ field }) => field).toSorted();
}

/** A resource with every rule the cases are about. */
function widgetDefinition(group: string): JsonObject {
  const text = { type: "string" };
  const spec = {
    type: "object",
    required: ["color"],
    properties: {
      color: { ...text, enum: ["red", "green"] },
      code: { ...text, pattern: "^[a-z]+$", maxLength: 5 },
      count: { type: "integer", minimum: 1, maximum: 10, default: 3 },
      ratio: { type: "number" },
      at: { ...text, format: "date-time" },
      list: {
        type: "array",
        maxItems: 2,
        items: { type: "object", properties: { a: text, b: { ...text, default: "z" } } },
      },
      map: { type: "object", additionalProperties: { type: "integer" } },
      any: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      port: { "x-kubernetes-int-or-string": true },
      absent: { ...text, nullable: true },
      nested: { type: "object", default: {}, properties: { mode: { ...text, default: "on" } } },
    },
  };
  const status = {
    type: "object",
    default: {},
    properties: { phase: { ...text, default: "New" }, seen: { type: "integer" } },
  };
  const version = {
    name: "v1",
    served: true,
    storage: true,
    subresources: { status: {} },
    selectableFields: [{ jsonPath: ".spec.color" }, { jsonPath: ".status.phase" }],
    additionalPrinterColumns: [
      { name: "Color", type: "string", jsonPath: ".spec.color" },
      { name: "Count", type: "integer", jsonPath: ".spec.count", priority: 1 },
      { name: "Code", type: "string", jsonPath: ".spec.code" },
      { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
    ],
    schema: { openAPIV3Schema: { type: "object", required: ["spec"], properties: { spec, status } } },
  };
  const named = {
    plural: "widgets",
    singular: "widget",
    kind: "Widget",
    shortNames: ["wd"],
    categories: ["toys"],
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `widgets.${group}` },
    spec: { group, scope: "Namespaced", names: named, versions: [version] },
  };
}
