/** What makes two events the same. */
import { createHash } from "node:crypto";
import type { Json } from "../json.ts";

/** SHA-256 of the text, 64 hex digits. */
export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** SHA-256 over the canonical JSON of what identifies an event, 64 hex digits. */
export function fingerprintOf(identity: Json): string {
  return sha256(canonicalJson(identity));
}

/** The first 128 bits of a fingerprint, 32 hex digits: what the label carries. */
export function shortFingerprint(fingerprint: string): string {
  return fingerprint.slice(0, 32);
}

/** 32 bits of a hash of the text (FNV-1a over UTF-16 units): tells that content changed, proves nothing. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/**
 * One text for one JSON value, whatever its key order, escapes or number forms (after RFC 8785).
 * Keys in UTF-16 order, numbers and strings as ECMAScript prints them, no white space. Nesting is the
 * caller's to bound (`parseJson` and `cleanJson` both stop at 64).
 */
export function canonicalJson(value: Json): string {
  if (typeof value === "string") return quoted(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) {
    let text = "[";
    for (let index = 0; index < value.length; index++) {
      text += (index === 0 ? "" : ",") + canonicalJson(value[index] ?? null);
    }
    return text + "]";
  }
  let text = "{";
  for (const key of Object.keys(value).sort()) {
    const member = value[key];
    if (member === undefined) continue;
    text += (text.length === 1 ? "" : ",") + quoted(key) + ":" + canonicalJson(member);
  }
  return text + "}";
}

/** As `JSON.stringify` does it, which for a short plain text is mostly the cost of calling it. */
function quoted(text: string): string {
  if (text.length > 40) return JSON.stringify(text);
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 32 || code > 126 || code === 34 || code === 92) return JSON.stringify(text);
  }
  return `"${text}"`;
}
