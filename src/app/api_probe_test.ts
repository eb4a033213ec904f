import { NO_BEAT } from "../model/beat.ts";
import { assertEquals } from "@std/assert";
import { settled, VirtualTime } from "../../tests/support/virtual_time.ts";
import { ApiError, type KubeApi } from "../kube/api.ts";
import { Health } from "../health.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { createOwnUser, probeApi } from "./api_probe.ts";

const REVIEW = { metadata: {}, status: { userInfo: { username: "system:serviceaccount:zen-system:me" } } };

Deno.test("who we are is asked once, and again only where the answer was none", async () => {
  const time = new VirtualTime();
  let asked = 0;
  let denied = true;
  const api = {
    create() {
      asked++;
      return denied ? Promise.reject(new ApiError("create", 403, {})) : Promise.resolve(REVIEW);
    },
  } as unknown as KubeApi;
  const stop = new AbortController();
  const user = createOwnUser(api, { sleep: time.sleep });
  const running = user.run(stop.signal);
  await settled();
  assertEquals(asked, 0, "the readiness probe asks first");
  await user.ask(stop.signal);
  await time.advance(1_000);
  assertEquals([asked > 1, user.name], [true, ""]);
  denied = false;
  await time.advance(30_000);
  const before = asked;
  await time.advance(300_000);
  assertEquals([asked, user.name], [before, "system:serviceaccount:zen-system:me"]);
  stop.abort();
  await running;
});

Deno.test("requests are not welcome before it was asked who we are", async () => {
  const answer = Promise.withResolvers<void>();
  const api = { list: () => Promise.resolve({ metadata: {}, items: [] }) } as unknown as KubeApi;
  const health = new Health({ monotonic: () => 0 }, createMetrics());
  const stop = new AbortController();
  const probing = probeApi(api, health, {
    signal: stop.signal,
    beat: NO_BEAT,
    onReached: () => answer.promise,
  });
  await settled();
  assertEquals(health.ready().checks["api"], false);
  answer.resolve();
  await settled();
  assertEquals(health.ready().checks["api"], true);
  stop.abort();
  await probing;
});
