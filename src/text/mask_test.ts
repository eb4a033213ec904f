import { assert, assertEquals } from "@std/assert";
import { mask, secretsOf, secretsOfCommands } from "./mask.ts";
import { COMMAND_RULES, RULES } from "./mask_rules.ts";

const DATA = new URL("../../tests/fixtures/mask/", import.meta.url);

/** The lines of a file: `«…»` marks what must be hidden; `·` keeps scanners from taking an example for a leak. */
function rowsOf(file: string): { readonly text: string; readonly expected: string }[] {
  const lines = Deno.readTextFileSync(new URL(file, DATA)).trimEnd().split("\n").map((line) =>
    line.replaceAll("·", "")
  );
  return lines.map((line) => ({ text: line.replace(/[«»]/g, ""), expected: line.replace(/«.*?»/g, "***") }));
}

const FILES = [
  { file: "secrets.txt", atLeast: 200 },
  { file: "secrets_held_out.txt", atLeast: 50 },
  { file: "ordinary.txt", atLeast: 200 },
  { file: "ordinary_held_out.txt", atLeast: 50 },
];

for (const { file, atLeast } of FILES) {
  Deno.test(`mask() hides what ${file} marks, and nothing else`, () => {
    const rows = rowsOf(file);
    assert(rows.length >= atLeast);
    assertEquals(rows.map(({ text }) => mask(text)), rows.map(({ expected }) => expected));
  });

  Deno.test(`mask() changes nothing the second time in ${file}`, () => {
    for (const { text } of rowsOf(file)) assertEquals(mask(mask(text)), mask(text));
  });
}

Deno.test("mask() leaves the name of the Secret that a text is about, and no other value", () => {
  for (const name of ["sh.helm.release.v1.web.v123", "web-tls-cert2024", "bootstrap-token-abc123"]) {
    const text = `K8s Secret Deleted (password=${name} user=bob secret=${name})`;
    assertEquals(mask(text, name), text.replace(`password=${name}`, "password=***"));
    assertEquals(mask(text, "web").includes(name), false);
  }
});

for (const rule of RULES) {
  Deno.test(`the mask's rule for a ${rule.name} hides and leaves its examples`, () => {
    for (const [text, expected] of rule.hides) {
      assert(secretsOf(rule, text).length > 0, text);
      assertEquals(mask(text), expected);
    }
    for (const text of rule.leaves) assertEquals(mask(text), text);
  });

  Deno.test(`the mask's rule for a ${rule.name} is linear on its worst text`, () => {
    assertLinear(rule.worst, (text) => secretsOf(rule, text));
  });
}

Deno.test("the mask's commands are linear on texts made to be slow", () => {
  const units = COMMAND_RULES.flatMap(({ commands, options = {} }) =>
    Object.keys(options).map((option) => `${commands[0]} ${option} `)
  );
  for (
    const unit of [
      "mysql -p",
      "curl -u",
      'curl -b "',
      "curl --user=a:",
      "vault login ",
      "mysql ",
      "sqlplus a/",
      ...units,
    ]
  ) {
    assertLinear(unit, secretsOfCommands);
  }
});

Deno.test("mask() is linear on texts made to be slow", () => {
  const units = [
    ...[
      "password=",
      "://",
      'token="',
      'token=\\"',
      "a:b@",
      "-p ",
      "Authorization: ",
      "Cookie: a;",
      "Bearer ",
      "eyJ",
    ],
    ...[
      "--password ",
      "'\"",
      "x-token:",
      "password:",
      "password : ",
      "command=mysql ",
      "?command=a&",
      "?command=%3F",
    ],
    ...[
      "?command=mysql&command=a",
      "?command=a?command=mysql&command=-px",
      "token=${",
      "pass:$(",
      "pass:<",
      'token="${',
    ],
    ...[
      "client-key=/",
      "private-key:/",
      "authorization: a ",
      "Authorization:[",
      "=",
      ":",
      "\\",
      "a",
      " ",
      "password",
    ],
  ];
  for (const unit of units) assertLinear(unit, mask);
});

/**
 * A text of sixteen times the length takes about as long as sixteen short ones; a quadratic rule takes sixteen times as long.
 * Both sides are of one size, so that a machine with other work slows both.
 */
function assertLinear(unit: string, work: (text: string) => unknown): void {
  const short = unit.repeat(Math.ceil(4_096 / unit.length));
  const long = unit.repeat(Math.ceil(65_536 / unit.length));
  const timeOf = (text: string, times: number) => {
    const start = performance.now();
    for (let round = 0; round < times; round++) work(text);
    return performance.now() - start;
  };
  timeOf(long, 1); // compiles it
  const times: [number, number][] = [];
  for (let round = 0; round < 40; round++) {
    times.push([timeOf(short, 16), timeOf(long, 1)]);
    const ratio = Math.min(...times.map(([, time]) => time)) / Math.min(...times.map(([time]) => time));
    if (ratio < 4) return;
  }
  assert(false, `${JSON.stringify(unit)}: ${times.join("; ")}`);
}
