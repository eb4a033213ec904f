/** Texts made to cost a reader of JSON more than their length. */

/** Makes a text of about `bytes` bytes. */
export type HostileText = (bytes: number) => Uint8Array;

const encoder = new TextEncoder();

function repeat(unit: string, bytes: number): string {
  return unit.repeat(Math.max(1, Math.floor(bytes / encoder.encode(unit).length)));
}

function text(make: (bytes: number) => string): HostileText {
  return (bytes) => encoder.encode(make(bytes));
}

/** `head`, as many of `item` as fit, and `tail`. */
function list(head: string, item: (index: number) => string, tail: string): HostileText {
  return text((bytes) => {
    const items: string[] = [];
    for (let length = head.length + tail.length; length < bytes;) {
      const next = item(items.length);
      items.push(next);
      length += next.length + 1;
    }
    return head + items.join(",") + tail;
  });
}

const ALERT = '{"rule":"R","priority":"Notice","output":"o","output_fields":{';
const EVENT = '{"auditID":"a","stage":"ResponseComplete","verb":"get","user":{"username":"eve"}';

/** An alert whose `output_fields` are filled. */
const alert = (field: (index: number) => string) => list(ALERT, field, "}}");
/** A list of audit events, the first of which has one more member. */
const event = (make: HostileText): HostileText => (bytes) => {
  const head = encoder.encode(`{"kind":"EventList","items":[${EVENT},"requestObject":`);
  const tail = encoder.encode(`},${EVENT}}]}`);
  const inner = make(bytes - head.length - tail.length);
  const whole = new Uint8Array(head.length + inner.length + tail.length);
  whole.set(head);
  whole.set(inner, head.length);
  whole.set(tail, head.length + inner.length);
  return whole;
};
const nested: HostileText = text((bytes) => "[".repeat(bytes / 2) + "]".repeat(bytes / 2));
const numbers: HostileText = text((bytes) => `[${repeat("1,", bytes - 3)}1]`);

/** By what they are made of. */
export const HOSTILE_TEXTS: Readonly<Record<string, HostileText>> = {
  "lines of x": text((bytes) => repeat("x\n", bytes)),
  "braces": text((bytes) => repeat("{", bytes)),
  "brackets": text((bytes) => repeat("[", bytes)),
  "a brace on each line": text((bytes) => repeat("{\n", bytes)),
  "quotes": text((bytes) => repeat('"', bytes)),
  "a quote on each line": text((bytes) => repeat('"\n', bytes)),
  "commas": text((bytes) => repeat(",", bytes)),
  "digits": text((bytes) => repeat("1", bytes)),
  "nested arrays": nested,
  "deep alternation": text((bytes) => repeat('[{"a":', bytes)),
  "nested __proto__": text((bytes) => repeat('{"__proto__":', bytes)),
  "one string": text((bytes) => `"${repeat("a", bytes - 2)}"`),
  "escapes": text((bytes) => `"${repeat("\\u0041\\n", bytes - 2)}"`),
  "lone surrogates": text((bytes) => `"${repeat("\\ud800", bytes - 2)}"`),
  "invalid UTF-8": (bytes) => new Uint8Array(bytes).fill(0xff).fill(34, 0, 1).fill(34, bytes - 1),
  "byte order marks": text((bytes) => repeat("\ufeff", bytes)),
  "NULs": (bytes) => new Uint8Array(bytes),
  "white space": text((bytes) => repeat(" ", bytes)),
  "empty lines": text((bytes) => repeat("\n", bytes)),
  "numbers": numbers,
  "empty objects": list("[[", () => "{}", "]]"),
  "different keys in one object": list("{", (index) => `"k${index}":${index}`, "}"),
  "different keys in many objects": list("[[", (index) => keysOf(index), "]]"),
  "different keys in many items": list(
    "[",
    (index) => `[${keysOf(2 * index)},${keysOf(2 * index + 1)}]`,
    "]",
  ),
  "one key again and again": list("{", () => '"a":1', "}"),
  "lines that are not JSON between documents": text((bytes) => repeat('{"a":1}\nx\n', bytes)),
  "a bracket too many after each document": text((bytes) => repeat('{"a":1}\n}', bytes)),
  "documents": text((bytes) => repeat("{}\n", bytes)),
  "a list without an end": text((bytes) => `[${repeat('{"a":[1,2]},\n', bytes)}`),
  "UTF-16": (bytes) => new Uint8Array(new Uint16Array(bytes / 2).fill(0x78).fill(0xfeff, 0, 1).buffer),
  "an alert with a long output": text((bytes) =>
    `{"rule":"R","output":"${repeat("password=x ", bytes - 24)}"}`
  ),
  "an alert of invisible text": text((bytes) => `{"rule":"R","output":"${repeat("\u200b", bytes - 24)}"}`),
  "an alert with many fields": text((bytes) => {
    const value = `token=${"v".repeat(Math.max(1, bytes / 9_500 - 24))}`;
    return `${ALERT}${Array.from({ length: 9_500 }, (_, index) => `"f${index}":"${value}"`).join(",")}}}`;
  }),
  "an alert with nested fields": alert((index) => `"f${index}":${keysOf(0, 40)}`),
  "an alert with many tags": text((bytes) => `{"rule":"R","tags":[${repeat('"T1548",', bytes)}"x"]}`),
  "audit events, one of them nested": event(nested),
  "audit events, one of them of numbers": event(numbers),
  "audit events, one of them of different keys": event(list("[", (index) => keysOf(index), "]")),
};

function keysOf(index: number, count = 100): string {
  const keys = Array.from({ length: count }, (_, key) => `"k${(index * count + key).toString(36)}":1`);
  return `{${keys.join(",")}}`;
}
