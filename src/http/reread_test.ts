import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { eventually } from "../../tests/support/eventually.ts";
import type { JsonObject } from "../model/json.ts";
import { configureLogging } from "../telemetry/logging.ts";
import { readWebhookToken, reread } from "./reread.ts";

/** A token that no sender can show, and why. */
const UNUSABLE: Readonly<Record<string, string>> = {
  "": "it is empty",
  " \n": "it is empty",
  "two words\n": "it has white space inside",
  "line 1\nline2": "it has white space inside",
  "two\u00a0words": "it has white space inside",
  ["x".repeat(4_097)]: "it is longer than 4096 characters",
};

async function tokenFile(text: string) {
  const folder = await Deno.makeTempDir({ prefix: "zen-watcher-token-" });
  const file = join(folder, "token");
  await Deno.writeTextFile(file, text);
  return { file, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

Deno.test("readWebhookToken() takes one word, and nothing that no sender can show", async () => {
  await using held = await tokenFile("a-token\n");
  const { file } = held;
  for (const options of [{ token: "", file }, { token: "a-token\n", file: "" }]) {
    using token = await readWebhookToken(options);
    assertEquals(token.current, "a-token");
  }
  using none = await readWebhookToken({ token: "", file: "" });
  assertEquals(none.current, "");
  for (const [text, why] of Object.entries(UNUSABLE)) {
    await Deno.writeTextFile(file, text);
    await assertRejects(
      () => readWebhookToken({ token: "", file }),
      Error,
      `"${file}" (WEBHOOK_AUTH_TOKEN_FILE): ${why}`,
    );
    if (text === "") continue;
    await assertRejects(
      () => readWebhookToken({ token: text, file: "" }),
      Error,
      `in WEBHOOK_AUTH_TOKEN: ${why}`,
    );
  }
  await Deno.remove(file);
  await assertRejects(() => readWebhookToken({ token: "", file }), Error, "Cannot read webhook token file");
});

Deno.test("readWebhookToken() keeps the last good token of a file, warns once of each reason, and takes the next good one", async () => {
  const lines: JsonObject[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line));
  configureLogging({ level: "INFO", format: "json", write });
  await using held = await tokenFile("first");
  const { file } = held;
  using token = await readWebhookToken({ token: "", file, everyMs: 5 });
  const said = () => lines.map(({ level, message, file: named }) => `${level} ${message}: ${named}`);
  const KEPT = `WARN Secret file cannot be used, the last good one stays in force: ${file}`;
  const RELOADED = `INFO Secret file reloaded: ${file}`;
  const expected: string[] = [];
  const become = async (text: string | undefined, line: string) => {
    const next = `${file}.next`;
    if (text === undefined) await Deno.remove(file);
    else {
      // As a Secret volume is changed: whole.
      await Deno.writeTextFile(next, text);
      await Deno.rename(next, file);
    }
    expected.push(line);
    await eventually("the file to be read", () => lines.length >= expected.length);
  };
  const reasons = new Map(Object.entries(UNUSABLE).map(([text, why]) => [why, text]));
  for (const text of [...reasons.values(), undefined]) {
    await become(text, KEPT);
    assertEquals(token.current, "first", String(text));
  }
  await become("first\n", RELOADED);
  assertEquals(token.current, "first");
  await become("second\n", RELOADED);
  assertEquals(token.current, "second");
  await become("", KEPT);
  await become("third", RELOADED);
  assertEquals([token.current, said()], ["third", expected]);
});

Deno.test("reread() begins no read while one is under way, and puts nothing in force once it is disposed of", async () => {
  configureLogging({ level: "ERROR", format: "json", write() {} });
  const reads: PromiseWithResolvers<string>[] = [];
  const inForce: string[] = [];
  const slow = reread({
    file: "slow",
    first: "one",
    everyMs: 1,
    read() {
      const next = Promise.withResolvers<string>();
      reads.push(next);
      return next.promise;
    },
    put: (next) => void inForce.push(next),
  });
  let others = 0;
  using _other = reread({
    file: "other",
    first: "",
    everyMs: 1,
    read: () => Promise.resolve(`${others++}`),
    put() {},
  });
  const severalRounds = async () => {
    const from = others;
    await eventually("further rounds of another file", () => others > from + 5);
  };
  await eventually("the first read", () => reads.length > 0);
  await severalRounds();
  assertEquals(reads.length, 1);
  reads[0]?.resolve("two");
  await eventually("the next read", () => reads.length > 1);
  assertEquals(inForce, ["two"]);
  slow[Symbol.dispose]();
  reads[1]?.resolve("three");
  await severalRounds();
  assertEquals(inForce, ["two"]);
});
