/** What `kubectl get obs -A` prints of the samples. */
import { assert, assertEquals } from "@std/assert";
import { feedSamples } from "../scripts/support/feed.ts";
import { eventually } from "./support/eventually.ts";
import { startDevWorld } from "./support/dev_world.ts";

const hasKubectl = await new Deno.Command("kubectl", {
  args: ["version", "--client"],
  stdout: "null",
  stderr: "null",
}).output().then(({ success }) => success, () => false);

const NARROW = 160;

Deno.test({
  name: "nine of ten rows of kubectl get obs -A fit 160 characters, and show what, where and since when",
  ignore: !hasKubectl,
  fn: async () => {
    await using world = await startDevWorld({ namespaces: ["shop"] });
    await using app = await world.replica("zen-watcher-0");
    await feedSamples(world.api, { url: app.url, namespace: "zen-system" });
    await eventually("the samples to be stored", () => world.observations().length > 100);
    const { stdout } = await new Deno.Command("kubectl", {
      args: ["--kubeconfig", world.kubeconfig, "get", "obs", "-A"],
    }).output();
    const [header = "", ...rows] = new TextDecoder().decode(stdout).trimEnd().split("\n");
    assertEquals(header.split(/\s+/), [
      ...["NAMESPACE", "NAME", "SEVERITY", "PHASE", "AGE", "RESOURCE", "RULE"],
    ]);
    const fitting = rows.filter((row) => row.trimEnd().length <= NARROW).length;
    assert(fitting / rows.length >= 0.9, `${fitting} of ${rows.length} rows fit`);
  },
});
