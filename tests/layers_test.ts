import { assertEquals } from "@std/assert";
import { codeOf } from "../scripts/layers/code.ts";
import { type Graph, type Import, readGraph } from "../scripts/layers/graph.ts";
import { breaches } from "../scripts/layers/rules.ts";

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
    "main.ts": "src/cli/main.ts, src/settings.ts",
    "src/cli/main.ts": "src/app.ts, src/model/json.ts",
    "src/app.ts": "src/http/app.ts, src/store/mod.ts, src/kube/client.ts",
    "src/http/app.ts": "hono, src/telemetry/metrics.ts",
    "src/kube/client.ts": "src/kube/auth/kubeconfig.ts",
    "src/kube/auth/kubeconfig.ts": "lazy @kubernetes/client-node",
    "src/model/json_test.ts": "src/kube/api.ts",
    "scripts/dev.ts": "src/devcluster/mod.ts, src/app.ts",
    "src/devcluster/mod.ts": "src/model/json.ts, src/devcluster/store.ts, node:net",
  });
  assertEquals(breaches(graph), []);
});

Deno.test("layers: every rule has its breach", () => {
  const cases: [Readonly<Record<string, string>>, string][] = [
    [
      { "src/model/a.ts": "type src/kube/api.ts" },
      "src/model/a.ts imports a type of src/kube/api.ts: upward, from model to kube",
    ],
    [
      { "src/store/a.ts": "src/filters/b.ts" },
      "src/store/a.ts imports src/filters/b.ts: sideways, from store to filters",
    ],
    [
      { "src/http/a.ts": "src/settings.ts" },
      "src/http/a.ts imports src/settings.ts: upward, from http to app",
    ],
    [
      { "src/sources/a.ts": "type hono" },
      "src/sources/a.ts imports a type of hono: only src/http/, src/ui/ may",
    ],
    [
      { "src/kube/client.ts": "@kubernetes/client-node" },
      "src/kube/client.ts imports @kubernetes/client-node: only src/kube/auth/kubeconfig.ts may",
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
      "src/devcluster/a.ts imports src/kube/api.ts: the development cluster may import src/model/json.ts alone",
    ],
  ]; // deno-fmt-ignore

  for (const [modules, breach] of cases) assertEquals(breaches(graphOf(modules)), [breach]);
});

Deno.test("layers: two files may not export one name, in src, scripts or tests", () => {
  const texts = {
    "src/model/a.ts": "export interface Verdict { readonly a: 1 }\nexport async function* drawn() {}\n",
    "src/kube/b.ts":
      'export type Verdict = "b";\nexport { drawn } from "../model/a.ts";\nfunction judge() {}\n',
    "src/kube/c.ts": "// export const Verdict\nexport const judge = 1;\n",
    "src/sources/d.ts": "export function drawn() {}\n",
    "src/sources/d_test.ts": "export const judge = 1;\n",
    "scripts/e.ts": "export class Cluster {}\n",
    "tests/support/f.ts": "export interface Cluster {}\nexport const load = 1;\n",
    "tests/g_test.ts": "export function load() {}\n",
  };
  assertEquals(breaches(graphOf(Object.fromEntries(Object.keys(texts).map((path) => [path, ""])), texts)), [
    "the name Cluster is exported by scripts/e.ts and tests/support/f.ts",
    "the name Verdict is exported by src/kube/b.ts and src/model/a.ts",
    "the name drawn is exported by src/model/a.ts and src/sources/d.ts",
    "the name judge is exported by src/kube/c.ts and src/sources/d_test.ts",
    "the name load is exported by tests/g_test.ts and tests/support/f.ts",
  ]);
});

Deno.test("layers: a breach names the chain of imports from the production entry", () => {
  const graph = graphOf({
    "main.ts": "src/kube/client.ts, lazy scripts/dev.ts",
    "scripts/dev.ts": "src/devcluster/mod.ts",
    "src/kube/client.ts": "src/kube/auth/kubeconfig.ts",
    "src/kube/auth/kubeconfig.ts": "@kubernetes/client-node",
  });
  assertEquals(breaches(graph), [
    "client-node is loaded at start: main.ts → src/kube/client.ts → src/kube/auth/kubeconfig.ts → @kubernetes/client-node",
    "main.ts imports scripts/dev.ts: the program may not",
    "the production entry reaches the development cluster: main.ts → scripts/dev.ts → src/devcluster/mod.ts",
  ]);
});

Deno.test("layers: Deno is used only where it is allowed; comments and strings do not count", () => {
  const paths = ["src/model/a.ts", "src/pipeline/a.ts", "src/kube/a.ts", "src/settings.ts"];
  const texts = Object.fromEntries(paths.map((path) => [path, "Deno.env.get('X'); // Deno.args"]));
  assertEquals(breaches(graphOf(Object.fromEntries(paths.map((path) => [path, ""])), texts)), [
    "src/kube/a.ts uses Deno.env",
    "src/model/a.ts uses Deno.env",
    "src/pipeline/a.ts uses Deno.env",
  ]);
  const prose = { "src/model/a.ts": '/* Deno.env */ const a = "Deno.args", b = `Deno ${1}`; // Deno\n' };
  assertEquals(breaches(graphOf({ "src/model/a.ts": "" }, prose)), []);
  assertEquals(codeOf("a('x\\'y') // b\nc"), "a( )  c");
});

Deno.test("layers: an import circle is named, by whatever imports it is closed", () => {
  const graph = graphOf({
    "src/store/a.ts": "src/store/b.ts",
    "src/store/b.ts": "type src/store/c.ts",
    "src/store/c.ts": "lazy src/store/a.ts, src/store/d.ts",
    "src/store/d.ts": "",
  });
  assertEquals(breaches(graph), ["import circle: src/store/a.ts, src/store/b.ts, src/store/c.ts"]);
});

Deno.test("layers: the graph is read from the modules themselves", async () => {
  const root = new URL("../", import.meta.url);
  const graph = await readGraph(root, ["src/http/request.ts"]);
  assertEquals(graph.get("src/http/request.ts")?.imports, [
    { target: "node:crypto", lazy: false, typeOnly: false },
    { target: "node:net", lazy: false, typeOnly: false },
    { target: "lru-cache", lazy: false, typeOnly: false },
    { target: "src/model/time.ts", lazy: false, typeOnly: true },
    { target: "src/telemetry/logging.ts", lazy: false, typeOnly: false },
    { target: "src/sources/source.ts", lazy: false, typeOnly: true },
    { target: "src/pipeline/limits.ts", lazy: false, typeOnly: false },
    { target: "hono", lazy: false, typeOnly: true },
    { target: "hono", lazy: false, typeOnly: true },
    { target: "src/http/reread.ts", lazy: false, typeOnly: true },
  ]);
  assertEquals(graph.get("src/pipeline/limits.ts")?.path, "src/pipeline/limits.ts");
});

/** The local names that the functions of a file use in a text before the line that makes them. */
function usedBeforeMade(text: string): string[] {
  return `\n${codeOf(text)}`.split(/\n(?:export )?(?:async )?function /).slice(1).flatMap((body) =>
    [...body.matchAll(/\n {2}(?:const|let) (\w+|\{[^}=]*\})/g)].flatMap(({ 1: made = "", index }) =>
      (made.match(/\w+(?!\s*:|\w)/g) ?? []).filter((name) =>
        new RegExp(`(?<![.\\w])${name}\\b(?!\\s*:)`).test(body.slice(0, index))
      )
    )
  );
}

Deno.test("composition: each part of the program is given only parts that were made before it", async () => {
  assertEquals(
    usedBeforeMade("function make() {\n  const a = of(() => b);\n  const { b, x: c } = of(a);\n}\n"),
    ["b"],
  );
  const folder = new URL("../src/app/", import.meta.url);
  const files = ["../app.ts"];
  for await (const { name } of Deno.readDir(folder)) if (!name.includes("_test")) files.push(name);
  for (const file of files) {
    assertEquals(usedBeforeMade(await Deno.readTextFile(new URL(file, folder))), [], file);
  }
});
