import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ScriptedApi } from "../../tests/support/scripted_api.ts";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import type { KubeObject, ResourceType } from "../kube/api.ts";
import { SECRET_LABEL, WebhookSecrets } from "./secrets.ts";
import type { NamedSecret } from "../sources/source.ts";

/** Counts what is read, with the time in seconds. */
class CountingApi extends ScriptedApi {
  readonly reads: { readonly name: string; readonly at: number }[] = [];
  readonly time: VirtualTime;

  constructor(time: VirtualTime) {
    super();
    this.time = time;
  }

  override get<T extends KubeObject>(...args: Parameters<ScriptedApi["get"]>): Promise<T> {
    this.reads.push({ name: args[1], at: this.time.monotonic() / 1_000 });
    return super.get<T>(...args as [ResourceType, string]);
  }
}

async function play(
  test: (
    it: { time: VirtualTime; api: CountingApi; secrets: WebhookSecrets; changes(): number },
  ) => Promise<void>,
): Promise<void> {
  const time = new VirtualTime();
  const api = new CountingApi(time);
  let changes = 0;
  const secrets = new WebhookSecrets({ api, clock: time, sleep: time.sleep, onChange: () => changes++ });
  const stop = new AbortController();
  const running = secrets.run(stop.signal);
  try {
    await test({ time, api, secrets, changes: () => changes });
  } finally {
    stop.abort();
    await running;
  }
}

const ref = (name: string, use: NamedSecret["use"] = "bearer"): NamedSecret => ({
  namespace: "zen-system",
  name,
  use,
});

function secret(name: string, token: string): KubeObject {
  const labels = { [SECRET_LABEL]: "true" };
  return { metadata: { name, namespace: "zen-system", labels }, data: { token: btoa(token) } };
}

Deno.test("WebhookSecrets reads any number of new Secrets at once, and calls onChange once", async () => {
  await play(async ({ api, secrets, changes }) => {
    api.put("secrets", secret("s-7", "token-number-7"));
    secrets.want(Array.from({ length: 500 }, (_, index) => ref(`s-${index}`)));
    assertEquals(secrets.state(ref("s-7")), {});
    await settled();
    while (api.reads.length < 500) await settled();
    await settled();
    assertEquals(secrets.state(ref("s-7")).token, "token-number-7");
    assertEquals(secrets.state(ref("s-8")).problem?.message, 'there is no Secret "zen-system/s-8"');
    assertEquals(changes(), 1);
  });
});

Deno.test("WebhookSecrets reads 500 absent Secrets at most 2.5 times a second, each of them in turn", async () => {
  await play(async ({ time, api, secrets, changes }) => {
    const names = Array.from({ length: 500 }, (_, index) => `s-${index}`);
    secrets.want(names.map((name) => ref(name)));
    while (api.reads.length < 500) await settled();
    await time.advance(600_000);
    api.reads.length = 0;
    await time.advance(600_000);
    const perSecond = api.reads.length / 600;
    assert(perSecond <= 2.6 && perSecond >= 2.2, `${perSecond} reads a second`);
    for (const name of names) {
      const times = api.reads.filter((read) => read.name === name).map(({ at }) => at);
      assert(times.length >= 2, `${name} was read ${times.length} times in ten minutes`);
    }
    assertEquals(changes(), 1);
  });
});

Deno.test("WebhookSecrets finds a Secret created just after its Ingester within seconds, and a new token within 30 s", async () => {
  await play(async ({ time, api, secrets, changes }) => {
    secrets.want([ref("hook")]);
    await time.advance(1_000);
    api.put("secrets", secret("hook", "first-token"));
    await time.advance(2_000);
    assertEquals(secrets.state(ref("hook")).token, "first-token");
    await time.advance(3_600_000);
    const known = changes();
    api.put("secrets", secret("hook", "second-token"));
    await time.advance(31_000);
    assertEquals([secrets.state(ref("hook")).token, changes()], ["second-token", known + 1]);
    api.deny("secrets", 503);
    await time.advance(60_000);
    assertEquals(
      secrets.state(ref("hook")).token,
      "second-token",
      "a read that fails changes nothing",
    );
  });
});

Deno.test("WebhookSecrets forgets Secrets that are no longer wanted, and is idle without any", async () => {
  await play(async ({ time, api, secrets }) => {
    api.put("secrets", secret("hook", "first-token"));
    secrets.want([ref("hook")]);
    await time.advance(10_000);
    secrets.want([]);
    assertEquals(secrets.state(ref("hook")), {});
    api.reads.length = 0;
    await time.advance(600_000);
    assertEquals(api.reads, []);
    secrets.want([ref("hook")]);
    await settled();
    assertEquals(secrets.state(ref("hook")).token, "first-token");
  });
});

Deno.test("WebhookSecrets keeps the last good token while the Secret holds none that a sender can show", async () => {
  await play(async ({ time, api, secrets }) => {
    api.put("secrets", secret("hook", " first-token\n"));
    secrets.want([ref("hook")]);
    await time.advance(1_000);
    assertEquals(secrets.state(ref("hook")), { token: "first-token" });
    const unusable: readonly (readonly [string, string, string])[] = [
      ["two words", "SecretInvalid", "it has white space inside"],
      ["line-number-1\nline-number-2\n", "SecretInvalid", "it has white space inside"],
      ["x".repeat(4_097), "SecretInvalid", "it is longer than 4096 characters"],
      ["short", "SecretInvalid", "it is shorter than 8 characters"],
      [" \n", "SecretMissing", "has no key token"],
    ];
    for (const [token, reason, why] of unusable) {
      api.put("secrets", secret("hook", token));
      await time.advance(31_000);
      const state = secrets.state(ref("hook"));
      assertEquals([state.token, state.problem?.reason], ["first-token", reason], why);
      assertStringIncludes(state.problem?.message ?? "", `${why}; its last good token stays in force`);
    }
    api.deny("secrets", 403);
    await time.advance(31_000);
    assertEquals(secrets.state(ref("hook")).token, "first-token");
    api.deny("secrets", 0);
    api.put("secrets", secret("hook", "second-token"));
    await time.advance(31_000);
    assertEquals(secrets.state(ref("hook")), { token: "second-token" });
  });
});

Deno.test("WebhookSecrets ends a token with its Secret or its label, and takes no bad token as the first", async () => {
  await play(async ({ time, api, secrets }) => {
    api.put("secrets", secret("hook", "two words"));
    secrets.want([ref("hook"), ref("hook", "hmac")]);
    await time.advance(1_000);
    assertEquals(secrets.state(ref("hook")), {
      problem: {
        reason: "SecretInvalid",
        message: 'the token of Secret "zen-system/hook" cannot be used: it has white space inside',
      },
    });
    assertEquals(
      secrets.state(ref("hook", "hmac")),
      { token: "two words" },
      "the key of a signature is not shown",
    );
    const good = secret("hook", "good-token");
    const unlabelled = { ...good, metadata: { ...good.metadata, labels: {} } };
    for (
      const end of [() => api.put("secrets", unlabelled), () => api.remove("secrets", "zen-system/hook")]
    ) {
      api.put("secrets", good);
      await time.advance(31_000);
      assertEquals(secrets.state(ref("hook")), { token: "good-token" });
      end();
      await time.advance(31_000);
      assertEquals(secrets.state(ref("hook")).token, undefined);
    }
  });
});
