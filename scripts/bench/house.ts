import { type BenchServer, openServer } from "./server.ts";

/** The API server, started when it is needed. */
export class House implements AsyncDisposable {
  readonly #kind: BenchServer["kind"];
  #server: BenchServer | undefined;
  description = "";

  constructor(kind: BenchServer["kind"]) {
    this.#kind = kind;
  }

  /** The same until it is closed. */
  async open(): Promise<BenchServer> {
    this.#server ??= await openServer(this.#kind);
    this.description = this.#server.description;
    return this.#server;
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
