/** The heap of a process that was started with `--inspect`. */

/** Bytes in use after a full collection. `lines` hold the one in which the process printed the inspector's address. */
export async function heapAfterGc(lines: readonly string[]): Promise<number> {
  const url = /Debugger listening on (ws:\S+)/.exec(lines.join("\n"))?.[1];
  if (url === undefined) throw new Error("Cannot open the inspector: the process did not print its address");
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`Cannot open the inspector "${url}"`));
  });
  const call = async (method: string): Promise<{ readonly usedSize?: number }> => {
    const answered = new Promise<MessageEvent>((resolve) => socket.onmessage = resolve);
    socket.send(JSON.stringify({ id: 1, method }));
    return JSON.parse((await answered).data).result;
  };
  // What finalizers hold goes with the second collection.
  await call("HeapProfiler.collectGarbage");
  await call("HeapProfiler.collectGarbage");
  const { usedSize = NaN } = await call("Runtime.getHeapUsage");
  socket.close();
  return usedSize;
}
