/** An API server that answers at once and keeps nothing: what remains is the program's own time. */
import {
  ApiError,
  type KubeApi,
  type KubeList,
  type KubeObject,
  type ResourceType,
  type WatchFrame,
  type WatchRequestOptions,
} from "../../src/kube/api.ts";

export function createInstantApi(): KubeApi {
  let version = 0;
  let frames: WatchFrame[] = [];
  let wake = () => {};
  const never = (): Promise<never> => {
    return Promise.reject(new ApiError("ask", 404, { message: "nothing is kept here" }));
  };
  return {
    list: <T extends KubeObject>(): Promise<KubeList<T>> =>
      Promise.resolve({ metadata: { resourceVersion: String(version) }, items: [] }),
    get: never,
    create<T extends KubeObject>(_type: ResourceType, object: T): Promise<T> {
      const metadata = {
        ...object.metadata,
        uid: `uid-${++version}`,
        resourceVersion: String(version),
        generation: 1,
        creationTimestamp: new Date().toISOString(),
      };
      const stored = { ...object, metadata };
      frames.push({ type: "ADDED", object: stored });
      wake();
      return Promise.resolve(stored);
    },
    replace: never,
    patch: never,
    delete: () => Promise.resolve(),
    async *watch<T extends KubeObject>(_type: ResourceType, { signal, onOpen }: WatchRequestOptions = {}) {
      onOpen?.();
      signal?.addEventListener("abort", () => wake(), { once: true });
      while (!signal?.aborted) {
        const ready = frames;
        frames = [];
        for (const frame of ready) yield frame as WatchFrame<T>;
        if (frames.length === 0) await new Promise<void>((resolve) => wake = resolve);
      }
    },
    getPath: () => Promise.resolve({}),
  };
}
