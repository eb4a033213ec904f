import { assertEquals } from "@std/assert";
import { codeOf } from "../scripts/layers/code.ts";
import { type Graph, type Import, readGraph } from "../scripts/layers/graph.ts";
import { breaches, longFiles } from "../scripts/layers/rules.ts";

/** `a.ts: b.ts, type c.ts, lazy d.ts` → a graph. */
function graphOf(
  modules: Readonly<Record<string, string>>,
  texts: Readonly<Record<string, string>> = {},
): Graph {
  const read = (word: string): Import => ({
    target: word.split(" ").at(-1) ?? "",
    lazy: word.startsWith("lazy "),
    typeOnly: word.startsWith("type "),
  });
  return new Map(
    Object.entries(modules).map(([path, imports]) => [path, {
      path,
      imports: imports === "" ? [] : imports.split(", ").map(read),
      text: texts[path] ?? "",
    }]),
  );
}

Deno.test("layers: downward imports, tests and scripts are free", () => {
  const graph = graphOf({
    "main.ts": "src/cli/mod.ts, src/settings.ts",
    "src/cli/mod.ts": "src/app.ts, src/core/json.ts",
    "src/app.ts": "src/http/app.ts, src/store/mod.ts, src/kube/auth.ts",
    "src/http/app.ts": "hono, src/telemetry/record.ts",
    "src/kube/auth.ts": "src/kube/kubeconfig.ts",
    "src/kube/kubeconfig.ts": "lazy @kubernetes/client-node",
    "src/core/json_test.ts": "src/kube/api.ts",
    "scripts/dev.ts": "src/devcluster/mod.ts, src/app.ts",
    "src/devcluster/mod.ts": "src/core/json.ts, src/devcluster/store.ts, node:net",
  });
  assertEquals(breaches(graph), []);
});

Deno.test("layers: every rule has its breach", () => {
  const cases: [Readonly<Record<string, string>>, string][] = [
    [
      { "src/core/a.ts": "type src/kube/api.ts" },
      "src/core/a.ts imports a type of src/kube/api.ts: upward, from core to kube",
    ],
    [
      { "src/store/a.ts": "src/config/b.ts" },
      "src/store/a.ts imports src/config/b.ts: sideways, from store to config",
    ],
    [
      { "src/http/a.ts": "src/settings.ts" },
      "src/http/a.ts imports src/settings.ts: upward, from http to app",
    ],
    [{ "src/sources/a.ts": "type hono" }, "src/sources/a.ts imports a type of hono: only src/http/ may"],
    [
      { "src/kube/auth.ts": "@kubernetes/client-node" },
      "src/kube/auth.ts imports @kubernetes/client-node: only src/kube/kubeconfig.ts may",
    ],
    [
      { "src/app.ts": "tests/support/assert.ts" },
      "src/app.ts imports tests/support/assert.ts: the program may not",
    ],
    [
      { "src/app.ts": "lazy src/devcluster/mod.ts" },
      "src/app.ts imports src/devcluster/mod.ts: the program may not",
    ],
    [
      { "src/devcluster/a.ts": "src/kube/api.ts" },
      "src/devcluster/a.ts imports src/kube/api.ts: the development cluster may import src/core/json.ts alone",
    ],
  ]; // deno-fmt-ignore

  for (const [modules, breach] of cases) assertEquals(breaches(graphOf(modules)), [breach]);
});

Deno.test("layers: what the production entry reaches is told by its chain of imports", () => {
  const graph = graphOf({
    "main.ts": "src/kube/auth.ts, lazy scripts/dev.ts",
    "scripts/dev.ts": "src/devcluster/mod.ts",
    "src/kube/auth.ts": "src/kube/kubeconfig.ts",
    "src/kube/kubeconfig.ts": "@kubernetes/client-node",
  });
  assertEquals(breaches(graph), [
    "client-node is loaded at start: main.ts → src/kube/auth.ts → src/kube/kubeconfig.ts → @kubernetes/client-node",
    "main.ts imports scripts/dev.ts: the program may not",
    "the production entry reaches the development cluster: main.ts → scripts/dev.ts → src/devcluster/mod.ts",
  ]);
});

Deno.test("layers: Deno is used where it may be, and a word in a comment or string is no use", () => {
  const paths = ["src/core/a.ts", "src/pipeline/a.ts", "src/kube/a.ts", "src/settings.ts"];
  const texts = Object.fromEntries(paths.map((path) => [path, "Deno.env.get('X'); // Deno.args"]));
  assertEquals(breaches(graphOf(Object.fromEntries(paths.map((path) => [path, ""])), texts)), [
    "src/core/a.ts uses Deno.env",
    "src/kube/a.ts uses Deno.env",
    "src/pipeline/a.ts uses Deno.env",
  ]);
  const prose = { "src/core/a.ts": '/* Deno.env */ const a = "Deno.args", b = `Deno ${1}`; // Deno\n' };
  assertEquals(breaches(graphOf({ "src/core/a.ts": "" }, prose)), []);
  assertEquals(codeOf("a('x\\'y') // b\nc"), "a( )  c");
});

Deno.test("layers: files over 300 lines are named", () => {
  const texts = new Map([["a.ts", "x\n".repeat(301)], ["b.ts", "x\n".repeat(300)]]);
  assertEquals(longFiles(texts), ["a.ts has 301 lines, more than 300"]);
});

Deno.test("layers: the graph is read from the modules themselves", async () => {
  const root = new URL("../", import.meta.url);
  const graph = await readGraph(root, ["src/core/fingerprint.ts"]);
  assertEquals(graph.get("src/core/fingerprint.ts")?.imports, [
    { target: "node:crypto", lazy: false, typeOnly: false },
    { target: "src/core/canonical_json.ts", lazy: false, typeOnly: false },
    { target: "src/core/json.ts", lazy: false, typeOnly: true },
  ]);
  assertEquals(graph.get("src/core/canonical_json.ts")?.path, "src/core/canonical_json.ts");
});
