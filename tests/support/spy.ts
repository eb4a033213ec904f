/** A proxy that passes every request on to an API server without TLS, and keeps the requests. */

export interface SpiedRequest {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  /** By `performance.now()`. */
  readonly at: number;
}

export interface Spy extends AsyncDisposable {
  readonly url: string;
  readonly requests: SpiedRequest[];
}

/** Keeps the requests of `method`. Answers carry the time of `now` as their Date. */
export function spyOn(server: string, method: string, now: () => number = Date.now): Spy {
  const requests: SpiedRequest[] = [];
  const stop = new AbortController();
  const listener = Deno.serve(
    {
      hostname: "127.0.0.1",
      port: 0,
      signal: stop.signal,
      onListen() {},
      // Watches that end with this proxy.
      onError: () => new Response(null, { status: 502 }),
    },
    async (request) => {
      const { pathname, search } = new URL(request.url);
      const body = request.body === null ? null : await request.text();
      if (request.method === method) {
        requests.push({ method, path: pathname, body: body ?? "", at: performance.now() });
      }
      const response = await fetch(server + pathname + search, {
        method: request.method,
        headers: request.headers,
        body,
        signal: stop.signal,
      });
      const headers = new Headers(response.headers);
      headers.set("date", new Date(now()).toUTCString());
      return new Response(response.body, { status: response.status, headers });
    },
  );
  return {
    url: `http://127.0.0.1:${listener.addr.port}`,
    requests,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await listener.finished;
    },
  };
}
