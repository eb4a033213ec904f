/** Random inputs, and independent judgements of their outcomes. */
import fc from "fast-check";
import type { Json, JsonObject } from "../../src/model/json.ts";

/** Any text: every script, controls, escapes, bidi, lone surrogates, and bits that mean something to a cleaner. */
export const wildText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.array(
    fc.constantFrom(
      ...[
        "\u001b[",
        "31m",
        "\u001b]0;",
        "\u0007",
        "\u009b",
        "\u202e",
        "\u200b",
        "\ud83d",
        "\ude00",
        " ",
        "\n",
      ],
      ...[
        "password=",
        "--token ",
        "'",
        '"',
        "\\",
        ":",
        "//",
        "@",
        "Bearer ",
        "a1b2c3d4e5f6g7",
        "-p",
        "mysql ",
      ],
      ...["Authorization: ", "eyJ", "AKIA", ";", ",", "=", "***", "x", "é", "\u{e0041}"],
    ),
  ).map((parts) => parts.join("")),
);

/** Values as `JSON.parse` makes them, some with keys that JavaScript treats specially. */
export const json: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.oneof(
      fc.constant(null),
      fc.boolean(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer(),
      wildText,
    ),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(
      fc.oneof(wildText, fc.constantFrom("__proto__", "constructor", "truncated", "score")),
      tie("value"),
      { maxKeys: 5 },
    ),
  ),
})).value.map((value) => JSON.parse(JSON.stringify(value)));

export const jsonObject: fc.Arbitrary<JsonObject> = fc.dictionary(wildText, json).map((value) =>
  JSON.parse(JSON.stringify(value))
);

/** The value as JSON told in another way: keys turned around, characters escaped, numbers in other forms. */
export function retell(value: Json, seed: number): string {
  if (typeof value === "string") return retellString(value, seed);
  if (typeof value === "number") return retellNumber(value, seed);
  if (value === null || typeof value === "boolean") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item, index) => retell(item, seed + index)).join(" ,\n")}]`;
  const members = Object.keys(value).map((key, index) =>
    `${retellString(key, seed)} : ${retell(value[key] ?? null, seed + index)}`
  );
  return `{${(seed % 2 ? members.reverse() : members).join("\t,")}}`;
}

function retellString(given: string, seed: number): string {
  const units = Array.from({ length: given.length }, (_, index) => given.charCodeAt(index));
  const escape = (unit: number) => `\\u${unit.toString(16).padStart(4, "0")}`;
  const plain = (unit: number) =>
    unit > 0x7f ? escape(unit) : JSON.stringify(String.fromCharCode(unit)).slice(1, -1);
  return `"${units.map((unit, index) => (seed + index) % 3 ? escape(unit) : plain(unit)).join("")}"`;
}

function retellNumber(value: number, seed: number): string {
  const forms = [JSON.stringify(value), value.toExponential(), value.toExponential().replace("e", "E")];
  if (Number.isInteger(value) && value !== 0 && Math.abs(value) < 1e15) {
    forms.push(`${value}.0`, `${value}00e-2`);
  }
  return forms[Math.abs(seed) % forms.length] ?? String(value);
}

export function sameValue(one: Json, other: Json): boolean {
  if (one === null || other === null || typeof one !== "object" || typeof other !== "object") {
    return one === other;
  }
  if (Array.isArray(one) || Array.isArray(other)) {
    return Array.isArray(one) && Array.isArray(other) && one.length === other.length &&
      one.every((item, index) => sameValue(item, other[index] ?? null));
  }
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && sameValue(one[key] ?? null, other[key] ?? null));
}

/** One line, well-formed, without what hides or steers, written another way than `clean`. */
export function isLegal(given: string): boolean {
  return given.isWellFormed() &&
    !/[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/u.test(given) &&
    given === given.trim();
}

export function everyString(value: Json, check: (text: string) => void): void {
  if (typeof value === "string") return check(value);
  if (value === null || typeof value !== "object") return;
  for (const [key, member] of Object.entries(value as JsonObject)) {
    check(key);
    everyString(member, check);
  }
}
