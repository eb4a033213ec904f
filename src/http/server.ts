import type { Hono } from "hono";
import { logger } from "../telemetry/logging.ts";
import type { Bindings } from "./app.ts";

/** A listening port. */
export interface Listener {
  readonly port: number;
  readonly url: string;
  /** Stops accepting and waits for the requests under way. */
  shutdown(): Promise<void>;
}

export interface ListenOptions {
  readonly address: string;
  readonly port: number;
}

const log = logger("http");

/** Serves `app` on a port; 0 takes a free one. */
export function listen(
  app: Hono<{ Bindings: Bindings }> | Hono,
  { address, port }: ListenOptions,
): Listener {
  const fetch = app.fetch as (request: Request, env: Bindings) => Response | Promise<Response>;
  const server = Deno.serve(
    {
      hostname: address,
      port,
      onListen: () => {},
      onError: (error) => {
        log.error("Request failed", { error });
        return new Response('{"error":"Cannot answer this request: an internal error, see the log"}', {
          status: 500,
          headers: { "content-type": "application/json" },
        });
      },
    },
    (request, info) =>
      fetch(request, { peer: info.remoteAddr.transport === "tcp" ? info.remoteAddr.hostname : "" }),
  );
  const bound = server.addr;
  const host = address === "0.0.0.0" || address === "::" ? "127.0.0.1" : address;
  return {
    port: bound.port,
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound.port}`,
    shutdown: () => server.shutdown(),
  };
}
