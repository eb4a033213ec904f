/** A process started with `--inspect`, asked over the inspector's protocol: collect garbage, heap in use, CPU profile. */
import { isObject, type JsonObject } from "../../src/model/json.ts";

export interface Inspector extends Disposable {
  /** Bytes in use after a full collection. */
  heapAfterGc(): Promise<number>;
  /** A CPU profile of the time `work` takes, as `.cpuprofile` files hold it. */
  profileDuring(work: () => Promise<unknown>): Promise<JsonObject>;
  /** A heap snapshot, as `.heapsnapshot` files hold it. */
  snapshot(): Promise<string>;
}

/** The address in the line a process says at its start. */
export function inspectorUrl(lines: readonly string[]): string {
  const line = lines.find((each) => each.includes("Debugger listening on ws://"));
  const url = line?.slice(line.indexOf("ws://")).trim();
  if (url === undefined) {
    throw new Error("Cannot find the inspector: the process did not say where it listens");
  }
  return url;
}

export async function openInspector(url: string): Promise<Inspector> {
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`Cannot open the inspector "${url}"`));
  });
  const waiting = new Map<number, (answer: JsonObject) => void>();
  const chunks: string[] = [];
  let last = 0;
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.method === "HeapProfiler.addHeapSnapshotChunk") chunks.push(message.params.chunk);
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
  };
  const call = async (method: string, params: JsonObject = {}): Promise<JsonObject> => {
    const id = ++last;
    const answered = new Promise<JsonObject>((resolve) => waiting.set(id, resolve));
    socket.send(JSON.stringify({ id, method, params }));
    const { result, error } = await answered;
    if (isObject(error)) throw new Error(`Cannot call "${method}": ${error.message}`);
    return isObject(result) ? result : {};
  };
  return {
    async heapAfterGc() {
      // What finalizers hold goes with the second one.
      await call("HeapProfiler.collectGarbage");
      await call("HeapProfiler.collectGarbage");
      return Number((await call("Runtime.getHeapUsage")).usedSize);
    },
    async profileDuring(work) {
      await call("Profiler.enable");
      await call("Profiler.setSamplingInterval", { interval: 500 });
      await call("Profiler.start");
      await work();
      const { profile } = await call("Profiler.stop");
      return isObject(profile) ? profile : {};
    },
    async snapshot() {
      chunks.length = 0;
      await call("HeapProfiler.takeHeapSnapshot", { reportProgress: false });
      return chunks.join("");
    },
    [Symbol.dispose]: () => socket.close(),
  };
}
