/**
 * A TCP proxy that breaks connections on demand. TLS passes through untouched, so clients keep checking the
 * certificate of the server behind it. `node:net`, because Deno's own sockets cannot send an RST.
 */
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";

export interface FaultProxyTarget {
  readonly hostname: string;
  readonly port: number;
}

export interface ConnectionCounts {
  /** Connections of clients open now. */
  readonly open: number;
  /** Connections ever forwarded. */
  readonly accepted: number;
  /** Connections ever turned away by `refuse()`. */
  readonly refused: number;
  /** Connections ever ended by `reset()`. */
  readonly reset: number;
  /** Bytes passed on, both ways together. */
  readonly bytes: number;
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  silent: boolean;
}

/** See `startFaultProxy()`. */
export class FaultProxy implements AsyncDisposable {
  readonly #listener: Server;
  readonly #target: FaultProxyTarget;
  readonly #pairs = new Set<Pair>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  readonly #counts = { accepted: 0, refused: 0, reset: 0, bytes: 0 };
  /** While frozen: the promise that all connections wait for. */
  #thaw: PromiseWithResolvers<void> | undefined;
  #refusing = false;
  #latencyMs = 0;

  constructor(target: FaultProxyTarget) {
    this.#target = target;
    this.#listener = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  async listen(): Promise<void> {
    this.#listener.listen(0, "127.0.0.1");
    await once(this.#listener, "listening");
  }

  get hostname(): string {
    return "127.0.0.1";
  }

  get port(): number {
    const address = this.#listener.address();
    if (address === null || typeof address === "string") {
      throw new Error("Cannot tell the port: not listening");
    }
    return address.port;
  }

  get counts(): ConnectionCounts {
    return { open: this.#pairs.size, ...this.#counts };
  }

  /** Ends every connection by an RST on both sides; says how many clients it hit. New ones are taken as before. */
  reset(): number {
    const hit = this.#pairs.size;
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
    this.#pairs.clear();
    this.#counts.reset += hit;
    return hit;
  }

  /** Nothing passes either way any more; connections stay open, new ones too are accepted and stay silent: half-open. */
  freeze(): void {
    this.#thaw ??= Promise.withResolvers<void>();
  }

  /** Nothing passes any more on the connections there are, which stay open for ever; new ones work. Says how many. */
  silence(): number {
    for (const pair of this.#pairs) pair.silent = true;
    return this.#pairs.size;
  }

  /** Refuses new connections with an RST; existing ones continue. */
  refuse(): void {
    this.#refusing = true;
  }

  /** Holds everything that passes back by `ms`, both ways. */
  delay(ms: number): void {
    this.#latencyMs = ms;
  }

  /** Ends freezing, refusing and delay. What frozen connections held is passed on. */
  resume(): void {
    this.#refusing = false;
    this.#latencyMs = 0;
    this.#thaw?.resolve();
    this.#thaw = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.resume();
    this.#refusing = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const closed = once(this.#listener, "close");
    this.#listener.close();
    this.reset();
    await closed;
  }

  #accept(client: Socket): void {
    if (this.#refusing) {
      this.#counts.refused++;
      client.on("error", () => {});
      client.resetAndDestroy();
      return;
    }
    this.#counts.accepted++;
    const server = createConnection({
      host: this.#target.hostname,
      port: this.#target.port,
      allowHalfOpen: true,
    });
    const pair = { client, server, silent: false };
    this.#pairs.add(pair);
    this.#forward(pair, { from: client, to: server });
    this.#forward(pair, { from: server, to: client });
    for (const socket of [client, server]) socket.on("close", () => this.#pairs.delete(pair));
  }

  #forward(pair: Pair, { from, to }: { from: Socket; to: Socket }): void {
    let passed = Promise.resolve();
    const inOrder = (pass: () => void) => {
      passed = passed.then(() => this.#hold()).then(() => {
        if (!pair.silent) pass();
      });
    };
    from.setNoDelay(true);
    from.on("data", (chunk: Uint8Array) => {
      // One chunk at a time: a frozen or slow side must not fill this process's memory.
      from.pause();
      inOrder(() => {
        this.#counts.bytes += chunk.length;
        to.write(chunk, () => from.resume());
      });
    });
    from.on("end", () => inOrder(() => to.end()));
    from.on("error", () => to.resetAndDestroy());
    from.on("close", (hadError) => {
      if (!hadError) inOrder(() => to.end());
    });
  }

  async #hold(): Promise<void> {
    if (this.#latencyMs > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          this.#timers.delete(timer);
          resolve();
        }, this.#latencyMs);
        this.#timers.add(timer);
      });
    }
    while (this.#thaw) await this.#thaw.promise;
  }
}

/** Listens on a loopback port and forwards to `target` until told otherwise. */
export async function startFaultProxy(target: FaultProxyTarget): Promise<FaultProxy> {
  const proxy = new FaultProxy(target);
  await proxy.listen();
  return proxy;
}
