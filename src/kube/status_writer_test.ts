import { assert, assertEquals } from "@std/assert";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import { at, isObject, type Json } from "../model/json.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { ApiError, type KubeApi, type KubeObject, type ResourceType } from "./api.ts";
import { statusTarget, StatusWriter } from "./status_writer.ts";

const THINGS: ResourceType = {
  group: "zen.kube-zen.io",
  version: "v1alpha1",
  plural: "things",
  kind: "Thing",
  namespaced: true,
};

interface World {
  readonly time: VirtualTime;
  readonly api: ScriptedApi;
  /** Names in the order of their writes, refused ones too, with the time in seconds. */
  readonly writes: string[];
  readonly logged: string[];
  put(name: string, uid?: string): KubeObject;
  /** What is stored as the count. */
  count(name: string): Promise<Json | undefined>;
  /** A writer that counts, running until the end of the test. */
  writer(): StatusWriter<number>;
}

/** Plays a test in virtual time; `answer` throws what the API server refuses a write with. */
async function play(
  test: (world: World) => Promise<void>,
  answer: (name: string) => void = () => {},
): Promise<void> {
  const time = new VirtualTime();
  const scripted = new ScriptedApi();
  const writes: string[] = [];
  const logged: string[] = [];
  const api: KubeApi = Object.assign(Object.create(scripted), {
    list: scripted.list.bind(scripted),
    get: scripted.get.bind(scripted),
    patch(...args: Parameters<KubeApi["patch"]>) {
      writes.push(`${args[1]} at ${time.monotonic() / 1_000}`);
      answer(args[1]);
      return scripted.patch(...args);
    },
  });
  configureLogging({
    level: "WARN",
    format: "json",
    write: (line) => logged.push(line),
    now: () => time.now(),
  });
  const stop = new AbortController();
  const running: Promise<void>[] = [];
  try {
    await test({
      time,
      api: scripted,
      writes,
      logged,
      put: (name, uid = `uid-${name}`) =>
        scripted.put("things", { metadata: { name, namespace: "zen-system", uid } }),
      async count(name) {
        const { status } = await scripted.get<KubeObject>(THINGS, name, { namespace: "zen-system" });
        return isObject(status) ? at(status, "count") : undefined;
      },
      writer() {
        const writer = new StatusWriter<number>({
          api,
          clock: time,
          sleep: time.sleep,
          minIntervalMs: 30_000,
          perSecond: 2,
          flushMs: 1_000,
          merge: (older, newer) => older + newer,
          statusOf({ status }, added) {
            const count = isObject(status) && typeof status.count === "number" ? status.count : 0;
            return added === 0 ? undefined : { count: count + added };
          },
        });
        running.push(writer.run(stop.signal));
        return writer;
      },
    });
  } finally {
    stop.abort();
    await Promise.all(running);
  }
}

Deno.test("StatusWriter adds the changes since its last write, once in 30 s for each object", async () => {
  await play(async ({ time, writes, put, count, writer }) => {
    const thing = statusTarget(THINGS, put("a"));
    const counting = writer();
    for (let second = 0; second < 95; second++) {
      counting.add(thing, 1);
      await time.advance(1_000);
    }
    assertEquals(writes.map((write) => Math.round(Number(write.split(" at ")[1]))), [0, 30, 60, 90]);
    await time.advance(30_000);
    assertEquals(await count("a"), 95);
    const before = writes.length;
    await time.advance(600_000);
    assertEquals(writes.length, before, "nothing is left to add");
  });
});

Deno.test("StatusWriter writes two objects a second, the oldest change first", async () => {
  await play(async ({ time, writes, put, writer }) => {
    const counting = writer();
    for (let index = 0; index < 40; index++) {
      counting.add(statusTarget(THINGS, put(`t-${index}`)), 1);
      counting.add(statusTarget(THINGS, put("t-0")), 1);
    }
    await time.advance(10_000);
    const names = writes.map((write) => write.split(" ")[0]);
    assertEquals(names, Array.from({ length: names.length }, (_, index) => `t-${index}`));
    assert(names.length >= 19 && names.length <= 22, `${names.length} writes in ten seconds`);
  });
});

Deno.test("StatusWriters of two replicas add up, and lose nothing if both read the same version", async () => {
  await play(async ({ time, put, count, writer }) => {
    const thing = statusTarget(THINGS, put("a"));
    const [first, second] = [writer(), writer()];
    for (let round = 0; round < 10; round++) {
      first.add(thing, 1);
      second.add(thing, 10);
      await time.advance(30_000);
    }
    await time.advance(30_000);
    assertEquals(await count("a"), 110);
  });
});

Deno.test("StatusWriter waits for its turn where another replica wrote", async () => {
  await play(async ({ time, writes, put, writer }) => {
    const thing = statusTarget(THINGS, put("a"));
    const counting = writer();
    counting.add(thing, 1);
    counting.sawWrite(thing);
    await time.advance(29_000);
    assertEquals(writes, []);
    await time.advance(2_000);
    assertEquals(writes.length, 1);
  });
});

Deno.test("StatusWriter does not write another object of the same name, and forgets deleted objects", async () => {
  await play(async ({ time, api, writes, put, count, writer }) => {
    const counting = writer();
    const old = statusTarget(THINGS, put("a", "first"));
    counting.add(old, 5);
    put("a", "second");
    const gone = statusTarget(THINGS, put("b"));
    counting.add(gone, 5);
    api.remove("things", "zen-system/b");
    await time.advance(10_000);
    assertEquals([await count("a"), writes], [undefined, []]);
    counting.add(old, 7);
    counting.add(statusTarget(THINGS, put("a", "second")), 1);
    await time.advance(60_000);
    assertEquals(await count("a"), 1);
    const before = writes.length;
    counting.add(statusTarget(THINGS, put("a", "second")), 1);
    counting.forget(old);
    await time.advance(60_000);
    assertEquals(writes.length, before);
  });
});

Deno.test("StatusWriter tries a refused object less and less often, delays no other, and logs it rarely", async () => {
  let allowed = false;
  const answer = (name: string) => {
    if (name === "refused" && !allowed) throw new ApiError("patch", 403, { reason: "Forbidden" });
  };
  await play(async ({ time, writes, logged, put, count, writer }) => {
    const counting = writer();
    counting.add(statusTarget(THINGS, put("refused")), 3);
    counting.add(statusTarget(THINGS, put("other")), 1);
    await time.advance(10_000);
    assertEquals(await count("other"), 1);
    await time.advance(3_600_000);
    assert(writes.length >= 40 && writes.length <= 400, `${writes.length} tries in an hour`);
    assert(logged.length >= 1 && logged.length <= 13, `${logged.length} lines in an hour`);
    allowed = true;
    await time.advance(90_000);
    assertEquals(await count("refused"), 3);
  }, answer);
});

Deno.test("StatusWriter waits as long as the API server asks, and tries again after faults", async () => {
  let answers = [new ApiError("patch", 429, {}, 20_000), new ApiError("patch", 500, {})];
  const answer = () => {
    const [error, ...rest] = answers;
    answers = rest;
    if (error) throw error;
  };
  await play(async ({ time, writes, put, count, writer }) => {
    writer().add(statusTarget(THINGS, put("a")), 1);
    await time.advance(19_000);
    assertEquals(writes.length, 1);
    await time.advance(30_000);
    assertEquals([writes.length, await count("a")], [3, 1]);
  }, answer);
});

Deno.test("StatusWriter accepts changes of a limited number of objects, and logs those it refuses", async () => {
  await play(async ({ writes, put, logged, writer }) => {
    const counting = writer();
    for (let index = 0; index < 6_000; index++) counting.add(statusTarget(THINGS, put(`t-${index}`)), 1);
    await settled();
    assert(logged.some((line) => line.includes("too many objects wait")));
    assert(writes.length < 10);
  });
});

Deno.test("StatusWriter writes the waiting changes when it ends", async () => {
  const counts: (Json | undefined)[] = [];
  let read = () => Promise.resolve<Json | undefined>(undefined);
  await play(async ({ time, put, count, writer }) => {
    const thing = statusTarget(THINGS, put("a"));
    const counting = writer();
    counting.add(thing, 1);
    await time.advance(1_000);
    counting.add(thing, 1);
    read = () => count("a");
    counts.push(await read());
  });
  counts.push(await read());
  assertEquals(counts, [1, 2]);
});
