/** The stories of ObservationExceptions on the embedded API server, with one replica. */
import { startDevWorld } from "./support/dev_world.ts";
import { EXCEPTION_STORIES } from "./support/exception_stories.ts";

for (const { name, play } of EXCEPTION_STORIES) {
  Deno.test(name, async () => {
    await using world = await startDevWorld({ namespaces: ["shop"] });
    await play({
      api: world.api,
      namespace: "shop",
      async start(env = {}, clock) {
        const app = await world.replica("one", { env, ...(clock && { clock }) });
        return { apps: [app], [Symbol.asyncDispose]: () => app[Symbol.asyncDispose]() };
      },
    });
  });
}
