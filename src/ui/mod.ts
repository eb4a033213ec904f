/** The page: its server part on the loopback address, with the user's own rights. */
import { listen } from "../http/server.ts";
import type { Connection } from "../kube/api.ts";
import type { WatchTuning } from "../kube/watch.ts";
import type { ReadApi } from "../read/pages.ts";
import type { SettingValues } from "../text/setting.ts";
import { createPageApp } from "./app.ts";
import { LiveView } from "./live.ts";
import { pageFiles } from "./page_files.ts";
import { PageSession } from "./session.ts";
import { Streams } from "./stream.ts";

/** A browser opens six connections to a host; a few tabs and streams fit. */
const MAX_CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 30_000;

export interface PageOptions {
  readonly api: ReadApi;
  readonly connection: Connection;
  readonly settings: SettingValues;
  /** `-n`: what belongs to this namespace alone, wherever it is stored. */
  readonly namespace?: string | undefined;
  /** 0: any free one. */
  readonly port: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Takes an address to open: at the start, and when one was refused and none that was printed is good any more. */
  readonly onAddress: (address: string) => void;
  /** Times that tests shorten. */
  readonly tuning?: WatchTuning;
}

/** The running page. */
export interface PageServer extends AsyncDisposable {
  readonly port: number;
  /** An address to open, good once and for five minutes from now: the last one where it is still good, else a new one. */
  address(): string;
}

/** Listens on 127.0.0.1 and begins to list. Rejects where the port cannot be had. */
export async function startPage(options: PageOptions): Promise<PageServer> {
  const { api, connection, settings, namespace, port, now = () => Date.now(), onAddress, tuning } = options;
  const { server } = await connection.endpoint();
  const stop = new AbortController();
  const live = new LiveView({
    api,
    settings,
    context: connection.context ?? connection.description,
    server,
    namespace,
    fallbackNamespace: connection.namespace ?? "default",
    now,
    ...(tuning && { tuning }),
  });
  const session = new PageSession();
  let bound = port;
  const address = () => `http://127.0.0.1:${bound}/#token=${session.token()}`;
  const app = createPageApp({
    api,
    live,
    session,
    streams: new Streams({ changed: live.changed, state: () => live.state(), signal: stop.signal }),
    files: pageFiles(),
    contextName: connection.context,
    port: () => bound,
    now,
    // Other users of the machine can send wrong tokens: they must not end, or repeat, an address that waits to be opened.
    onRefusedToken() {
      if (!session.hasGoodToken) onAddress(address());
    },
  });
  const listener = await listen(app, {
    address: "127.0.0.1",
    port,
    setting: "--port",
    maxConnections: MAX_CONNECTIONS,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
  });
  bound = listener.port;
  const running = live.run(stop.signal);
  onAddress(address());
  return {
    port: bound,
    address,
    async [Symbol.asyncDispose]() {
      stop.abort();
      listener.closeConnections();
      await Promise.all([listener.shutdown(), running]);
    },
  };
}
