/**
 * HTTP/1.1 over kept-alive sockets, one request at a time on each, for requests with a body.
 * Own code because of what it costs: a create by Deno's fetch takes nearly three times the processor time of one here
 * (docs/performance.md), and over HTTP/2 fetch leaves Nagle's algorithm on (denoland/deno#35581): 44 ms a body.
 */
import type { Endpoint } from "./auth/connection.ts";
import { type Http1Answer, Inbox, readAnswer } from "./http1_answer.ts";

/** A request whose body is sent whole. */
export interface Http1Request {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal: AbortSignal;
  /** The longest body of an answer. */
  readonly maxBodyBytes: number;
}

/** The sockets to one server. */
export interface Http1 {
  /** Sends, reads the whole answer. Throws the signal's reason, `NetworkError`, or what the socket threw. */
  send(request: Http1Request): Promise<Http1Answer>;
  /** Closes the sockets that are not in use; the others when their answer is read. */
  close(): void;
}

interface Socket {
  readonly conn: Deno.Conn;
  readonly inbox: Inbox;
  idleSinceMs: number;
}

/** As many as there are writes at a time. */
const MAX_IDLE_SOCKETS = 32;
/** API servers hang up after 90 s, and load balancers forget connections in silence. */
const MAX_IDLE_MS = 30_000;

/** Connects when needed, to the server of each request, with the certificates of `endpoint`. */
export function createHttp1(endpoint: Endpoint, { maxIdleMs = MAX_IDLE_MS } = {}): Http1 {
  /** The one used last is the last, and the next to be used: the others grow old. */
  const idle: Socket[] = [];
  let closed = false;
  let sweep: ReturnType<typeof setTimeout> | undefined;

  const drop = (socket: Socket) => {
    const at = idle.indexOf(socket);
    if (at >= 0) idle.splice(at, 1);
    closeQuietly(socket.conn);
  };
  const keep = (socket: Socket) => {
    if (closed || idle.length >= MAX_IDLE_SOCKETS) return drop(socket);
    socket.idleSinceMs = Date.now();
    idle.push(socket);
    sweep ??= setTimeout(dropOld, maxIdleMs);
    // Bytes, an end or an error on a socket that was asked nothing: it is of no more use.
    const dropIdle = () => {
      if (idle.includes(socket)) drop(socket);
    };
    socket.inbox.listen().then(dropIdle, dropIdle);
  };
  const dropOld = () => {
    clearTimeout(sweep);
    const limit = Date.now() - maxIdleMs;
    while (idle[0] && idle[0].idleSinceMs <= limit) drop(idle[0]);
    sweep = idle[0] ? setTimeout(dropOld, idle[0].idleSinceMs - limit) : undefined;
  };
  const takeIdle = (): Socket | undefined => {
    // Timers stand still while the machine sleeps.
    if (idle[0] && Date.now() - idle[0].idleSinceMs > maxIdleMs) dropOld();
    return idle.pop();
  };

  return {
    async send(request) {
      const { signal } = request;
      signal.throwIfAborted();
      const url = new URL(request.url);
      const bytes = encode(request, url);
      const socket = takeIdle() ?? await connect(endpoint, { url, signal });
      const abort = () => closeQuietly(socket.conn);
      signal.addEventListener("abort", abort, { once: true });
      try {
        // It may have come between the end of the connecting and the listener above.
        signal.throwIfAborted();
        await writeAll(socket.conn, bytes);
        const answer = await readAnswer(socket.inbox, request.maxBodyBytes);
        signal.throwIfAborted();
        if (answer.keepAlive) keep(socket);
        else drop(socket);
        return answer;
      } catch (error) {
        drop(socket);
        throw signal.aborted ? signal.reason : error;
      } finally {
        signal.removeEventListener("abort", abort);
      }
    },
    close() {
      closed = true;
      clearTimeout(sweep);
      for (const { conn } of idle.splice(0)) closeQuietly(conn);
    },
  };
}

async function connect(
  { caPem, certPem, keyPem }: Endpoint,
  { url, signal }: { readonly url: URL; readonly signal: AbortSignal },
): Promise<Socket> {
  const secure = url.protocol === "https:";
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = Number(url.port || (secure ? 443 : 80));
  const tls = { hostname, port, alpnProtocols: ["http/1.1"], ...(caPem ? { caCerts: [caPem] } : {}) };
  const opening: Promise<Deno.Conn> = !secure
    ? Deno.connect({ hostname, port })
    : certPem !== undefined && keyPem !== undefined
    ? Deno.connectTls({ ...tls, cert: certPem, key: keyPem })
    : Deno.connectTls(tls);
  const conn = await unlessAborted(opening, signal);
  return { conn, inbox: new Inbox(conn), idleSinceMs: 0 };
}

/** `Deno.connectTls` takes no signal: a socket that opens after the abort is closed again. */
async function unlessAborted(opening: Promise<Deno.Conn>, signal: AbortSignal): Promise<Deno.Conn> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => {
    opening.then(closeQuietly, () => {});
    aborted.reject(signal.reason);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([opening, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

const encoder = new TextEncoder();

/** Head and body in one piece: one write, one record, nothing for Nagle's algorithm to hold back. */
function encode({ method, headers, body }: Http1Request, url: URL): Uint8Array<ArrayBuffer> {
  const payload = encoder.encode(body);
  const lines = [`${method} ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`];
  for (const [name, value] of Object.entries(headers)) lines.push(headerLine(name, value));
  lines.push(`content-length: ${payload.length}`, "", "");
  const head = encoder.encode(lines.join("\r\n"));
  const bytes = new Uint8Array(head.length + payload.length);
  bytes.set(head);
  bytes.set(payload, head.length);
  return bytes;
}

/** A line break in a token or a user's name must not become a header of its own. */
function headerLine(name: string, value: string): string {
  if (/[\0\r\n]/.test(value)) throw new TypeError(`the header "${name}" has a line break in it`);
  return `${name}: ${value}`;
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed already.
  }
}
