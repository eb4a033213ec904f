import { assertEquals } from "@std/assert";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import { ApiError, type KubeApi, type KubeObject } from "./api.ts";
import { OBSERVATION_FILTERS } from "../filters/observation_filters.ts";
import { createReadyStatusWriter, type ReadyCondition } from "./ready_status.ts";

const LOADED: ReadyCondition = {
  status: "True",
  reason: "Loaded",
  message: "In force",
  observedGeneration: 1,
};

function filter(name: string): KubeObject {
  return { metadata: { name, namespace: "zen-system", generation: 1 } };
}

/** A running writer; `answer` throws what the API server refuses with. */
async function writing(
  answer: (name: string) => void,
  test: (it: {
    time: VirtualTime;
    asked: string[];
    written: string[];
    ready: ReturnType<typeof createReadyStatusWriter>;
    lead(leads: boolean): void;
  }) => Promise<void>,
): Promise<void> {
  const time = new VirtualTime();
  const asked: string[] = [];
  const written: string[] = [];
  let leads = true;
  const api = {
    patch(_type: unknown, name: string) {
      asked.push(name);
      answer(name);
      written.push(name);
      return Promise.resolve(filter(name));
    },
  } as unknown as KubeApi;
  const ready = createReadyStatusWriter({
    api,
    type: OBSERVATION_FILTERS,
    clock: time,
    isLeader: () => leads,
    sleep: time.sleep,
  });
  const stop = new AbortController();
  const running = ready.run(stop.signal);
  try {
    await test({ time, asked, written, ready, lead: (now) => leads = now });
  } finally {
    stop.abort();
    await running;
  }
}

Deno.test("a condition that is refused is written once the right is there, without another decision", async () => {
  let allowed = false;
  const answer = (name: string) => {
    if (name === "refused" && !allowed) throw new ApiError("patch", 403, { reason: "Forbidden" });
  };
  await writing(answer, async ({ time, asked, written, ready }) => {
    ready.write(filter("refused"), LOADED);
    ready.write(filter("other"), LOADED);
    await time.advance(600_000);
    assertEquals(written, ["other"]);
    const tries = asked.length - 1;
    assertEquals(tries > 5 && tries < 60, true, `${tries} tries in ten minutes`);
    allowed = true;
    await time.advance(120_000);
    assertEquals(written, ["other", "refused"]);
    const before = asked.length;
    await time.advance(600_000);
    assertEquals(asked.length, before);
  });
});

Deno.test("an object the API server falls over holds up no other, and is left to who leads", async () => {
  const answer = (name: string) => {
    if (name === "broken") throw new ApiError("patch", 500, {});
  };
  await writing(answer, async ({ time, asked, written, ready, lead }) => {
    ready.write(filter("broken"), LOADED);
    ready.write(filter("other"), LOADED);
    await time.advance(60_000);
    assertEquals(written, ["other"]);
    lead(false);
    await time.advance(120_000);
    const before = asked.length;
    await time.advance(600_000);
    assertEquals(asked.length, before);
  });
});

Deno.test("what is decided anew is written at once, also where the last one was refused", async () => {
  let refused = true;
  const answer = () => {
    if (refused) throw new ApiError("patch", 403, { reason: "Forbidden" });
  };
  await writing(answer, async ({ time, written, ready }) => {
    ready.write(filter("a"), LOADED);
    await time.advance(300_000);
    refused = false;
    ready.write(filter("a"), { ...LOADED, observedGeneration: 2 });
    await settled();
    assertEquals(written, ["a"]);
  });
});

Deno.test("refused conditions wait in bounded number, and those of deleted objects not at all", async () => {
  const answer = () => {
    throw new ApiError("patch", 403, { reason: "Forbidden" });
  };
  await writing(answer, async ({ time, asked, ready }) => {
    ready.write(filter("gone"), LOADED);
    await settled();
    ready.forget(filter("gone"));
    for (let index = 0; index < 200; index++) ready.write(filter(`f-${index}`), LOADED);
    await time.advance(10_000);
    assertEquals(asked.filter((name) => name === "gone").length, 1);
    assertEquals(new Set(asked).size, 201, "each is tried");
    asked.length = 0;
    await time.advance(300_000);
    assertEquals(new Set(asked).size, 50);
  });
});
