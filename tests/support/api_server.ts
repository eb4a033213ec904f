/** A scripted API server on a free loopback port, for tests of single answers. The development cluster is the other one. */

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  /** Parsed where there was one. */
  readonly body: unknown;
  /** The client's port: which connection it came on. */
  readonly port: number;
}

export interface ApiServer extends AsyncDisposable {
  readonly url: string;
  /** Every request so far. */
  readonly seen: Seen[];
}

export type Responder = (seen: Seen, index: number) => Response | Promise<Response>;

/** Serves `answer` until disposed of, over TLS (and HTTP/2) with a certificate. Open streams are cut then. */
export function apiServer(answer: Responder, tls: { cert?: string; key?: string } = {}): ApiServer {
  const seen: Seen[] = [];
  const stop = new AbortController();
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", signal: stop.signal, onListen() {}, ...tls } as Deno.ServeTcpOptions,
    async (request, { remoteAddr }) => {
      const url = new URL(request.url);
      const text = await request.text();
      const one: Seen = {
        method: request.method,
        path: url.pathname,
        query: url.searchParams,
        headers: new Headers(request.headers),
        body: text === "" ? undefined : JSON.parse(text),
        port: remoteAddr.port,
      };
      return await answer(one, seen.push(one) - 1);
    },
  );
  return {
    url: `${tls.cert ? "https" : "http"}://127.0.0.1:${server.addr.port}`,
    seen,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await server.finished;
    },
  };
}

/** A `v1 Status` answer. */
export function status(code: number, fields: Record<string, unknown> = {}, headers?: HeadersInit): Response {
  const body = { kind: "Status", apiVersion: "v1", status: "Failure", code, ...fields };
  return Response.json(body, { status: code, ...(headers ? { headers } : {}) });
}

/** The stream of a watch, written to by the test. */
export interface ScriptedWatch {
  readonly response: Response;
  send(type: string, object: unknown): void;
  /** Bytes as they are, to be garbled with. */
  raw(text: string | Uint8Array): void;
  end(): void;
  /** Resolves when the client has left. */
  readonly left: Promise<void>;
}

/** A watch's answer. Its headers go out with the first bytes, or with `open` at once. */
export function watchStream(): ScriptedWatch {
  const encoder = new TextEncoder();
  const left = Promise.withResolvers<void>();
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start(started) {
      controller = started;
    },
    cancel: () => left.resolve(),
  });
  const raw = (text: string | Uint8Array) =>
    controller.enqueue(typeof text === "string" ? encoder.encode(text) : text);
  return {
    response: new Response(body, { headers: { "content-type": "application/json" } }),
    send: (type, object) => raw(`${JSON.stringify({ type, object })}\n`),
    raw,
    end: () => controller.close(),
    left: left.promise,
  };
}
