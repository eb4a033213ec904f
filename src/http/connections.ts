/** The connections of one port: how many there may be, and which one gives way to a new one. */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";

export interface ConnectionsOptions {
  readonly max: number;
  /** For a client to take an answer that is written. */
  readonly answerMs: number;
  readonly onCount: (count: number) => void;
  /** A connection was closed, or not taken, for want of room. */
  readonly onRefused: () => void;
}

/** What a connection is doing. Times are of the monotonic clock, in milliseconds. */
type State =
  /** No complete head of its first or next request yet; `bytes` had come when its last request ended. */
  | { readonly phase: "idle"; readonly since: number; readonly bytes: number }
  /** A request is being read or answered. */
  | { readonly phase: "request"; readonly since: number; readonly response: ServerResponse; endedAt: number };

interface Connection {
  readonly socket: Socket;
  state: State;
}

/** The connections of one port. */
export class Connections {
  readonly #options: ConnectionsOptions;
  /** By both ends' address: node:https hands out another socket for a request than for a connection. */
  readonly #open = new Map<string, Connection>();
  #accepted = 0;
  #closing = false;

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
    const connection = { socket, state: idleState(socket) };
    this.#open.set(key, connection);
    this.#options.onCount(this.#open.size);
    socket.once("close", () => {
      if (this.#open.get(key) !== connection) return;
      this.#open.delete(key);
      this.#options.onCount(this.#open.size);
    });
  }

  /** A request's head came in on a connection. */
  request(socket: Socket, response: ServerResponse): void {
    const connection = this.#open.get(keyOf(socket));
    if (!connection) return;
    if (this.#closing) response.setHeader("connection", "close");
    const state: State = { phase: "request", since: performance.now(), response, endedAt: 0 };
    connection.state = state;
    response.once("close", () => {
      if (connection.state !== state) return;
      connection.state = idleState(connection.socket);
      if (this.#closing) connection.socket.end();
    });
  }

  /** Closes connections whose client does not take its answer. */
  sweep(): void {
    const now = performance.now();
    for (const connection of this.#open.values()) {
      const { state } = connection;
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
  if (state.phase === "idle") return socket.bytesRead > state.bytes ? "head" : "idle";
  return state.response.req.complete ? undefined : "body";
}

function idleState(socket: Socket): State {
  return { phase: "idle", since: performance.now(), bytes: socket.bytesRead };
}

function keyOf({ remoteAddress = "", remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
