/**
 * Everything that the documentation names exists: pages, files, settings, metrics and their labels, fields, resources,
 * commands, flags, chart values. `zen-watcher check` checks blocks marked `yaml filters` and resources of our own kinds.
 */
import { assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { parse, parseAllDocuments } from "yaml";
import { main } from "../src/cli/main.ts";
import { processIo } from "../src/cli/io.ts";
import { isObject, type Json } from "../src/model/json.ts";
import { FAIL_REASONS, FILTER_REASONS } from "../src/model/outcome.ts";
import { ALL_SETTINGS, readSettings } from "../src/settings.ts";
import { codeOfPage, commandsOf, type Page, readPage, readPages, resolveLink, ROOT } from "./support/docs.ts";
import { kubectlProblem } from "./support/docs_kubectl.ts";
import { metricProblems } from "./support/docs_metrics.ts";

const docs = await readPages();
const around = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  "CHANGELOG.md",
  "CODE_OF_CONDUCT.md",
  "examples/README.md",
  "examples/history/README.md",
  "helm/zen-watcher/README.md",
  "examples/rules/README.md",
  "examples/exceptions/README.md",
  "examples/kube-state-metrics/README.md",
];
const pages = [...docs, ...await Promise.all(around.map(readPage))];
const settings = new Set<string>([
  ...ALL_SETTINGS.map(({ env }) => env),
  // The runtime reads these.
  "HTTPS_PROXY",
  "NO_COLOR",
  "NO_PROXY",
]);

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(join(ROOT, path)).then(() => true, () => false);
}

/** One line for each thing that is missing. */
function each(check: (page: Page) => Iterable<string>): string[] {
  return pages.flatMap((page) => [...check(page)]);
}

Deno.test("docs: every link leads to a page and a heading", async () => {
  const broken: string[] = [];
  for (const page of pages) {
    for (const link of page.links) {
      if (/^https?:\/\//.test(link)) continue;
      const { path, anchor } = resolveLink(page, link);
      if (!await exists(path)) broken.push(`${page.path}: ${link}: no such file`);
      else if (anchor !== "" && !(await readPage(path)).anchors.has(anchor)) {
        broken.push(`${page.path}: ${link}: no such heading`);
      }
    }
  }
  assertEquals(broken, []);
});

Deno.test("docs: every page is in the index", () => {
  const index = pages.find(({ path }) => path === "docs/README.md");
  const runbooks = pages.find(({ path }) => path === "docs/runbooks.md");
  const reached = new Set(
    [index, runbooks].flatMap((page) => page ? page.links.map((link) => resolveLink(page, link).path) : []),
  );
  const lost = docs.filter(({ path }) => path !== index?.path && !reached.has(path)).map(({ path }) => path);
  assertEquals(lost, []);
});

Deno.test("docs: every alert of the chart has its runbook", async () => {
  const rules = await Deno.readTextFile(join(ROOT, "helm/zen-watcher/files/rules.yaml"));
  const named = [...rules.matchAll(/runbook_url: RUNBOOKS\/(\S+)/g)].map(([, file = ""]) =>
    `docs/runbooks/${file}`
  );
  const paths = new Set(pages.map(({ path }) => path));
  assertEquals(named.filter((path) => !paths.has(path)), []);
});

Deno.test("docs: every picture that a page shows is there, and every picture of the page is shown", async () => {
  const shown = new Set(
    pages.flatMap(({ path, text }) =>
      [...text.matchAll(/(?:src|srcset)="([^"]+)"/g)].map(([, target = ""]) => join(dirname(path), target))
    ),
  );
  const there = new Set<string>();
  for await (const { name } of Deno.readDir(join(ROOT, "docs/images"))) there.add(`docs/images/${name}`);
  assertEquals([...shown].filter((path) => !there.has(path)), []);
  assertEquals([...there].filter((path) => path.includes("/ui-") && !shown.has(path)), []);
});

Deno.test("docs: every path of the repository that a page or a picture names exists", async () => {
  const texts = pages.flatMap(codeOfPage);
  for await (const { name } of Deno.readDir(join(ROOT, "docs/images"))) {
    if (!name.endsWith(".svg")) continue;
    texts.push({ where: name, code: await Deno.readTextFile(join(ROOT, "docs/images", name)), language: "" });
  }
  // Files that readers of the page write themselves.
  const written = pages.flatMap(({ blocks }) => blocks.flatMap(({ file }) => file ?? []));
  const missing: string[] = [];
  const found = new Set<string>();
  const path = /(?:^|[\s'"=(`>])((?:docs|examples|scripts|src|tests|crds|helm)\/[\w./-]*)/g;
  for (const { code, where } of texts) {
    for (const [, file = ""] of code.matchAll(path)) {
      found.add(where.split(/[: ]/)[0] ?? "");
      if (!await exists(file) && !written.some((path) => `${path}/`.startsWith(file))) {
        missing.push(`${where}: ${file}`);
      }
    }
  }
  assertEquals(missing, []);
  for (
    const where of [
      "docs/architecture.md",
      "docs/threat-model.md",
      "CONTRIBUTING.md",
      "event.svg",
      "folders.svg",
    ]
  ) {
    assertEquals(found.has(where), true, `${where} names paths`);
  }
});

Deno.test("docs: every line around a change that a page shows is in the file", async () => {
  const missing: string[] = [];
  for (const { path, blocks } of pages) {
    for (const { file, role, text, line } of blocks) {
      if (role !== "diff file" || file === undefined) continue;
      const lines = new Set((await Deno.readTextFile(join(ROOT, file))).split("\n"));
      for (const [, context = ""] of text.matchAll(/^ (.+)$/gm)) {
        if (!lines.has(context)) missing.push(`${path}:${line}: ${context}`);
      }
    }
  }
  assertEquals(missing, []);
});

Deno.test("docs: every function that the code of a page imports is exported", async () => {
  const missing: string[] = [];
  for (const { path, blocks } of pages) {
    const written = new Set(blocks.flatMap(({ file }) => file ?? []));
    for (const { file, language, text, line } of blocks) {
      if (language !== "ts" || file === undefined) continue;
      for (const [, names = "", from = ""] of text.matchAll(/^import \{ (.*) \} from "(\..*)";$/gm)) {
        const module = join(dirname(file), from);
        if (written.has(module)) continue;
        const exported = await import(pathToFileURL(join(ROOT, module)).href);
        for (const name of names.split(", ")) {
          if (!name.startsWith("type ") && !(name in exported)) missing.push(`${path}:${line}: ${name}`);
        }
      }
    }
  }
  assertEquals(missing, []);
});

Deno.test("docs: every function that a page names is in one of the files that it names beside it", async () => {
  const missing: string[] = [];
  let found = 0;
  for (const { path, text } of pages) {
    for (const passage of text.split(/\n\s*\n|(?<=\|)\n/)) {
      const spans = [...passage.matchAll(/`([^`\n]+)`/g)].map(([, span = ""]) => span);
      const beside = spans.filter((span) => /^(?:src|scripts|tests)\/[\w./]+\.ts$/.test(span));
      const names = spans.flatMap((span) => /^(\w+)\(\)$/.exec(span)?.[1] ?? []);
      if (beside.length === 0 || names.length === 0) continue;
      const code = (await Promise.all(beside.map((file) => Deno.readTextFile(join(ROOT, file))))).join("\n");
      for (const name of names) {
        found++;
        if (!new RegExp(`\\b${name}\\(`).test(code)) missing.push(`${path}: ${name}`);
      }
    }
  }
  assertEquals(missing, []);
  assertEquals(found > 5, true, `${found} functions`);
});

Deno.test("docs: every environment variable is a setting, or one the scripts read", async () => {
  const read = new Set<string>();
  for (const folder of ["scripts", "tests"]) {
    for await (const text of sources(folder)) {
      for (const [, name = ""] of text.matchAll(/Deno\.env\.get\("(\w+)"\)/g)) read.add(name);
    }
  }
  const unknown = each(function* ({ path, text: whole, blocks }) {
    // Code has constants too, and declares settings of its own.
    const code = blocks.filter(({ language }) => language === "ts");
    const text = code.reduce((rest, block) => rest.replace(block.text, ""), whole);
    const own = new Set([...text.matchAll(/^\s*([A-Z_]+)=/gm)].map(([, name]) => name));
    for (const [name] of text.matchAll(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b(?!\.md)/g)) {
      if (!settings.has(name) && !read.has(name) && !own.has(name)) yield `${path}: ${name}`;
    }
  });
  assertEquals(unknown, []);
});

Deno.test("docs: every metric exists and has the labels that queries use", () => {
  assertEquals(
    each(function* (page) {
      // Its metrics are those of kube-state-metrics: tests/kube_state_metrics_test.ts.
      if (page.path === "examples/kube-state-metrics/README.md") return;
      for (const { code, where, language } of codeOfPage(page)) {
        if (language !== "logql") {
          for (const problem of metricProblems(code)) yield `${where}: ${problem}`;
        }
      }
    }),
    [],
  );
});

Deno.test("docs: every field is one of our kinds'", async () => {
  const schemas: Json[] = [];
  for (
    const name of [
      "observation",
      "observationexception",
      "observationfilter",
      "ingester",
      "observationmapping",
    ]
  ) {
    const crd: Json = parse(await Deno.readTextFile(join(ROOT, `crds/${name}.yaml`)));
    schemas.push(at(crd, ["spec", "versions", "0", "schema", "openAPIV3Schema"]));
  }
  // Of a Lease, a Service and a SelfSubjectReview.
  const foreign = new Set(["spec.holderIdentity", "spec.clusterIP", "status.userInfo.username"]);
  const unknown = each(function* (page) {
    for (const { code, where, language } of codeOfPage(page)) {
      if (language === "yaml") continue;
      for (const [path] of code.matchAll(/\b(?<![\w/-])(?:spec|status)(?:\.[A-Za-z]\w*)+/g)) {
        if (foreign.has(path) || schemas.some((schema) => holds(schema, path.split(".")))) continue;
        yield `${where}: ${path}`;
      }
    }
  });
  assertEquals(unknown, []);
});

Deno.test("docs: every reason of an outcome is one", () => {
  const known: Readonly<Record<string, readonly string[]>> = {
    filtered: FILTER_REASONS,
    failed: FAIL_REASONS,
  };
  assertEquals(
    each(function* ({ path, text }) {
      for (const [whole, outcome = "", reason = ""] of text.matchAll(/\b(filtered|failed)\{(\w+)\}/g)) {
        if (reason !== "reason" && !known[outcome]?.includes(reason)) yield `${path}: ${whole}`;
      }
    }),
    [],
  );
});

Deno.test("docs: every kubectl command names an existing resource", () => {
  assertEquals(
    each(function* ({ path, blocks, spans }) {
      const shell = blocks.filter(({ language }) => language === "sh").map(({ text }) => text);
      for (const command of [...shell, ...spans].flatMap(commandsOf)) {
        const problem = /^kubectl (?!(?:zen|krew)\b)/.test(command) ? kubectlProblem(command) : undefined;
        if (problem !== undefined) yield `${path}: ${command}: ${problem}`;
      }
    }),
    [],
  );
});

Deno.test("docs: pages, examples and the chart's notes use plain words", async () => {
  const texts = new Map(pages.map(({ path, text }) => [path, text]));
  for (const folder of ["examples", "examples/rules", "examples/kube-state-metrics"]) {
    for await (const { name } of Deno.readDir(join(ROOT, folder))) {
      if (name.endsWith(".yaml")) {
        texts.set(`${folder}/${name}`, await Deno.readTextFile(join(ROOT, folder, name)));
      }
    }
  }
  const notes = "helm/zen-watcher/templates/NOTES.txt";
  texts.set(notes, await Deno.readTextFile(join(ROOT, notes)));
  const riddles = [...texts].flatMap(([path, text]) => riddlesOf(text).map((riddle) => `${path}:${riddle}`));
  assertEquals(riddles, [], "name the component or the reader, and say what it does");
});

Deno.test("comments and test names say who does what", async () => {
  const riddles: string[] = [];
  for (const folder of ["src", "scripts", "tests"]) {
    for await (const text of sources(folder)) {
      for (const [words] of text.matchAll(COMMENTS_AND_TEST_NAMES)) {
        riddles.push(
          ...riddlesOf(words.replaceAll(/\n\s*\*?/g, " ")).map((riddle) => `${riddle} in ${words}`),
        );
      }
    }
  }
  assertEquals(riddles, [], "name the component or the reader, and say what it does");
});

Deno.test("docs: every command and flag of zen-watcher, every task and script is there", async () => {
  const deno = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
  const version = /deno@[\d.]+/.exec(await Deno.readTextFile(join(ROOT, "README.md")))?.[0];
  const wrong: string[] = [];
  for (const { path, blocks, spans } of pages) {
    const shell = blocks.filter(({ language }) => language === "sh").map(({ text }) => text);
    for (const command of [...shell, ...spans].flatMap(commandsOf)) {
      const [program, name = "", ...rest] = command.replace(/^kubectl zen /, "zen-watcher ").split(/\s+/);
      const flags = (words: readonly string[]) =>
        words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.split("=")[0] ?? "");
      if (program === "zen-watcher" && name !== "") {
        const help = await helpOf(name);
        if (help === undefined) wrong.push(`${path}: ${command}: no such command`);
        for (const flag of flags(rest)) {
          if (help !== undefined && flag !== "-h" && !help.includes(flag)) {
            wrong.push(`${path}: ${command}: no flag ${flag}`);
          }
        }
      }
      for (const [used] of command.matchAll(/deno@[\d.]+/g)) {
        if (used !== version) wrong.push(`${path}: ${command}: README.md has ${version}`);
      }
      const task = / task ([\w:]+)/.exec(command)?.[1];
      if ((program === "npx" || program === "deno") && task !== undefined && deno.tasks[task] === undefined) {
        wrong.push(`${path}: no task ${task}`);
      }
      const script = /\b(scripts\/(?:backup|restore)\.ts)(.*)/.exec(command);
      if (script) {
        const text = await Deno.readTextFile(join(ROOT, script[1] ?? ""));
        for (const flag of flags((script[2] ?? "").split(/\s+/))) {
          const option = flag.startsWith("--") ? `${flag.slice(2)}` : `short: "${flag.slice(1)}"`;
          if (!text.includes(option)) wrong.push(`${path}: ${command}: no flag ${flag}`);
        }
      }
    }
  }
  assertEquals(wrong, []);
});

Deno.test("docs: every value of the chart is there", async () => {
  const chart = join(ROOT, "helm/zen-watcher");
  const values: Json = parse(await Deno.readTextFile(`${chart}/values.yaml`));
  const schema: Json = JSON.parse(await Deno.readTextFile(`${chart}/values.schema.json`));
  // An empty map in values.yaml; the schema knows which settings the chart does not set itself.
  if (isObject(values)) values.settings = at(schema, ["properties", "settings", "properties"]);
  const top = new Set(Object.keys(isObject(values) ? values : {}));
  assertEquals(
    each(function* ({ path, blocks, spans, text }) {
      for (const block of blocks.filter(({ role }) => role === "yaml values")) {
        for (const key of pathsOf(parse(block.text))) {
          if (!isValue(values, key)) yield `${path}:${block.line}: ${key.join(".")}`;
        }
      }
      const set = [...text.matchAll(/--set '?([\w.]+)=/g)].map(([, key = ""]) => key);
      const named = spans.map((span) => /^([a-z]\w*(?:\.[a-zA-Z]\w*)+)(?:=\S*)?$/.exec(span)?.[1] ?? "");
      for (const key of [...set, ...named.filter((name) => top.has(name.split(".")[0] ?? ""))]) {
        if (!isValue(values, key.split("."))) yield `${path}: ${key}`;
      }
    }),
    [],
  );
});

Deno.test("docs: every filter, exception, Ingester and ObservationMapping shown is a good one", async () => {
  const wrong: string[] = [];
  let checked = 0;
  for (const { path, blocks } of pages) {
    for (const { text, role, line, language } of blocks) {
      const ours = language === "yaml" && /^apiVersion: zen\.kube-zen\.io\//m.test(text);
      if (!ours && role !== "yaml filters") continue;
      checked += parseAllDocuments(text).length;
      let said = "";
      const told = (more: string) => void (said += more);
      const io = {
        readText: () => Promise.resolve(text),
        listFolder: () => Promise.resolve(undefined),
        stdout: told,
        stderr: told,
      };
      const env = () => undefined;
      const code = await main(["check", "-f", `${path}:${line}`], {
        // The exceptions shown end in 2027.
        io: { ...io, env, now: () => Date.UTC(2026, 11, 1) },
        settings: () => readSettings(env),
      });
      if (code !== 0) wrong.push(said);
    }
  }
  assertEquals(wrong, []);
  assertEquals(checked > 5, true);
});

Deno.test("docs: the checks find what is wrong", () => {
  assertEquals(riddlesOf("one\nWhoever asks is\ntold what stands above.\n"), ["2: Whoever", "2: is told"]);
  assertEquals(
    metricProblems('sum by (name) (rate(zen_watcher_events_total{sauce="x"}[5m])) + zen_watcher_nothing'),
    [
      "zen_watcher_events_total has no label sauce",
      "no metric zen_watcher_nothing",
      "no metric here has the label name",
    ],
  );
  assertEquals(metricProblems("grep -E '^zen_watcher_(events|evnets)_total'"), [
    "no metric zen_watcher_evnets_total",
  ]);
  assertEquals(metricProblems("zen_watcher_gc_runs_total_bucket, events_totals_total{source}"), [
    "no metric zen_watcher_gc_runs_total_bucket",
    "no metric events_totals_total",
  ]);
  assertEquals(kubectlProblem("kubectl -n zen-system get observation -o yaml"), undefined);
  assertEquals(kubectlProblem("kubectl get -n x obs,zenalerts"), "no such resource: zenalerts");
  assertEquals(
    kubectlProblem("kubectl auth can-i update ingesters/status"),
    "no such resource: ingesters/status",
  );
});

Deno.test("code and documentation refer only to documents of the repository", async () => {
  const found = pages.flatMap(({ path, text }) => UNKNOWN_DOCUMENTS.test(text) ? [path] : []);
  for (const folder of ["src", "scripts", "tests", "helm", "examples"]) {
    for await (const { path, text } of files(folder, /\.(?:tsx?|md|ya?ml|json|tpl)$/)) {
      if (path !== "tests/docs_test.ts" && UNKNOWN_DOCUMENTS.test(text)) found.push(path);
    }
  }
  assertEquals(found, [], "say the rule itself, or name a page in docs/");
});

Deno.test("each export of src has a line of documentation", async () => {
  const undocumented: string[] = [];
  for await (const { path, text } of files("src", /(?<!_test)\.tsx?$/)) {
    undocumented.push(...undocumentedIn(text).map((name) => `${path}: ${name}`));
  }
  assertEquals(undocumented, []);
});

Deno.test("an export needs a comment, unless it is options, the type of a list or a type beside its constant", () => {
  const text = [
    "export interface NothingOptions {}",
    "/** Words. */",
    'export const WORDS = ["a"] as const;',
    "export type Word = typeof WORDS[number];",
    "export type WORDS = string;",
    "export const bare = 1;",
    "export async function go() {}",
  ].join("\n");
  assertEquals(undocumentedIn(text), ["bare", "go"]);
});

const EXPORTED = /^export (?:async )?(function\*?|class|interface|type|const|let) (\w+)(.*)$/gm;

/** The exports without a comment. The members of options have theirs, and the function that takes them. */
function undocumentedIn(text: string): string[] {
  const seen = new Set<string>();
  return [...text.matchAll(EXPORTED)].flatMap(({ 2: name = "", 3: rest = "", index }) => {
    const isNeeded = !name.endsWith("Options") && !/= (?:keyof )?typeof \w+(?:\[number\])?;$/.test(rest) &&
      !seen.has(name);
    seen.add(name);
    return isNeeded && !text.slice(0, index).endsWith("*/\n") ? [name] : [];
  });
}

/** A contract or design that readers of the repository do not have. */
const UNKNOWN_DOCUMENTS =
  /\b(?:SPEC|DESIGN|FORMATS)(?: sections?\b|\.md\b)|\bof section \d|\borigin(?:al)? documents?\b/;

/** What `--help` of a command prints; undefined where there is no such command. */
async function helpOf(command: string): Promise<string | undefined> {
  let help = "";
  const io = { ...processIo, stdout: (text: string) => void (help += text), stderr: () => {} };
  const code = await main([command, "--help"], { io, settings: () => readSettings(() => undefined) });
  return code === 0 ? help : undefined;
}

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const { text } of files(folder, /\.tsx?$/)) yield text;
}

async function* files(folder: string, names: RegExp): AsyncGenerator<{ path: string; text: string }> {
  for await (const { name, isDirectory } of Deno.readDir(join(ROOT, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* files(path, names);
    else if (names.test(name)) yield { path, text: await Deno.readTextFile(join(ROOT, path)) };
  }
}

function at(value: Json | undefined, path: readonly string[]): Json {
  let here: Json | undefined = value;
  for (const key of path) {
    here = Array.isArray(here) ? here[Number(key)] : isObject(here) ? here[key] : undefined;
  }
  return here ?? null;
}

/** Phrases that hide who does what. Short on purpose: it stops the worst, reviewers see the rest. */
const RIDDLES =
  /\b(?:whoever|no news|(?:is|are|be) told|asked of|speaks? for|nobody (?:knows|saw|hears)|goes by itself|hardly meant)\b/gi;

const COMMENTS_AND_TEST_NAMES =
  /\/\*[^]*?\*\/|(?<!:)\/\/[^\n]*|Deno\.test\(\s*(?:\{\s*name:\s*)?["`][^"`]*["`]/g;

/** Each riddle with its line, also where a line break divides it. */
function riddlesOf(text: string): string[] {
  return [...text.replaceAll("\n", " ").matchAll(RIDDLES)].map(({ 0: riddle, index }) =>
    `${text.slice(0, index).split("\n").length}: ${riddle}`
  );
}

/** True where a schema has the field, or keeps whatever is there. */
function holds(schema: Json | undefined, [key, ...rest]: readonly string[]): boolean {
  if (key === undefined) return schema !== undefined;
  if (!isObject(schema)) return false;
  if (schema["x-kubernetes-preserve-unknown-fields"] === true && schema.properties === undefined) return true;
  if (schema.type === "array") return holds(schema.items, [key, ...rest]);
  if (isObject(schema.additionalProperties)) return holds(schema.additionalProperties, rest);
  return isObject(schema.properties) && Object.hasOwn(schema.properties, key) &&
    holds(schema.properties[key], rest);
}

/** Paths to values that are not maps. */
function* pathsOf(value: Json, path: readonly string[] = []): Generator<readonly string[]> {
  if (!isObject(value)) yield path;
  else for (const [key, inner] of Object.entries(value)) yield* pathsOf(inner ?? null, [...path, key]);
}

/** True where the chart has the value; below an empty map or a free one (filters by source) anything goes. */
function isValue(values: Json | undefined, [key, ...rest]: readonly string[]): boolean {
  if (key === undefined) return values !== undefined;
  if (!isObject(values)) return false;
  if (Object.keys(values).length === 0) return true;
  return Object.hasOwn(values, key) && isValue(values[key], key === "sources" ? [] : rest);
}
