/** `deno task dev` on a real API server: what it brings is taken away again by `--clean`. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { allObjects, runDev, startDev } from "../support/dev_session.ts";
import { startEnvtest } from "../support/envtest.ts";
import { transportTo } from "./watching.ts";

Deno.test("deno task dev --clean takes away from a real API server all that dev brought", async () => {
  await using cluster = await startEnvtest();
  using api = transportTo(cluster);
  const before = await allObjects(api);
  const target = ["--kubeconfig", cluster.kubeconfigPath];
  {
    await using session = await startDev([...target, "--yes"]);
    assertMatch(session.screen, /^trivy +1 +24 +10 +3 +18$/m);
    assert((await allObjects(api)).length > before.length + 100);
  }
  const cleaned = await runDev([...target, "--clean"]);
  assertEquals([cleaned.code, cleaned.err], [0, ""], cleaned.out);
  assertEquals(await allObjects(api), before);
});
