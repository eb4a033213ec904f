import { assertEquals } from "@std/assert";
import { clean, cleanLines, cleanUrl, cut, cutBytes, escapeJson, isActiveUrl, utf8Length } from "./clean.ts";

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

Deno.test("isActiveUrl() knows what a viewer might run", () => {
  for (const bad of ["javascript:alert(1)", "JavaScript:x", "vbscript:x", "data:text/html,<script>"]) {
    assertEquals(isActiveUrl(bad), true, bad);
  }
  for (const fine of ["data: none", "docker://sha256", "pkg:npm/x@1", "see javascript: urls"]) {
    assertEquals(isActiveUrl(fine), false, fine);
  }
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
