/** A cluster that is reached through the proxy which the environment names. */
import { assertEquals } from "@std/assert";

const SRC = new URL("../src/", import.meta.url).href;

/** Reads, writes and watches; the proxy refuses all three. */
const PROGRAM = `
  const { createKubeClient } = await import("${SRC}kube/client.ts");
  const { fixedConnection } = await import("${SRC}kube/api.ts");
  const api = createKubeClient(fixedConnection({ server: "https://cluster.invalid:6443" }));
  const type = { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true };
  await api.get(type, "a", { namespace: "ns" }).catch(() => {});
  await api.create(type, { metadata: { name: "a", namespace: "ns" } }).catch(() => {});
  await api.watch(type)[Symbol.asyncIterator]().next().catch(() => {});
  Deno.exit(0);
`;

Deno.test("reads, writes and watches go through the proxy that the environment names", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const asked: string[] = [];
  const proxying = (async () => {
    for await (const conn of listener) {
      const buffer = new Uint8Array(4_096);
      const count = await conn.read(buffer);
      asked.push(new TextDecoder().decode(buffer.subarray(0, count ?? 0)).split("\r\n")[0] ?? "");
      await conn.write(new TextEncoder().encode("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"));
      conn.close();
    }
  })();
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", PROGRAM],
    env: {
      HTTPS_PROXY: `http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`,
      NO_PROXY: "",
      no_proxy: "",
    },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  listener.close();
  await proxying;
  assertEquals(success, true, new TextDecoder().decode(stderr));
  const connect = "CONNECT cluster.invalid:6443 HTTP/1.1";
  assertEquals(asked, [connect, connect, connect]);
});
