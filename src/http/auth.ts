/** How senders of webhooks are authenticated: tokens, certificates and signatures. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { Context } from "hono";
import type { FeedAuth } from "../sources/source.ts";
import { Refusal } from "./problem.ts";

/** Compares two texts in a time that does not depend on where they differ. */
export function sameSecret(given: string, expected: string): boolean {
  return timingSafeEqual(digest(given), digest(expected));
}

/** The bearer token of an `Authorization` header, or undefined. */
export function bearerToken(header: string | undefined): string | undefined {
  const match = header === undefined ? null : /^bearer +(\S{1,4096})$/i.exec(header.trim());
  return match?.[1];
}

/** Computes GitHub's form of a signature over a body while it arrives. */
export function signatureCheck(
  secret: string,
): { update(bytes: Uint8Array): void; matches(header: string | undefined): boolean } {
  const hash = createHmac("sha256", secret);
  return {
    update: (bytes) => void hash.update(bytes),
    matches: (header = "") => sameSecret(header.trim().toLowerCase(), `sha256=${hash.digest("hex")}`),
  };
}

export interface TokenOptions {
  readonly token: string;
  readonly file: string;
  readonly now: () => number;
  readonly readFile?: (path: string) => string;
}

const TOKEN_FILE_INTERVAL_MS = 5_000;

/**
 * The webhook token now in force: fixed, or from a file that is read again every 5 s. A file that became
 * unreadable leaves the last token in force; "" means that no token is configured.
 */
export function webhookToken(
  { token, file, now, readFile = Deno.readTextFileSync }: TokenOptions,
): () => string {
  if (file === "") return () => token;
  let current = readToken(file, readFile);
  let readAt = now();
  if (current === "") throw new Error(`Cannot use webhook token file "${file}": it is empty`);
  return () => {
    if (now() - readAt >= TOKEN_FILE_INTERVAL_MS) {
      readAt = now();
      try {
        current = readFile(file).trim() || current;
      } catch {
        // A Secret volume is swapped by renames: the next reading finds the file again.
      }
    }
    return current;
  };
}

function readToken(file: string, readFile: (path: string) => string): string {
  try {
    return readFile(file).trim();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Cannot read webhook token file "${file}" (WEBHOOK_AUTH_TOKEN_FILE): ${why}`, { cause });
  }
}

function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

interface Shown {
  readonly auth: FeedAuth;
  /** In the path. */
  readonly token: string | undefined;
  /** It showed a certificate of the clients' CA. */
  readonly clientVerified?: boolean;
  readonly options: {
    readonly token: () => string;
    readonly clientCertificates: boolean;
  };
}

/** Checks the token or the certificate that the endpoint requires. True where the sender proved itself by it. */
export function checkProof(c: Context, { clientVerified, auth, token, options }: Shown): boolean {
  const expected = auth.type === "default" ? options.token() : auth.type === "bearer" ? auth.secret() : "";
  if (expected === undefined) throw missingSecret();
  const given = token ?? bearerToken(c.req.header("authorization"));
  const isCertified = clientVerified === true && auth.type === "default";
  if (expected !== "" && !isCertified && (given === undefined || !sameSecret(given, expected))) {
    throw new Refusal(
      401,
      "Cannot take this request: it shows no valid token (bearer, or last path segment)",
      {
        "www-authenticate": "Bearer",
      },
    );
  }
  if (expected === "" && auth.type === "default" && options.clientCertificates && !isCertified) {
    throw new Refusal(
      401,
      "Cannot take this request: it shows no client certificate (TLS port, TLS_CLIENT_CA_FILE), and no token is set",
    );
  }
  if (expected === "" && token !== undefined && auth.type !== "default") {
    throw new Refusal(404, "Cannot find this path");
  }
  return expected !== "" || isCertified;
}

/** The answer while the Secret of an endpoint is missing. */
export function missingSecret(): Refusal {
  return new Refusal(503, "Cannot check this request: the endpoint's Secret is missing or has no key token", {
    "retry-after": "30",
  });
}
