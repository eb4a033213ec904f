import { assert, assertEquals } from "@std/assert";
import { apiServer } from "../../tests/support/api_server.ts";
import { kubeconfigOf } from "../../tests/support/readers.ts";
import { readSettings } from "../settings.ts";
import { processIo } from "./io.ts";
import { main } from "./main.ts";

/** The candidates for the last of the words, without their descriptions, and the directive. */
async function complete(...words: string[]): Promise<string[]> {
  let out = "";
  const io = { ...processIo, stdout: (text: string) => void (out += text), env: () => undefined };
  assertEquals(await main(["__complete", ...words], { io, settings: () => readSettings(io.env) }), 0);
  return out.trimEnd().split("\n").map((line) => line.split("\t")[0] ?? "");
}

Deno.test("completeLine() completes commands, with what each does", async () => {
  assertEquals(await complete("ch"), ["check", ":4"]);
  assertEquals(await complete("co"), ["coverage", "completion", ":4"]);
  assertEquals((await complete("")).includes("explain"), true);
  assertEquals(await complete("nonsense", ""), [":4"]);
});

Deno.test("completeLine() completes flags and their values, in every way kubectl writes them", async () => {
  assertEquals(await complete("explain", "--o"), ["--output", ":4"]);
  for (
    const words of [["explain", "-o", ""], ["explain", "--output", ""], ["explain", "-f", "x", "-o", ""]]
  ) {
    assertEquals(await complete(...words), ["json", "yaml", ":4"], words.join(" "));
  }
  assertEquals(await complete("explain", "--output=j"), ["--output=json", ":4"]);
  assertEquals(await complete("test", "-o", "ju"), ["junit", ":4"]);
  assertEquals(await complete("explain", "--source", "k"), ["kyverno", "kube-bench", ":4"]);
  // The value is part of the word already.
  assertEquals(await complete("check", "-oyaml", "--rb"), ["--rbac", ":4"]);
  assertEquals(await complete("explain", "--nonsense", "x", "--sou"), ["--source", ":4"]);
});

Deno.test("completeLine() reads the cluster as the user of --as, in every group of --as-group", async () => {
  await using server = apiServer(() =>
    Response.json({ metadata: {}, items: [{ metadata: { name: "shop" } }] })
  );
  await using file = await kubeconfigOf(server.url);
  const user = ["--as", "jane", "--as-group", "devs", "--as-group=ops", "--as-uid", "7"];
  assertEquals(await complete("get", "--kubeconfig", file.path, ...user, "-n", ""), ["shop", ":4"]);
  assert(server.seen.length > 0);
  for (const { headers } of server.seen) {
    const sent = ["impersonate-user", "impersonate-group", "impersonate-uid"].map((name) =>
      headers.get(name)
    );
    assertEquals(sent, ["jane", "devs, ops", "7"]);
  }
});

Deno.test("completeLine() leaves files to the shell, and has no flags after --", async () => {
  for (
    const words of [["check", "-f", ""], ["check", "x", ""], ["explain", "--filters", "f"], [
      "test",
      "a",
      "b",
    ]]
  ) {
    assertEquals(await complete(...words), [":0"], words.join(" "));
  }
  assertEquals(await complete("check", "--", "--o"), [":0"]);
  assertEquals(await complete("completion", ""), ["bash", "zsh", "fish", "kubectl", ":4"]);
  assertEquals(await complete("completion", "bash", ""), [":4"]);
});
