/** The text that a ConfigMap holds under a key. */
import { Buffer } from "node:buffer";
import { gunzipSync } from "node:zlib";
import { errorMessage } from "../model/error_message.ts";
import { at, type Json } from "../model/json.ts";
import type { PayloadError } from "../model/outcome.ts";
import { bytesOf } from "../text/json.ts";
import { shapeOf } from "./read.ts";

/** What a key of a ConfigMap holds, or why that cannot be read. */
export type KeyBytes =
  & { readonly field: "data" | "binaryData" }
  & (
    | { readonly ok: true; readonly bytes: Uint8Array }
    | ({ readonly ok: false } & Pick<PayloadError, "reason" | "message">)
  );

/** The bytes of a key: of `data`, else of `binaryData`, which may be compressed by gzip. */
export function keyBytes(
  object: Json,
  { key, maxBytes }: { readonly key: string; readonly maxBytes: number },
): KeyBytes {
  const text = at(object, "data", key);
  const binary = text === undefined ? at(object, "binaryData", key) : undefined;
  const field = binary === undefined ? "data" : "binaryData";
  const given = binary ?? text;
  if (given === undefined) {
    return { ok: false, field, reason: "missing_field", message: `the ConfigMap has no key "${key}"` };
  }
  if (typeof given !== "string") {
    const message = `expected JSON as a string, received ${shapeOf(given)}`;
    return { ok: false, field, reason: "missing_field", message };
  }
  try {
    const bytes = binary === undefined
      ? bytesOf(given)
      : decompressed(Buffer.from(given, "base64"), maxBytes);
    if (bytes.length <= maxBytes) return { ok: true, field, bytes: bytesOf(bytes) };
  } catch (error) {
    if (!(error instanceof RangeError)) {
      return { ok: false, field, reason: "unreadable", message: `gzip: ${errorMessage(error)}` };
    }
  }
  return { ok: false, field, reason: "too_large", message: `longer than ${maxBytes} bytes` };
}

/** Throws a RangeError where more than `maxBytes` come out. */
function decompressed(bytes: Uint8Array, maxBytes: number): Uint8Array {
  const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return isGzip ? gunzipSync(bytes, { maxOutputLength: maxBytes }) : bytes;
}
