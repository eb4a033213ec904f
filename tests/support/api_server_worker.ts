/**
 * The embedded API server in a worker: what it executes is not in the coverage of the thread that asks it. Watches of
 * Observations show nothing, so that a client executes nothing for what it stored itself.
 */
import { startDevCluster } from "../../src/devcluster/mod.ts";

/** What the worker says: where it listens, and, while creates of Observations are held, that one has come. */
export type Said = { readonly url: string } | { readonly held: true };
/** The worker's input. */
export type Told = "hold creates" | "let creates go";

const port = self as unknown as {
  postMessage(said: Said): void;
  onmessage: (event: MessageEvent<Told>) => void;
};
let gate = Promise.resolve();
let open = () => {};
let holding = false;

const cluster = startDevCluster({
  async gate({ verb, path }, { carryOut, signal }) {
    const { pathname } = new URL(path, "http://api");
    if (!pathname.endsWith("/observations")) return await carryOut();
    if (verb === "watch") return new Response(quiet(signal), { status: 200 });
    if (verb === "create" && holding) {
      port.postMessage({ held: true });
      await gate;
    }
    return await carryOut();
  },
});

port.onmessage = ({ data }) => {
  holding = data === "hold creates";
  open();
  if (holding) ({ promise: gate, resolve: open } = Promise.withResolvers<void>());
};
port.postMessage({ url: cluster.url });

/** A watch without events. */
function quiet(signal: AbortSignal): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: (controller) => signal.addEventListener("abort", () => controller.close(), { once: true }),
  });
}
