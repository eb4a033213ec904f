import { createHash, createHmac, timingSafeEqual } from "node:crypto";

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
