/** Expressions and patterns of filters that are written to cost without bound. */

const LISTS = ["details.list", "details.map", "details.objects", "details.text.split('')"];
const PER_ELEMENT = [
  "x == 'b'",
  "x.y == 1 && x.z == 2",
  "x.y == 1 || x.z == 2 || x.q == 3",
  "size(details.text) > 9000",
  "size(details.map) > 9000",
  "details.text.contains(details.half)",
  "details.text.lastIndexOf(details.half) > 1",
  "details.text.lowerAscii() == 'b'",
  "x.matches('^(a+)+$') && x == 'b'",
  "details.text.matches('(a|b)*a(a|b){20}')",
  "timestamp('2026-01-01T00:00:00Z').getHours('Europe/Berlin') > 30",
  "details.map == details.objects",
  "details.list == details.list && x == 'b'",
  "bytes(details.text).size() > 9000",
  "x in ['b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k']",
  "details.?missing.orValue(1) == 2",
  "int(x) == 77777 && x == 'b'",
];
/** Conditions that scan a list for each element of another: refused when they are loaded. */
export const REPEATED = [
  "x in details.list",
  "[x, x].join(',') == 'b'",
  "x + x == 'bb'",
  "details.list.exists(y, y == x)",
  "details.text.split('').size() > 9000",
];
/** Patterns of more states than are allowed: refused when they are loaded. */
export const PATTERNS = [
  "[a-z]{0,1000}[0-9]",
  "([a-z]{0,30}){0,30}",
  "(a{1,100}){1,100}",
  "((a*)*)*b{180}b{180}",
  "[a-z]{0,190}[0-9]",
  "(?i)(\\\\pL{0,50}x){0,50}",
  "a".repeat(300),
];
const WHOLE = [
  "details.text.matches('(a|b)*a(a|b){60}')",
  "details.text.matches('(?i)[a-z]*a[a-z]{62}x')",
  "details.text.matches('^(a?){60}a{60}$')",
  "details.text.matches(details.half)",
  "details.text.split(',').join(details.text).contains(details.half)",
  `(${Array(200).fill("details.text").join(" + ")}).contains(details.half)`,
  `(${Array(200).fill("details.list").join(" + ")}).size() > 9000`,
  "details.nested == details.nested",
  "size(details.nested) > 3 || details.nested in details.objects",
  "bytes(details.text).base64().contains(details.half)",
  "details.objects == details.objects.filter(x, true)",
  "details.list.filter(x, x != 'q').filter(x, x != 'q').filter(x, x != 'q').exists(x, x == 'q')",
  "details.list.map(x, details.list.map(y, x)).size() > 1",
  "cel.bind(a, details.text + details.text, a == '')",
  "duration(details.text) > duration('1s')",
  `${"details.list.exists(x, x == 'q') || ".repeat(40)}false`,
  `${"!".repeat(1_500)}true`,
  `${"[".repeat(300)}1${"]".repeat(300)} == []`,
];

const UNITS = ["a", "[a-z]", "\\\\pL", "(?i)[a-z]", ".", "(a|b)", "(a|ab)", "\\\\w", "[^b]", "(?:a?)"];
const FORMS: readonly ((unit: string) => string)[] = [
  (unit) => `${unit}{0,1000}x`,
  (unit) => `(${unit}+)+$`,
  (unit) => `(${unit}*)*y`,
  (unit) => `^(${unit}{1,50}){1,50}$`,
  (unit) => `${unit}{190}`,
  (unit) => `(${unit}|${unit})*z`,
  (unit) => `(${unit}?){60}${unit}{60}`,
  (unit) => `(${unit}{0,30}){0,30}`,
  (unit) => `^(${unit}*)*b$`,
  (unit) => `${`.*${unit}`.repeat(12)}x`,
];
/** Patterns of many states, or that make an engine that backtracks try again and again. */
export const HOSTILE_PATTERNS = [...PATTERNS, ...UNITS.flatMap((unit) => FORMS.map((form) => form(unit)))];

/** All of them, as expressions of a filter. */
export const HOSTILE_EXPRESSIONS = [
  ...LISTS.flatMap((list) => PER_ELEMENT.map((condition) => `${list}.all(x, !(${condition}))`)),
  ...REPEATED.flatMap((condition) =>
    ["exists", "filter"].map((by) =>
      `details.list.${by}(x, ${condition})${by === "filter" ? ".size() > 1" : ""}`
    )
  ),
  ...PATTERNS.map((pattern) => `details.text.matches('${pattern}')`),
  ...WHOLE,
];
