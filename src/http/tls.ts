/** The certificate, key and client CA of the TLS port, read again when they change. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { Server as HttpsServer } from "node:https";
import { errorMessage } from "../model/error_message.ts";
import { reread } from "./reread.ts";

/** The files of the TLS port; they are read again when they change. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** CA of client certificates: a verified one replaces the token. "": the port asks for none. */
  readonly clientCaFile: string;
}

export interface TlsOptions extends TlsFiles {
  /** How often the files are read. */
  readonly everyMs?: number;
  readonly readFile?: (path: string) => Promise<string>;
}

/** The options of a TLS context of node:https. */
export interface TlsContext {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
}

/** The files in force. */
export interface Certificates {
  readonly current: TlsContext;
  /** Puts changed files into force on `server` until disposed. Unreadable or empty ones leave the last ones in force. */
  reloadOn(server: Pick<HttpsServer, "setSecureContext">): Disposable;
}

/** Reads the files. Rejects where one cannot be read or used. */
export async function readCertificates({ everyMs, ...options }: TlsOptions): Promise<Certificates> {
  let current = await readChecked(options);
  return {
    get current() {
      return current;
    },
    reloadOn: (server) =>
      reread({
        file: options.certFile,
        first: current,
        read: () => readChecked(options),
        put(next) {
          server.setSecureContext(next);
          current = next;
        },
        ...(everyMs !== undefined && { everyMs }),
      }),
  };
}

async function readChecked(options: TlsOptions): Promise<TlsContext> {
  const { certFile, keyFile, clientCaFile, readFile = Deno.readTextFile } = options;
  const cert = await readFile(certFile);
  const key = await readFile(keyFile);
  const certificate = parsed(certFile, () => new X509Certificate(cert));
  const privateKey = parsed(keyFile, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Error(`Cannot use certificate "${certFile}": the key in "${keyFile}" is not its own`);
  }
  if (clientCaFile === "") return { cert, key };
  const ca = await readFile(clientCaFile);
  for (const authority of certificatesIn(clientCaFile, ca)) {
    parsed(clientCaFile, () => new X509Certificate(authority));
  }
  return { cert, key, ca };
}

/** Each certificate of a bundle. Throws where there is none: with an empty CA the port would ask for no client certificate. */
function certificatesIn(file: string, pem: string): string[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw new Error(`Cannot use client CA "${file}": it holds no PEM certificate`);
  return found;
}

function parsed<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new Error(`Cannot use "${file}" for TLS: ${errorMessage(error)}`, { cause: error });
  }
}
