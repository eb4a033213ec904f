/**
 * The listeners and their limits: HTTP/1.1 alone, over node:http and node:https, since Deno.serve
 * speaks cleartext HTTP/2 to anyone, has no limit on heads, idle connections or their number, and asks no client for
 * a certificate.
 */
import { once } from "node:events";
import type { Server as HttpsServer } from "node:https";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server as HttpServer,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { elapsed } from "../kube/retry.ts";
import { errorCode, errorMessage } from "../model/error_message.ts";
import { logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { freePiece } from "./request.ts";
import type { Bindings } from "./app.ts";
import type { Certificates, TlsContext } from "./tls.ts";

/** A listening port. */
export interface Listener {
  readonly port: number;
  /** The address that it listens on. `::` and `0.0.0.0` are every one of this machine. */
  readonly address: string;
  /** An address under which this machine reaches it. */
  readonly url: string;
  /** Stops accepting, ends connections without a request, and resolves once every request is answered. */
  shutdown(): Promise<void>;
  /** Ends every connection, whatever it is doing. */
  closeConnections(): void;
}

/** What a listener serves. */
interface Served {
  fetch(request: Request, env: Bindings): Response | Promise<Response>;
}

export interface ListenOptions {
  /** "": both address families, IPv4 alone where the kernel has no IPv6. */
  readonly address: string;
  /** 0: any free port. */
  readonly port: number;
  /** The setting that names the port, for messages. */
  readonly setting: "WATCHER_PORT" | "METRICS_PORT" | "WATCHER_TLS_PORT" | "--port";
  readonly maxConnections: number;
  /** Longest time for a request to arrive in full. */
  readonly requestTimeoutMs: number;
  readonly metrics?: Pick<Metrics, "connections" | "connectionsRefused">;
  /** Present if the port serves TLS. */
  readonly certificates?: Certificates;
  /** Shorter limits, for tests. */
  readonly limits?: Partial<Limits>;
}

/** Times in milliseconds. */
interface Limits {
  /** From the accept of a connection to the end of its first request's headers. */
  readonly headMs: number;
  /** Between two requests of a connection. */
  readonly idleMs: number;
  /** Longest time for the client to read an answer. */
  readonly answerMs: number;
  /** How often to check that the port accepts connections. */
  readonly checkMs: number;
}

const LIMITS: Limits = { headMs: 10_000, idleMs: 60_000, answerMs: 30_000, checkMs: 5_000 };
/** Twice what Hono, Falco and the API server send at the most. */
const MAX_HEAD_BYTES = 16 * 1024;
/** As many as Envoy takes. node:http drops those after the 1,000th, which may be the one that a proxy added. */
const MAX_HEADERS = 100;
/** How often node:http looks for heads and bodies that take too long. */
const SWEEP_MS = 1_000;
/** How long the rest of a refused body is read before the answer. */
const DISCARD_MS = 1_000;
/** An own connection that is not accepted within so many polls, 2 s in all, shows that the port is dead. */
const ACCEPT_POLLS = 40;
const ACCEPT_POLL_MS = 50;
/** A new connection counts as idle only after so long without a byte, so that a probe's is not the first to be closed. */
const FRESH_MS = 1_000;

/**
 * Where more connections than this ask more often than this, each answer ends its connection: the runtime reads all that ask
 * again before it accepts a new one, so that 400 clients without a token kept a probe waiting for 3 s.
 */
const CROWD_CONNECTIONS = 128, CROWD_REQUESTS_PER_SECOND = 500;
/** Requests are counted for so long. */
const CROWD_MS = 100;

/** The one kind of answer that is written while it is made. */
const EVENT_STREAM = "text/event-stream";

const log = logger("http");

/** Serves `app` on a port. Rejects with the port and its setting where the port cannot be had. */
export async function listen(app: Served, options: ListenOptions): Promise<Listener> {
  const { metrics, setting, certificates } = options;
  const limits = { ...LIMITS, ...options.limits };
  const labels = { port: portLabel(setting) };
  const connections = new Connections({
    max: options.maxConnections,
    answerMs: limits.answerMs,
    onCount: (count) => metrics?.connections.set(labels, count),
    onRefused: () => metrics?.connectionsRefused.inc(labels),
    ...(certificates && { handshakeMs: limits.headMs }),
  });
  metrics?.connections.set(labels, 0);
  metrics?.connectionsRefused.inc(labels, 0);
  const handler = (incoming: IncomingMessage) => (request: Request) =>
    app.fetch(request, { ...bindingsOf(incoming), isTls: certificates !== undefined });
  const server = await createHttpServer((request, response) => {
    if (!connections.request(request.socket, response)) return;
    answer(handler(request), { incoming: request, outgoing: response }).catch((error) => {
      log.error("Request failed", { error });
      response.destroy();
    });
  }, { tls: certificates?.current, serverOptions: serverOptions(options, limits) });
  server.on("connection", (socket: Socket) => connections.accepted(socket));
  const bound = await bind(server, options);
  const reloading = certificates?.reloadOn(server as HttpsServer);
  const guard = new AbortController();
  void guardAccepting(server, {
    ...options,
    ...bound,
    connections,
    checkMs: limits.checkMs,
    signal: guard.signal,
  });
  const sweep = setInterval(() => connections.sweep(), SWEEP_MS);
  return {
    ...bound,
    url: urlOf({ ...bound, secure: certificates !== undefined }),
    async shutdown() {
      guard.abort();
      reloading?.[Symbol.dispose]();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        connections.closeWithoutRequest();
      });
      clearInterval(sweep);
    },
    closeConnections: () => server.closeAllConnections(),
  };
}

/** The value of the label `port`. */
function portLabel(setting: ListenOptions["setting"]): "webhooks" | "metrics" | "tls" {
  if (setting === "METRICS_PORT") return "metrics";
  return setting === "WATCHER_PORT" ? "webhooks" : "tls";
}

function serverOptions({ requestTimeoutMs }: ListenOptions, { headMs, idleMs }: Limits): ServerOptions {
  return {
    headersTimeout: headMs,
    requestTimeout: Math.max(headMs, requestTimeoutMs),
    keepAliveTimeout: idleMs,
    connectionsCheckingInterval: SWEEP_MS,
    maxHeaderSize: MAX_HEAD_BYTES,
  };
}

/**
 * node:https on Deno 2.9.6 keeps the timer of a handshake, and with it all of its connection, when the connection ends: 18,000
 * unfinished handshakes in 6 s took 290 MiB. `Connections` ends late handshakes instead.
 */
const NO_TIMER = -1;

/** node:https is heavy and loaded only where a certificate is given. */
async function createHttpServer(
  onRequest: RequestListener,
  { tls, serverOptions }: { readonly tls: TlsContext | undefined; readonly serverOptions: ServerOptions },
): Promise<HttpServer | HttpsServer> {
  if (!tls) return createServer(serverOptions, onRequest);
  const https = await import("node:https");
  const clientCertificates = { requestCert: tls.ca !== undefined, rejectUnauthorized: false };
  return https.createServer(
    { ...serverOptions, handshakeTimeout: NO_TIMER, ...clientCertificates, ...tls },
    onRequest,
  );
}

interface Bound {
  readonly address: string;
  readonly port: number;
}

async function bind(server: HttpServer | HttpsServer, options: ListenOptions): Promise<Bound> {
  const { address, port, setting } = options;
  try {
    return await listenOn(server, { address: address === "" ? "::" : address, port });
  } catch (error) {
    if (address === "" && lacksIpv6(error)) {
      return await bind(server, { ...options, address: "0.0.0.0" });
    }
    const code = errorCode(error);
    const why = code === "EADDRINUSE" ? "another program uses the port" : errorMessage(error);
    const mend = code === "EADDRNOTAVAIL"
      ? "Set WATCHER_ADDRESS to an address of this machine"
      : `Free the port, or set ${setting} to another one`;
    throw new Error(`Cannot listen on port ${port} (${setting}): ${why}. ${mend}`, { cause: error });
  }
}

/** Tries to listen; the server can be asked again after a failure. */
function listenOn(server: HttpServer | HttpsServer, { address, port }: Bound): Promise<Bound> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      server.off("listening", listening);
      reject(error);
    };
    const listening = () => {
      server.off("error", failed);
      const bound = server.address();
      resolve({ address, port: typeof bound === "object" && bound !== null ? bound.port : port });
    };
    server.once("error", failed);
    server.once("listening", listening);
    try {
      server.listen(port, address);
    } catch (error) { // Deno throws where the kernel has no IPv6
      server.off("error", failed);
      server.off("listening", listening);
      reject(error);
    }
  });
}

function lacksIpv6(error: unknown): boolean {
  return ["EAFNOSUPPORT", "EADDRNOTAVAIL", "EINVAL"].includes(errorCode(error)) ||
    errorMessage(error).includes("family not supported");
}

function urlOf({ address, port, secure }: Bound & { readonly secure: boolean }): string {
  const local = localAddress(address);
  return `${secure ? "https" : "http"}://${local.includes(":") ? `[${local}]` : local}:${port}`;
}

/**
 * Binds the port again when it no longer accepts connections. node:http on Deno 2.9.6 stops accepting without an error
 * once the process has run out of file descriptors. If no connection was accepted between two checks, this connects
 * to the port itself; if that connection is not accepted either, it closes the server and listens again. It ends with `signal`.
 */
async function guardAccepting(
  server: HttpServer | HttpsServer,
  { address, port, connections, checkMs, setting, signal }: ListenOptions & Bound & {
    readonly connections: Connections;
    readonly checkMs: number;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  async function check(): Promise<void> {
    const before = connections.acceptedCount;
    let hasFailed = false;
    // It does not end where the port's queue is full.
    Deno.connect({ hostname: localAddress(address), port }).then((own) => own.close()).catch(() =>
      hasFailed = true
    );
    // Polls are counted, not time: after a pause of the program there are still turns in which it accepts.
    for (let polls = 0; polls < ACCEPT_POLLS && connections.acceptedCount === before; polls++) {
      if (!await elapsed(ACCEPT_POLL_MS, { signal })) return;
      // No descriptor is free for this connection either: the next check tries again.
      if (hasFailed) return;
    }
    if (connections.acceptedCount !== before) return;
    log.error("The port accepts no connections and is opened again", { port, setting });
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await listenOn(server, { address, port });
  }
  let acceptedBefore = -1;
  while (await elapsed(checkMs, { signal })) {
    const accepted = connections.acceptedCount;
    const isIdle = accepted === acceptedBefore;
    acceptedBefore = accepted;
    // Deno 2.6 reports no connections at all, so their number says nothing there.
    if (!isIdle || accepted === 0) continue;
    await check().catch((error) =>
      log.error("The port cannot be opened again yet", { port, setting, error })
    );
  }
}

function bindingsOf({ socket }: IncomingMessage): Bindings {
  const { authorized } = socket as TLSSocket;
  return { peer: socket.remoteAddress ?? "", clientVerified: authorized === true };
}

/** An address under which this machine reaches a port that listens on `address`. */
function localAddress(address: string): string {
  return address === "0.0.0.0" || address === "::" ? "127.0.0.1" : address;
}

/**
 * Answers a request of node:http by a fetch handler: whole, but for a stream of events. Rejects as the handler does. Own code: the listener of
 * @hono/node-server keeps timers and writes to the console when a client hangs up, and costs the same (bench).
 */
async function answer(
  handler: (request: Request) => Response | Promise<Response>,
  { incoming, outgoing }: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse },
): Promise<void> {
  const request = requestOf(incoming);
  const response = request instanceof Request ? await handler(request) : refused(request);
  if (response.body && response.headers.get("content-type") === EVENT_STREAM) {
    return await answerStream(response, response.body, outgoing);
  }
  const body = new Uint8Array(await response.arrayBuffer());
  if (!incoming.complete && !incoming.destroyed) await discardRest(incoming);
  if (outgoing.destroyed) return;
  outgoing.writeHead(response.status, {
    ...Object.fromEntries(response.headers),
    "content-length": body.byteLength,
    // What is left of a refused body would be read as the next request.
    ...(!incoming.complete && { connection: "close" }),
  });
  outgoing.end(body);
}

interface Unreadable {
  readonly status: 400 | 431;
  readonly error: string;
}

const UNREADABLE: Unreadable = {
  status: 400,
  error: "Cannot read the request: its target is no path, or a header is no text",
};
const TOO_MANY_HEADERS: Unreadable = {
  status: 431,
  error: `Cannot read the request: it has more than ${MAX_HEADERS} headers`,
};

/** Answers a request of which there is nothing to give to a handler. */
function refused({ status, error }: Unreadable): Response {
  return Response.json({ error, requestId: crypto.randomUUID() }, { status });
}

/** Writes a stream as it comes, no faster than it is taken, until it ends or the client has gone. */
async function answerStream(
  { status, headers }: Response,
  body: ReadableStream<Uint8Array>,
  outgoing: ServerResponse,
): Promise<void> {
  const reader = body.getReader();
  const gone = new AbortController();
  outgoing.once("close", () => {
    gone.abort();
    reader.cancel().catch(() => {});
  });
  if (outgoing.destroyed) return void await reader.cancel();
  outgoing.writeHead(status, Object.fromEntries(headers));
  for (;;) {
    const { done, value } = await reader.read();
    if (done || outgoing.destroyed) break;
    if (!outgoing.write(value)) await once(outgoing, "drain", { signal: gone.signal }).catch(() => {});
  }
  outgoing.end();
}

/**
 * Reads what is left of a refused body and throws it away, until it ends or a moment has passed: most senders read the answer
 * only when they have sent everything, and lose it where the connection is closed before.
 */
function discardRest(incoming: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, DISCARD_MS);
    const end = () => (clearTimeout(timer), resolve());
    incoming.once("end", end).once("error", end).once("close", end).on("data", freePiece);
  });
}

/** The request, or why there is none. */
function requestOf(incoming: IncomingMessage): Request | Unreadable {
  const { method = "GET", url = "", rawHeaders } = incoming;
  if (rawHeaders.length > 2 * MAX_HEADERS) return TOO_MANY_HEADERS;
  if (!url.startsWith("/") || url.startsWith("//")) return UNREADABLE;
  const hasBody = method !== "GET" && method !== "HEAD";
  try {
    // Not a `Headers`: a request that copies one takes a time that grows with the square of their number, for 700 of them 36 ms.
    const headers: [string, string][] = [];
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      headers.push([rawHeaders[index] ?? "", rawHeaders[index + 1] ?? ""]);
    }
    // Nothing reads the host: routes are paths.
    return new Request(`http://localhost${url}`, {
      method,
      headers,
      ...(hasBody && { body: bodyOf(incoming), duplex: "half" }),
    } as RequestInit);
  } catch {
    return UNREADABLE;
  }
}

/**
 * The body as it arrives. Not `Readable.toWeb()`: on Deno 2.9.6 it goes on enqueueing after the stream was cancelled, and the
 * error that it throws then ends the process. Nor does a reader that stops destroy the socket, on which its answer goes.
 */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  return ReadableStream.from(incoming.iterator({ destroyOnReturn: false }));
}

export interface ConnectionsOptions {
  readonly max: number;
  /** For a client to take an answer that is written. */
  readonly answerMs: number;
  /** On a TLS port, from the accept of a connection to the end of its first request's headers. node:http counts from the end of the handshake. */
  readonly handshakeMs?: number;
  readonly onCount: (count: number) => void;
  /** A connection was closed, or not taken, for want of room. */
  readonly onRefused: () => void;
}

/** What a connection is doing. Times are of the monotonic clock, in milliseconds. */
type State =
  /** No complete head of its first or next request yet; `bytes` had come when its last request ended. */
  | { readonly phase: "idle"; readonly since: number; readonly bytes: number; readonly isFirst: boolean }
  /** A request is being read or answered. */
  | { readonly phase: "request"; readonly since: number; readonly response: ServerResponse; endedAt: number };

interface Connection {
  readonly socket: Socket;
  state: State;
}

/** The connections of one port. */
class Connections {
  readonly #options: ConnectionsOptions;
  /** By both ends' address: node:https hands out another socket for a request than for a connection. */
  readonly #open = new Map<string, Connection>();
  #accepted = 0;
  #closing = false;
  /** Requests since `#countedFrom`. */
  #requests = 0;
  #countedFrom = performance.now();
  #isCrowded = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** Connections accepted since the start. */
  get acceptedCount(): number {
    return this.#accepted;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Takes a new connection. At the limit another one is closed for it, or this one where all others are busy. */
  accepted(socket: Socket): void {
    this.#accepted++;
    if (this.#open.size >= this.#options.max) {
      this.#options.onRefused();
      const victim = this.#victim();
      if (!victim) return void socket.destroy();
      this.#close(victim);
    }
    const key = keyOf(socket);
    const connection = { socket, state: idleState(socket, { isFirst: true }) };
    this.#open.set(key, connection);
    this.#options.onCount(this.#open.size);
    socket.once("close", () => {
      if (this.#open.get(key) !== connection) return;
      this.#open.delete(key);
      this.#options.onCount(this.#open.size);
    });
  }

  /**
   * A request's head came in on a connection. False, and the connection is closed, where the answer to the one before is not taken yet:
   * node:http on Deno 2.9.6 hands out pipelined requests all at once, and their answers would wait in memory without a bound. No
   * sender, probe or scraper pipelines.
   */
  request(socket: Socket, response: ServerResponse): boolean {
    const connection = this.#open.get(keyOf(socket));
    // It is closed. Deno 2.6, on which `task compile` may have to build, reports no connections at all.
    if (!connection) return this.#accepted === 0;
    const { state: before } = connection;
    if (before.phase === "request" && !before.response.writableFinished) {
      this.#options.onRefused();
      this.#close(connection);
      return false;
    }
    if (this.#closing || this.#crowded()) response.setHeader("connection", "close");
    const state: State = { phase: "request", since: performance.now(), response, endedAt: 0 };
    connection.state = state;
    response.once("close", () => {
      if (connection.state !== state) return;
      connection.state = idleState(connection.socket, { isFirst: false });
      if (this.#closing) connection.socket.end();
    });
    return true;
  }

  /** Counts a request; true where there is a crowd. */
  #crowded(): boolean {
    this.#requests++;
    const now = performance.now();
    const ms = now - this.#countedFrom;
    if (ms < CROWD_MS) return this.#isCrowded;
    this.#isCrowded = this.#open.size > CROWD_CONNECTIONS &&
      this.#requests * 1_000 / ms > CROWD_REQUESTS_PER_SECOND;
    this.#requests = 0;
    this.#countedFrom = now;
    return this.#isCrowded;
  }

  /** Closes connections whose client does not take its answer, or does not end its handshake. */
  sweep(): void {
    const now = performance.now();
    const { handshakeMs = Infinity } = this.#options;
    for (const connection of this.#open.values()) {
      const { state } = connection;
      if (state.phase === "idle" && state.isFirst && now - state.since > handshakeMs) this.#close(connection);
      if (state.phase !== "request" || !state.response.writableEnded) continue;
      if (state.endedAt === 0) state.endedAt = now;
      else if (now - state.endedAt > this.#options.answerMs) this.#close(connection);
    }
  }

  /** Closes what has no request under way; the others close with their answers. */
  closeWithoutRequest(): void {
    this.#closing = true;
    for (const connection of [...this.#open.values()]) {
      const { state } = connection;
      if (state.phase === "idle") this.#close(connection);
      else if (!state.response.headersSent) state.response.setHeader("connection", "close");
    }
  }

  /** The longest idle connection, else the oldest without a complete head, else the oldest whose body is incomplete. */
  #victim(): Connection | undefined {
    const ranked = { idle: undefined, head: undefined, body: undefined } as Record<
      "idle" | "head" | "body",
      Connection | undefined
    >;
    for (const connection of this.#open.values()) {
      const kind = kindOf(connection);
      if (kind === undefined) continue;
      const before = ranked[kind];
      if (!before || connection.state.since < before.state.since) ranked[kind] = connection;
    }
    return ranked.idle ?? ranked.head ?? ranked.body;
  }

  #close({ socket }: Connection): void {
    socket.destroy();
    this.#open.delete(keyOf(socket));
    this.#options.onCount(this.#open.size);
  }
}

function kindOf({ socket, state }: Connection): "idle" | "head" | "body" | undefined {
  if (state.phase === "idle") {
    const isFresh = state.isFirst && performance.now() - state.since < FRESH_MS;
    return isFresh || socket.bytesRead > state.bytes ? "head" : "idle";
  }
  return state.response.req.complete ? undefined : "body";
}

function idleState(socket: Socket, { isFirst }: { readonly isFirst: boolean }): State {
  return { phase: "idle", since: performance.now(), bytes: socket.bytesRead, isFirst };
}

function keyOf({ remoteAddress = "", remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
