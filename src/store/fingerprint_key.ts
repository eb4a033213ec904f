/**
 * Fingerprints as numbers: 53 bits, so that maps of tens of thousands of findings cost about 55 bytes an entry. Two
 * findings that share a key by chance are one in 10^7 at 50,000.
 */
import { nameFingerprint } from "../model/identity/names.ts";

// Senders can choose fingerprints by trial. Without a secret they could aim many at one bucket of a map.
const SECRET = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
const LOW_BITS = 21;

/** The key of a fingerprint, by its first two words. */
export function keyOfWords(high: number, low: number): number {
  return ((high ^ SECRET) >>> 0) * 2 ** LOW_BITS + (low >>> (32 - LOW_BITS));
}

/** The key of a fingerprint in hex. */
export function fingerprintKey(fingerprint: string): number {
  const [high = 0, low = 0] = hexWords(fingerprint, 2);
  return keyOfWords(high, low);
}

/** The part of a fingerprint that names hold, in four words; the last is filled up with zeros. */
export function nameWords(fingerprint: string): number[] {
  return hexWords(nameFingerprint(fingerprint).padEnd(32, "0"), 4);
}

/** The first `count` × 32 bits of a text of hex digits. */
export function hexWords(hex: string, count: number): number[] {
  const words: number[] = [];
  for (let word = 0; word < count; word++) {
    words.push(Number.parseInt(hex.slice(word * 8, word * 8 + 8), 16) >>> 0);
  }
  return words;
}
