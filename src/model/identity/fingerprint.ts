/** What makes two events the same. */
import { createHash } from "node:crypto";
import { canonicalJson } from "./canonical_json.ts";
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
