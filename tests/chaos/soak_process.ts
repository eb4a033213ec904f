/**
 * The program as `main.ts` wires it, in a process that can be asked for its heap after a full collection: it is run
 * with `--v8-flags=--expose-gc`, and answers each line of its input with the bytes in use after `gc()`.
 */
import { startApp } from "../../src/app.ts";
import { fixedConnection } from "../../src/kube/api.ts";
import { environment, readSettings } from "../../src/settings.ts";

const [server = ""] = Deno.args;
const app = await startApp({ settings: readSettings(environment), connection: fixedConnection({ server }) });
say({ url: app.url });
for await (const _line of Deno.stdin.readable) {
  // Twice: what finalizers let go of is only collected the next time.
  collect();
  await new Promise((resolve) => setTimeout(resolve, 50));
  collect();
  const { heapUsed, external, rss } = Deno.memoryUsage();
  say({ heapUsed, external, rss });
}
await app.stop();

function say(value: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`soak ${JSON.stringify(value)}\n`));
}

function collect(): void {
  const gc: unknown = Reflect.get(globalThis, "gc");
  if (typeof gc !== "function") throw new Error("Cannot collect garbage: run with --v8-flags=--expose-gc");
  gc();
}
