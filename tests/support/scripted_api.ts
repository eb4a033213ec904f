/** A KubeApi whose answers the test writes: lists from what it holds, watches fed by hand, faults on demand. */
import type { Json } from "../../src/model/json.ts";
import {
  ApiError,
  type KubeApi,
  type KubeList,
  type KubeObject,
  type ListOptions,
  type PatchOptions,
  type RequestOptions,
  type ResourceType,
  type WatchFrame,
  type WatchRequestOptions,
} from "../../src/kube/api.ts";

/** A patch the program sent. */
export interface SentPatch {
  readonly plural: string;
  readonly name: string;
  readonly patch: Json;
  readonly options: PatchOptions;
}

interface Stream {
  readonly plural: string;
  readonly isSelected: (object: KubeObject) => boolean;
  readonly frames: WatchFrame[];
  wake: () => void;
}

/** Holds objects by plural and name; every change goes to the open watches of that plural. */
export class ScriptedApi implements KubeApi {
  readonly patches: SentPatch[] = [];
  /** Requests that were denied. */
  refusals = 0;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #streams = new Set<Stream>();
  readonly #log: { readonly plural: string; readonly version: number; readonly frame: WatchFrame }[] = [];
  readonly #denied = new Map<string, number>();
  #answerCreate: ((object: KubeObject) => KubeObject) | undefined;
  #version = 0;

  /** Creates or replaces, and tells the watches. */
  put(plural: string, object: KubeObject): KubeObject {
    const stored: KubeObject = {
      ...object,
      metadata: {
        uid: `uid-${object.metadata.name}`,
        ...object.metadata,
        resourceVersion: String(++this.#version),
      },
    };
    const type = this.#of(plural).has(keyOf(object)) ? "MODIFIED" : "ADDED";
    this.#of(plural).set(keyOf(object), stored);
    this.#record(plural, { type, object: stored });
    return stored;
  }

  /** Changes an object, of which the watches hear nothing yet. */
  change(plural: string, key: string, fields: Partial<KubeObject>): void {
    const object = this.#of(plural).get(key);
    if (!object) throw new Error(`no ${plural} "${key}"`);
    this.#of(plural).set(key, { ...object, ...fields });
  }

  remove(plural: string, key: string): void {
    const object = this.#of(plural).get(key);
    if (!object) throw new Error(`no ${plural} "${key}"`);
    this.#of(plural).delete(key);
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    this.#record(plural, { type: "DELETED", object: { ...object, metadata } });
  }

  /** Every request for `plural` fails with this status from now on, and open watches break with it; 0 ends that. */
  deny(plural: string, status: number): void {
    if (status === 0) this.#denied.delete(plural);
    else this.#denied.set(plural, status);
    if (status !== 0) {
      this.#send(plural, { type: "ERROR", object: { code: status, message: `HTTP ${status}` } });
    }
  }

  list<T extends KubeObject>({ plural }: ResourceType, options: ListOptions = {}): Promise<KubeList<T>> {
    const error = this.#fault(plural);
    if (error) return Promise.reject(error);
    const items = [...this.#of(plural).values()].filter(selectedBy(options))
      .map((object) => structuredClone(object) as T);
    return Promise.resolve({ metadata: { resourceVersion: String(this.#version) }, items });
  }

  page<T extends KubeObject>(type: ResourceType, options?: ListOptions): Promise<KubeList<T>> {
    return this.list(type, options);
  }

  get<T extends KubeObject>(
    { plural }: ResourceType,
    name: string,
    options: RequestOptions = {},
  ): Promise<T> {
    const object = this.#of(plural).get(`${options.namespace ?? ""}/${name}`);
    const error = this.#fault(plural) ?? new ApiError(`get "${name}"`, 404, { reason: "NotFound" });
    return object ? Promise.resolve(structuredClone(object) as T) : Promise.reject(error);
  }

  async *watch<T extends KubeObject>(
    { plural }: ResourceType,
    options: WatchRequestOptions = {},
  ): AsyncGenerator<WatchFrame<T>> {
    const error = this.#fault(plural);
    if (error) throw error;
    const since = Number(options.resourceVersion ?? this.#version);
    const isSelected = selectedBy(options);
    const missed = this.#log.filter((entry) =>
      entry.plural === plural && entry.version > since && isSelected(entry.frame.object as KubeObject)
    );
    const stream: Stream = { plural, isSelected, frames: missed.map((entry) => entry.frame), wake: () => {} };
    this.#streams.add(stream);
    options.onOpen?.();
    const { signal } = options;
    const abort = () => stream.wake();
    signal?.addEventListener("abort", abort);
    try {
      while (!signal?.aborted) {
        const frame = stream.frames.shift();
        if (frame) yield structuredClone(frame) as WatchFrame<T>;
        else await new Promise<void>((resolve) => stream.wake = resolve);
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#streams.delete(stream);
    }
  }

  /** Sets the answer to creates. */
  answerCreate(answer: (object: KubeObject) => KubeObject): void {
    this.#answerCreate = answer;
  }

  create<T extends KubeObject>(_type: ResourceType, object: T): Promise<T> {
    return this.#answerCreate ? Promise.resolve(this.#answerCreate(object) as T) : unscripted();
  }

  patch<T extends KubeObject>(
    { plural }: ResourceType,
    name: string,
    patch: Json,
    options: PatchOptions,
  ): Promise<T> {
    const error = this.#fault(plural);
    if (error) return Promise.reject(error);
    this.patches.push({ plural, name, patch, options });
    const before = this.#of(plural).get(`${options.namespace ?? ""}/${name}`);
    if (!before) return Promise.reject(new ApiError(`patch "${name}"`, 404, { reason: "NotFound" }));
    const { metadata = {}, ...rest } = patch as unknown as Partial<KubeObject>;
    const isStale = (metadata.resourceVersion ?? before.metadata.resourceVersion) !==
      before.metadata.resourceVersion;
    if (isStale) return Promise.reject(new ApiError(`patch "${name}"`, 409, { reason: "Conflict" }));
    const parts = Object.entries(rest).map(([key, part]) => [
      key,
      key === "status" || key === "data"
        ? { ...(before[key] as object | undefined), ...part as object }
        : part,
    ]);
    const merged = { ...before, ...Object.fromEntries(parts) };
    return Promise.resolve(
      this.put(plural, { ...merged, metadata: { ...before.metadata, ...metadata } }) as T,
    );
  }

  replace = unscripted;
  delete = unscripted;
  getPath = unscripted;

  #of(plural: string): Map<string, KubeObject> {
    let objects = this.#objects.get(plural);
    if (!objects) this.#objects.set(plural, objects = new Map());
    return objects;
  }

  #fault(plural: string): ApiError | undefined {
    const status = this.#denied.get(plural);
    if (status === undefined) return undefined;
    this.refusals++;
    return new ApiError(`read ${plural}`, status, { message: "as scripted" });
  }

  #record(plural: string, frame: WatchFrame): void {
    this.#log.push({ plural, version: this.#version, frame });
    this.#send(plural, frame);
  }

  #send(plural: string, frame: WatchFrame): void {
    for (const stream of this.#streams) {
      if (stream.plural !== plural) continue;
      if (frame.type !== "ERROR" && !stream.isSelected(frame.object)) continue;
      stream.frames.push(frame);
      stream.wake();
    }
  }
}

/** Understands `metadata.name=x` alone. */
function selectedBy({ fieldSelector = "", namespace }: Pick<ListOptions, "fieldSelector" | "namespace">) {
  const name = /^metadata\.name=(.*)$/.exec(fieldSelector)?.[1];
  return ({ metadata }: KubeObject) =>
    (name === undefined || metadata.name === name) && (!namespace || metadata.namespace === namespace);
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ""}/${metadata.name ?? ""}`;
}

function unscripted(): Promise<never> {
  return Promise.reject(new Error("This request is not part of the script"));
}
