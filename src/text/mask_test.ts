import { assert, assertEquals } from "@std/assert";
import { assertLinear } from "../../tests/support/assert_linear.ts";
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
