import { assertEquals, assertRejects } from "@std/assert";
import { cached, inClusterConnection } from "./connection.ts";

/** A service account's files, and how often each was read. */
function files(contents: Record<string, string>) {
  const reads: Record<string, number> = {};
  const readFile = (path: string): Promise<string> => {
    reads[path] = (reads[path] ?? 0) + 1;
    const text = contents[path];
    return text === undefined
      ? Promise.reject(new Deno.errors.NotFound("no such file"))
      : Promise.resolve(text);
  };
  return { contents, reads, readFile };
}

function ticking(now = 0) {
  return { now: () => now, monotonic: () => now, tick: (ms: number) => void (now += ms) };
}

const MOUNT = { "/sa/token": "one\n", "/sa/ca.crt": "CA", "/sa/namespace": "zen-system\n" };

Deno.test("inClusterConnection() reads token, CA and namespace, and brackets an IPv6 address", async () => {
  const { readFile } = files({ ...MOUNT });
  const connection = await inClusterConnection({ host: "fd00::1", port: "443", folder: "/sa", readFile });
  assertEquals(connection.namespace, "zen-system");
  assertEquals(await connection.endpoint(), {
    server: "https://[fd00::1]:443",
    authorization: "Bearer one",
    caPem: "CA",
  });
});

Deno.test("inClusterConnection() reads the token again after a minute, and at once when it was refused", async () => {
  const { contents, reads, readFile } = files({ ...MOUNT });
  const clock = ticking();
  const connection = await inClusterConnection({
    host: "10.0.0.1",
    port: "443",
    folder: "/sa",
    readFile,
    clock,
  });
  const token = async (fresh = false) => (await connection.endpoint({ fresh })).authorization;
  contents["/sa/token"] = "two";
  clock.tick(59_000);
  assertEquals([await token(), await token(true), await token()], ["Bearer one", "Bearer two", "Bearer two"]);
  contents["/sa/token"] = "three";
  clock.tick(500);
  assertEquals(await token(true), "Bearer two", "a burst of 401 is one read");
  clock.tick(60_000);
  assertEquals(await token(), "Bearer three");
  assertEquals(reads["/sa/token"], 3);
});

Deno.test("inClusterConnection() says which file is missing or empty", async () => {
  const options = { host: "10.0.0.1", port: "443", folder: "/sa" };
  const none = files({});
  await assertRejects(
    () => inClusterConnection({ ...options, readFile: none.readFile }),
    Error,
    'Cannot read "/sa/token": no such file',
  );
  const empty = files({ ...MOUNT, "/sa/token": " \n" });
  await assertRejects(
    () => inClusterConnection({ ...options, readFile: empty.readFile }),
    Error,
    "it is empty",
  );
});

Deno.test("cached() keeps the last value when a routine read fails, and rejects when a fresh one does", async () => {
  const clock = ticking();
  let fails = false;
  const get = cached({
    clock,
    maxAgeMs: 10,
    freshAgeMs: 1,
    read: () => fails ? Promise.reject(new Error("half written")) : Promise.resolve("value"),
  });
  assertEquals(await get(), "value");
  fails = true;
  clock.tick(20);
  assertEquals(await get(), "value");
  await assertRejects(() => get({ fresh: true }), Error, "half written");
});

Deno.test("cached() reads once for concurrent calls", async () => {
  let reads = 0;
  const read = () => Promise.resolve(++reads);
  const get = cached({ clock: ticking(), maxAgeMs: 10, freshAgeMs: 1, read });
  assertEquals(await Promise.all([get(), get({ fresh: true }), get()]), [1, 1, 1]);
});
