/** A webhook that keeps the audit events which an API server sends. */
import type { JsonObject } from "../../src/model/json.ts";

export interface AuditSink extends AsyncDisposable {
  readonly url: string;
  /** In the order in which they came. */
  readonly events: readonly JsonObject[];
}

export function startAuditSink(): AuditSink {
  const events: JsonObject[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { items } = await request.json();
    events.push(...items);
    return new Response();
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    events,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
