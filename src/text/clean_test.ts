import { assert, assertEquals } from "@std/assert";
import {
  clean,
  cleanLines,
  cleanObject,
  cleanText,
  cleanUrl,
  cut,
  cutBytes,
  escapeJson,
  fitsJson,
  jsonBytes,
  truncateObject,
  utf8Length,
} from "./clean.ts";
import type { JsonObject } from "../model/json.ts";
import { mask } from "./mask.ts";
import { RULES } from "./mask_rules.ts";

Deno.test("clean() removes what terminals obey and what eyes cannot see", () => {
  const cases: [string, string, string][] = [
    ["plain text", "plain text", "nothing"],
    ["a\u001b[31;1mred\u001b[0m b", "ared b", "colours"],
    ["a\u009b2Jb", "ab", "the one-character form"],
    ["\u001b]0;owned\u0007title", "title", "a window title"],
    ["\u001b]8;;http://x\u001b\\link\u001b]8;;\u001b\\", "link", "a hyperlink"],
    ["\u001b]never ended", "never ended", "an unended string, only its opening"],
    ["\u001b(Btext\u001bc", "text", "character sets and reset"],
    ["x\u001b", "x", "a lone escape"],
    ["x\u001b[", "x", "an unfinished sequence"],
    ["a\u0000\u0007\u0008\u007f\u0080b", "ab", "control characters"],
    ["one\r\ntwo\t\tthree\u2028four\u00a0five ", "one two three four five", "white space, made one line"],
    ["safe\u202eexe.cod\u2066x\u2069", "safeexe.codx", "bidi overrides and isolates"],
    ["pass\u200bword\u200d\u2060\ufeff\u00ad", "password", "zero-width characters"],
    ["a\u{e0041}\u{e007f}b\ufe0f", "ab", "tags and variation selectors"],
    ["\ud83d!\ude00", "\ufffd!\ufffd", "lone surrogates"],
    ["\ud83d\u200b\ude00", "\ufffd\ufffd", "surrogates that removal would pair"],
    ["grün 漢字 😀", "grün 漢字 😀", "nothing of other scripts"],
    ["", "", "nothing"],
    ["   ", "", "white space alone"],
  ];
  for (const [text, expected, what] of cases) assertEquals(clean(text, 100), expected, what);
});

Deno.test("clean() makes a single space of every character that Unicode calls white space", () => {
  for (let code = 0; code <= 0xffff; code++) {
    const space = String.fromCharCode(code);
    // A byte order mark is white space to JavaScript alone, and is removed.
    const isSpace = /\s/.test(space) && code !== 0xfeff;
    if (isSpace) assertEquals(clean(`${space}a${space}${space}b${space}`, 100), "a b", code.toString(16));
  }
});

Deno.test("clean() cuts between code points and leaves no space at the cut", () => {
  assertEquals(clean("abcdef", 3), "abc");
  assertEquals(clean("ab😀", 3), "ab");
  assertEquals(clean("ab😀", 4), "ab😀");
  assertEquals(clean("ab cd", 3), "ab");
  assertEquals(clean("\u001b[0mabcd", 3), "abc");
});

Deno.test("clean() reads no more of a huge text than it keeps", () => {
  const text = "ab".repeat(10_000_000);
  assertEquals(clean(`\u0000${text}`, 4), "abab");
});

Deno.test("cut() and cutBytes() never split a code point", () => {
  assertEquals([cut("a😀b", 2), cut("a😀b", 3), cut("abc", 9)], ["a", "a😀", "abc"]);
  for (let limit = 0; limit <= 12; limit++) {
    const kept = cutBytes("aé€😀aa", limit);
    assertEquals(new TextEncoder().encode(kept).length <= limit, true);
    assertEquals("aé€😀aa".startsWith(kept), true);
  }
  assertEquals(cutBytes("aé€😀aa", 10), "aé€😀");
  assertEquals(utf8Length("aé€😀"), 10);
});

Deno.test("cleanUrl() takes addresses of the web alone", () => {
  assertEquals(cleanUrl("https://avd.aquasec.com/nvd/cve-2024-1"), "https://avd.aquasec.com/nvd/cve-2024-1");
  assertEquals(cleanUrl("HTTP://x"), "HTTP://x");
  assertEquals(cleanUrl("ht\u200btps://x"), "https://x");
  for (
    const bad of [
      "javascript:alert(1)",
      "java\nscript:x",
      "ftp://x",
      "//x",
      "https://",
      "",
      "http://a b",
      "x",
    ]
  ) {
    assertEquals(cleanUrl(bad), undefined, bad);
  }
  assertEquals(cleanUrl(`https://${"x".repeat(3000)}`), undefined);
});

Deno.test("cleanLines() keeps lines and spacing, and nothing that a terminal would act on", () => {
  const text = "a:\n\t  b  c\r\n";
  assertEquals(cleanLines(text), "a:\n\t  b  c\n");
  assertEquals(cleanLines("plain é😀\n"), "plain é😀\n");
  assertEquals(cleanLines("x\u001b[31mred\u001b[0m \u001b]0;title\u0007y\u009b1mz"), "xred yz");
  assertEquals(cleanLines("a\u202eb\u2066c\u200bd\u2028e\u0085f\u007fg\u0000h\ud800i"), "abcdefgh\ufffdi");
});

Deno.test("escapeJson() writes what a terminal would act on as escapes that mean the same", () => {
  const value = { "k\u202e": "a\u001b[1m\n\u009b\u2028\u{e0041}é😀\ud800" };
  const json = escapeJson(JSON.stringify(value, undefined, 1));
  assertEquals(JSON.parse(json), value);
  assertEquals(cleanLines(json), json);
  assertEquals(json.includes("é😀"), true);
});

Deno.test("fitsJson() agrees with the bytes of the JSON, and looks at no more of a value than may fit", () => {
  const values = ["", "é", "a\n", null, 1, true, [], {}, [1, "a", null], { a: { b: [] }, "é": [[{}], -1.5] }];
  for (const value of [...values, values]) {
    const bytes = jsonBytes(value);
    assertEquals([fitsJson(value, bytes), fitsJson(value, bytes - 1)], [true, false], JSON.stringify(value));
  }
  const unread = {
    get member(): string {
      throw new Error("looked at");
    },
  };
  assertEquals(fitsJson(["a".repeat(100), unread as never], 50), false);
  assertEquals(fitsJson({ text: "a".repeat(100), unread: unread as never }, 50), false);
});

Deno.test("cleanObject() cuts few of the strings after its total, and keeps the short ones", () => {
  const long = "v".repeat(2_000);
  const entries = Array.from({ length: 2_000 }, (_, index) => [[`l${index}`, long], [`s${index}`, "short"]]);
  const { value, truncated } = cleanObject(Object.fromEntries(entries.flat()), {
    maxString: 1_000,
    maxTotal: 10_000,
    links: false,
  });
  const lengths = Object.entries(value).filter(([key]) => key.startsWith("l")).map(([, text]) =>
    `${text}`.length
  );
  assertEquals([...new Set(lengths)], [1_000, 64]);
  assert(lengths.length <= 10 + 128, `${lengths.length} long ones`);
  assertEquals(Object.keys(value).filter((key) => key.startsWith("s")).length, 2_000);
  assertEquals(truncated, true);
});

Deno.test("cleanObject() counts addresses to its total, and keeps few of the long ones after it", () => {
  const long = `https://example.org/${"v".repeat(980)}`;
  const short = "https://example.org/";
  const addresses = Array.from({ length: 2_000 }, () => [long, short]).flat();
  for (
    const object of [
      { url: addresses },
      Object.fromEntries(addresses.map((address, index) => [`${index}Link`, address])),
    ]
  ) {
    const { value, truncated } = cleanObject(object, { maxString: 1_000, maxTotal: 10_000, links: true });
    const kept = Object.values(value).flat();
    const longCount = kept.filter((address) => address === long).length;
    assert(longCount > 0 && longCount <= 10 + 128, `${longCount} long ones`);
    assertEquals([kept.length - longCount, truncated], [2_000, true]);
  }
});

Deno.test("truncateObject() leaves alone what fits to the byte", () => {
  const object = { text: "é".repeat(10), list: [1, 2] };
  assertEquals(truncateObject(object, jsonBytes(object)), { value: object, truncated: false });
  assertEquals(truncateObject(object, jsonBytes(object) - 1).truncated, true);
});

Deno.test("truncateObject() cuts the longest strings and arrays first", () => {
  const object: JsonObject = {
    id: "CVE-2024-0001",
    output: "x".repeat(20_000),
    items: Array.from({ length: 5000 }, (_, index) => index),
    note: "y".repeat(900),
  };
  const { value, truncated } = truncateObject(object, 4000);
  assert(truncated && jsonBytes(value) <= 4000);
  assertEquals(value.id, object.id);
  assertEquals(value.note, object.note);
  assert(String(value.output).endsWith("x…"));
  assert(Array.isArray(value.items) && value.items.length < 5000 && value.items[0] === 0);
});

Deno.test("truncateObject() gives the same whatever the key order", () => {
  const entries = Array.from(
    { length: 300 },
    (_, index): [string, string] => [`key${index}`, "v".repeat(100)],
  );
  const one = truncateObject(Object.fromEntries(entries), 3000).value;
  const other = truncateObject(Object.fromEntries(entries.reverse()), 3000).value;
  assertEquals(Object.entries(one).sort(), Object.entries(other).sort());
  assert(Object.keys(one).length > 0);
});

Deno.test("truncateObject() leaves out the largest members where cutting inside them is not enough", () => {
  const wide = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`k${i}`, nested(4, `leaf${i}`)]));
  const { value } = truncateObject({ ...wide, small: 1 }, 600);
  assert(jsonBytes(value) <= 600);
  assertEquals(value.small, 1);
});

function nested(depth: number, leaf: string): JsonObject {
  if (depth === 0) return { leaf: leaf.repeat(20) };
  return Object.fromEntries(["a", "b", "c"].map((key) => [key, nested(depth - 1, leaf)]));
}

function kept(key: string, value: string): boolean {
  return Object.hasOwn(cleanObject({ [key]: value }, { maxString: 100, links: true }).value, key);
}

Deno.test("cleanObject() takes a key for a link's where link, url or href is its last word", () => {
  const links = [
    "link",
    "Link",
    "LINK",
    "primaryLink",
    "primary_link",
    "url",
    "URL",
    "html_url",
    "html-url",
    "externalURL",
    "primaryURL",
    "HTMLUrl",
    "generatorUrl",
    "href",
    "a.href",
    "guideline",
  ];
  const others = [
    "purl",
    "PURL",
    "packagePURL",
    "curl",
    "symlink",
    "hyperlink",
    "linked",
    "urls",
    "link.target",
  ];
  for (const key of links) assertEquals([key, kept(key, "/etc/passwd")], [key, false]);
  for (const key of links) assertEquals([key, kept(key, "https://example.org")], [key, true]);
  for (const key of others) assertEquals([key, kept(key, "pkg:deb/debian/openssl@3.0.1")], [key, true]);
  for (const text of ["javascript:alert(1)", "data:, /etc/shadow"]) {
    for (const key of links) assertEquals([key, kept(key, text)], [key, false]);
    for (const key of others) assertEquals([key, kept(key, text)], [key, true]);
  }
});

Deno.test("cleanObject() says that it left something out of a link, of too many values and of unusable keys", () => {
  const cleaned = (value: unknown, links = true) => cleanObject(value, { maxString: 100, links });
  const nulls = Array(9_999).fill(null);
  const many = Array.from({ length: 10_001 }, () => 1);
  const cut = [
    { primaryLink: "javascript:alert(1)" },
    { primaryLink: "target/file" },
    { link: ["https://example.org", "javascript:alert(1)"] },
    { [`${"k".repeat(128)}1`]: 1 },
    { "a\u200b": 1, a: 2 },
    { "\u200b": 1 },
    { a: Array(10_000).fill(null), b: "lost" },
    { a: many },
    Object.fromEntries(many.map((_, index) => [`k${index}`, 1])),
    { a: { b: nulls, c: {} } },
  ];
  for (const [index, value] of cut.entries()) assertEquals([index, cleaned(value).truncated], [index, true]);
  const whole = [
    { primaryLink: "https://example.org", guideline: "" },
    { a: nulls },
    { a: many.slice(2) },
    Object.fromEntries(many.slice(1).map((_, index) => [`k${index}`, 1])),
    JSON.parse('{"__proto__":1}'),
  ];
  for (const [index, value] of whole.entries()) {
    assertEquals([index, cleaned(value).truncated], [index, false]);
  }
  assertEquals(cleaned({ link: "target/file" }, false), { value: { link: "target/file" }, truncated: false });
  assertEquals(cleaned({ link: ["https://a.b", "x"] }).value, { link: ["https://a.b"] });
});

Deno.test("cleanText() shows a beginning of the masked text wherever it cuts: no part of a secret", () => {
  const long = "a1B2c3D4".repeat(63);
  const texts = [
    ...RULES.flatMap(({ hides }) => hides.map(([text]) => text)),
    `git clone https://me:${long}@git.io/x`,
    `git clone https://${long.slice(0, 250)}@git.io/x`,
    `curl -H "Authorization: Bearer ${long}"`,
    `app --password="${long} ${long}"`,
    `/login?next=%2Fx%3Ftoken%3D${long}%26a%3D1`,
    `echo me:${long.slice(0, 250)} | sudo docker -D login registry.example.com/x --password-stdin`,
    `found eyJ${long}.eyJ${long}.${long} in it`,
  ];
  for (const text of texts) {
    const whole = `${text} ${"and so on ".repeat(400)}`;
    const masked = mask(whole);
    for (let limit = 1; limit <= text.length; limit++) {
      const shown = cleanText(whole, limit);
      assert(masked.startsWith(shown), `${limit} of ${text}: ${shown}`);
    }
  }
});
