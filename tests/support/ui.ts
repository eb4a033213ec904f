/** The page's server part against an embedded API server, and requests as the page makes them. */
import { request as httpRequest } from "node:http";
import { assertEquals } from "@std/assert";
import { fixedConnection } from "../../src/kube/api.ts";
import { createKubeClient, type KubeClient } from "../../src/kube/client.ts";
import { backoff } from "../../src/kube/retry.ts";
import { readSettings } from "../../src/settings.ts";
import type { State } from "../../src/ui/protocol.ts";
import { type PageOptions, type PageServer, startPage } from "../../src/ui/mod.ts";
import { eventually } from "./eventually.ts";
import { NOW } from "./readers.ts";

/** An answer as it came. */
export interface PageAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

export interface PageRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** See `openUi()`. */
export class Ui implements AsyncDisposable {
  readonly #api: KubeClient;
  readonly server: PageServer;
  /** Every address that was printed. */
  readonly addresses: readonly string[];
  /** What requests of the page show. */
  secret = "";

  constructor(api: KubeClient, server: PageServer, addresses: readonly string[]) {
    this.#api = api;
    this.server = server;
    this.addresses = addresses;
  }

  /** A request without the secret, as anybody on the machine can send it. */
  ask(path: string, { method = "GET", headers = {}, body }: PageRequest = {}): Promise<PageAnswer> {
    return send({
      port: this.server.port,
      path,
      method,
      headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  }

  /** A request of the page; its answer must have this status. */
  // deno-lint-ignore no-explicit-any
  async call(path: string, asked: PageRequest = {}, status = 200): Promise<any> {
    const headers = { ...asked.headers, "x-zen-secret": this.secret };
    const answer = await this.ask(path, { ...asked, headers });
    assertEquals(answer.status, status, `${path}: ${answer.text.slice(0, 500)}`);
    return JSON.parse(answer.text);
  }

  async state(): Promise<State> {
    return await this.call("/api/state");
  }

  /** Exchanges the token of the last address for the secret. */
  async open(): Promise<void> {
    const token = tokenOf(this.addresses.at(-1) ?? "");
    const { secret } = await this.call("/api/session", { method: "POST", body: { token } });
    this.secret = secret;
  }

  /** Until the first list is in. */
  async listed(): Promise<void> {
    await eventually("the first list", async () => (await this.state()).listed.done);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    this.#api.close();
  }
}

/** Starts the page's server part as a user of an API server, and opens a session. */
export async function openUi(
  server: string,
  { context, token, inNamespace, ...options }: Partial<PageOptions> & {
    readonly context?: string;
    readonly token?: string;
    /** The context's. */
    readonly inNamespace?: string;
    readonly caPem?: string;
  } = {},
): Promise<Ui> {
  const { caPem, ...rest } = options;
  const connection = {
    ...fixedConnection(
      {
        server,
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(caPem !== undefined && { caPem }),
      },
      inNamespace,
    ),
    ...(context !== undefined && { context }),
  };
  const api = createKubeClient(connection);
  const addresses: string[] = [];
  const page = await startPage({
    api,
    connection,
    settings: readSettings(() => undefined),
    port: 0,
    now: () => NOW,
    onAddress: (address) => addresses.push(address),
    tuning: {
      backoff: backoff({ initialMs: 10, maxMs: 50 }),
      deniedBackoff: backoff({ initialMs: 10, maxMs: 50 }),
    },
    ...rest,
  });
  const ui = new Ui(api, page, addresses);
  await ui.open();
  return ui;
}

/** The token in an address. */
export function tokenOf(address: string): string {
  return new URL(address).hash.replace(/^#token=/, "");
}

interface Sent {
  readonly port: number;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** By node:http: fetch sets Host, Origin and Sec-Fetch-Site itself. */
function send({ port, path, method, headers, body }: Sent): Promise<PageAnswer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: "127.0.0.1", port, path, method, headers, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => text += chunk);
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers as Record<string, string>,
            text,
          }));
        response.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}
