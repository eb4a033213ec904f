import { assertEquals, assertNotEquals } from "@std/assert";
import { canonicalJson, fingerprintOf, shortFingerprint } from "./fingerprint.ts";

Deno.test("canonicalJson() prints the example of RFC 8785 as the RFC does", () => {
  const text = `{
    "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\"\\/",
    "literals": [null, true, false]
  }`;
  assertEquals(
    canonicalJson(JSON.parse(text)),
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
      '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  );
});

Deno.test("canonicalJson() sorts keys by UTF-16 units and leaves out what is undefined", () => {
  const value = { "\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\u{1f600}": 5, "\u0080": 6, "ö": 7 };
  assertEquals(Object.keys(JSON.parse(canonicalJson(value))).length, 7);
  assertEquals(canonicalJson(value), '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}');
  assertEquals(canonicalJson([NaN, -0, Infinity]), "[null,0,null]");
  assertEquals(canonicalJson(JSON.parse('{"__proto__":{"a":1}}')), '{"__proto__":{"a":1}}');
});

Deno.test("fingerprintOf() is the SHA-256 of the canonical JSON", () => {
  // printf '{"a":1,"b":[true]}' | sha256sum
  const expected = "90eddf64b875cb5fa184bb12503cc730";
  const fingerprint = fingerprintOf({ b: [true], a: 1.0 });
  assertEquals(fingerprint.length, 64);
  assertEquals(fingerprint, fingerprintOf(JSON.parse('{"\\u0061":1e0,"b":[true]}')));
  assertEquals(shortFingerprint(fingerprint), expected);
  assertNotEquals(fingerprint, fingerprintOf({ a: "1", b: [true] }));
});
