/** One text for one JSON value, whatever its key order, escapes or number forms (after RFC 8785). */
import type { Json } from "../json.ts";

/**
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
