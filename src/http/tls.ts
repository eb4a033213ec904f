/**
 * The same app over TLS, with client certificates where a CA is given. Through node:https, since Deno.serve asks no client
 * for a certificate and cannot change its own while it runs.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { getRequestListener } from "@hono/node-server";
import { createServer } from "node:https";
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { logger } from "../telemetry/logging.ts";
import type { HttpApp } from "./app.ts";
import type { Listener } from "./server.ts";

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** CA of client certificates: a verified one stands for the token. "": none are asked for. */
  readonly clientCaFile: string;
}

export interface TlsOptions extends TlsFiles {
  readonly address: string;
  readonly port: number;
  /** How often the files are looked at. */
  readonly reloadMs?: number;
  readonly readFile?: (path: string) => Promise<string>;
}

const RELOAD_MS = 10_000;

const log = logger("http");

/** Serves `app` over TLS. Certificate, key and CA are read again when they change; unreadable ones leave the last in force. */
export async function listenTls(app: HttpApp, options: TlsOptions): Promise<Listener> {
  const { address, port, clientCaFile, reloadMs = RELOAD_MS, readFile = Deno.readTextFile } = options;
  const read = async () => ({
    cert: await readFile(options.certFile),
    key: await readFile(options.keyFile),
    ...(clientCaFile === "" ? {} : { ca: await readFile(clientCaFile) }),
  });
  let current = checked(await read());
  const listener = getRequestListener(
    (request, { incoming }) => app.fetch(request, bindingsOf(incoming as IncomingMessage)),
    { overrideGlobalObjects: false },
  );
  const server = createServer(
    { ...current, requestCert: clientCaFile !== "", rejectUnauthorized: false },
    (request, response) => void listener(request, response),
  );
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, () => resolve());
  });
  const timer = setInterval(async () => {
    try {
      const next = await read();
      if (JSON.stringify(next) === JSON.stringify(current)) return;
      server.setSecureContext(checked(next));
      current = next;
      log.info("Certificate reloaded", { file: options.certFile });
    } catch (error) {
      log.error("Certificate could not be reloaded, the last one stays in force", {
        file: options.certFile,
        error,
      });
    }
  }, reloadMs);
  const bound = server.address();
  const boundPort = typeof bound === "object" && bound !== null ? bound.port : port;
  return {
    port: boundPort,
    url: `https://${address === "0.0.0.0" ? "127.0.0.1" : address}:${boundPort}`,
    async shutdown() {
      clearInterval(timer);
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      });
    },
  };
}

/** Throws where certificate and key do not belong together: the server itself would only refuse every connection. */
function checked<T extends { readonly cert: string; readonly key: string }>(files: T): T {
  const certificate = new X509Certificate(files.cert);
  if (!certificate.checkPrivateKey(createPrivateKey(files.key))) {
    throw new Error("Cannot use the certificate: the key is not its own");
  }
  return files;
}

function bindingsOf({ socket }: IncomingMessage): { peer: string; clientVerified: boolean } {
  const { authorized } = socket as TLSSocket;
  return { peer: socket.remoteAddress ?? "", clientVerified: authorized === true };
}
