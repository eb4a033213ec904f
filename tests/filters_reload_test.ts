/** Filters reloaded under load, on the embedded API server. */
import { assert } from "@std/assert";
import { createNamespaces, installCrds } from "../scripts/support/feed.ts";
import { startDevCluster } from "../src/devcluster/mod.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { startTestApp } from "./support/app.ts";
import { playFilterStory } from "./support/filter_story.ts";

Deno.test("during fifty edits of the filters under 200 alerts/s the last valid one is always active", async () => {
  await using server = startDevCluster();
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await installCrds(api);
  await createNamespaces(api, ["zen-system"]);
  await using app = await startTestApp({ server: server.url });
  const { loadedMs, alerts } = await playFilterStory(app, api);
  assert(loadedMs.length === 25 && alerts > 0);
});
