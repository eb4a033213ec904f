/** What may import what: the rules of the house, as data and a few checks. */
import { codeOf } from "./code.ts";
import type { Graph, Import, Module } from "./graph.ts";

/** Lower layers first. A layer imports from itself and from lower rows; layers of one row do not import each other. */
const LAYERS: readonly (readonly string[])[] = [
  ["model"],
  ["text"],
  ["pipeline"],
  ["telemetry"],
  ["kube"],
  ["store", "filters", "exceptions"],
  ["sources"],
  ["mapped"],
  ["http"],
  ["app"],
  ["read"],
  ["ui"],
  ["cli"],
  ["main"],
];

/** Packages that only one folder or file may import. */
const HOMES: Readonly<Record<string, readonly string[]>> = {
  "hono": ["src/http/", "src/ui/"],
  "prom-client": ["src/telemetry/"],
  "@kubernetes/client-node": ["src/kube/auth/kubeconfig.ts"],
};

/** Globals that only some files of the program may use; tests and scripts may use them all. */
const GLOBAL_HOMES: readonly { readonly name: string; readonly allowed: (path: string) => boolean }[] = [
  { name: "Deno.env", allowed: (path) => path === "src/settings.ts" },
  { name: "Deno.args", allowed: (path) => path === "src/settings.ts" },
  { name: "Deno", allowed: (path) => !["model", "text", "pipeline"].includes(layerOf(path) ?? "") },
];

const ENTRY = "main.ts";
const DEVCLUSTER = "src/devcluster/";
const CLIENT_NODE = "@kubernetes/client-node";

/** Every breach of a rule, one line each, sorted by file. */
export function breaches(graph: Graph): string[] {
  const found: string[] = [];
  for (const module of graph.values()) {
    if (isTest(module.path)) continue;
    if (module.error !== undefined) found.push(`${module.path} cannot be read: ${module.error}`);
    for (const each of module.imports) found.push(...importBreaches(module, each));
    found.push(...globalBreaches(module));
  }
  const devcluster = chain(graph, (path) => path.startsWith(DEVCLUSTER), { lazyToo: true });
  if (devcluster) found.push(`the production entry reaches the development cluster: ${devcluster}`);
  const clientNode = chain(graph, (path) => path === CLIENT_NODE, { lazyToo: false });
  if (clientNode) found.push(`client-node is loaded at start: ${clientNode}`);
  return [...found, ...circles(graph), ...sharedNames(graph)].sort();
}

/** An exported declaration: names are exported where they are declared. */
const EXPORTED =
  /^ *export (?:declare )?(?:abstract )?(?:async )?(?:function\*?|const|let|class|interface|type|enum) (\w+)/gm;

/** Exported names that two files declare: one line for each name. Exports of another file's names are no declarations. */
function sharedNames(graph: Graph): string[] {
  const files = new Map<string, Set<string>>();
  for (const { path, text } of graph.values()) {
    for (const [, name = ""] of codeOf(text).matchAll(EXPORTED)) {
      files.set(name, (files.get(name) ?? new Set()).add(path));
    }
  }
  return [...files].filter(([, paths]) => paths.size > 1)
    .map(([name, paths]) => `the name ${name} is exported by ${[...paths].sort().join(" and ")}`);
}

/** Import circles, lazy and type imports included: one line for each group of files that import each other. */
function circles(graph: Graph): string[] {
  return components(graph).filter(({ length }) => length > 1)
    .map((paths) => `import circle: ${paths.sort().join(", ")}`);
}

/** Strongly connected components (Tarjan, "Depth-first search and linear graph algorithms", 1972). */
function components(graph: Graph): string[][] {
  const found: string[][] = [];
  const stack: string[] = [];
  const state = new Map<string, { readonly index: number; low: number; onStack: boolean }>();
  function visit(path: string): { readonly index: number; low: number; onStack: boolean } {
    const node = { index: state.size, low: state.size, onStack: true };
    state.set(path, node);
    stack.push(path);
    for (const { target } of graph.get(path)?.imports ?? []) {
      if (!graph.has(target) || target === path) continue;
      const next = state.get(target);
      if (!next) node.low = Math.min(node.low, visit(target).low);
      else if (next.onStack) node.low = Math.min(node.low, next.index);
    }
    if (node.low === node.index) {
      const component = stack.splice(stack.indexOf(path));
      for (const member of component) {
        const memberNode = state.get(member);
        if (memberNode) memberNode.onStack = false;
      }
      found.push(component);
    }
    return node;
  }
  for (const path of graph.keys()) if (!state.has(path)) visit(path);
  return found;
}

function importBreaches(module: Module, { target, typeOnly }: Import): string[] {
  const { path } = module;
  const said = `${path} imports ${typeOnly ? "a type of " : ""}${target}`;
  const homes = Object.hasOwn(HOMES, target) ? HOMES[target] : undefined;
  if (homes && path.startsWith("src/") && !homes.some((home) => path.startsWith(home))) {
    return [`${said}: only ${homes.join(", ")} may`];
  }
  if (path.startsWith(DEVCLUSTER)) {
    const fits = target.startsWith(DEVCLUSTER) || target === "src/model/json.ts" || !target.endsWith(".ts");
    return fits ? [] : [`${said}: the development cluster may import src/model/json.ts alone`];
  }
  const from = layerOf(path);
  if (from === undefined) return [];
  if (target.startsWith("tests/") || target.startsWith("scripts/") || target.startsWith(DEVCLUSTER)) {
    return [`${said}: the program may not`];
  }
  const to = layerOf(target);
  if (to === undefined || to === from) return [];
  if (rank(to) > rank(from)) return [`${said}: upward, from ${from} to ${to}`];
  return rank(to) === rank(from) ? [`${said}: sideways, from ${from} to ${to}`] : [];
}

function globalBreaches({ path, text }: Module): string[] {
  if (!path.startsWith("src/") || path.startsWith(DEVCLUSTER)) return [];
  const code = codeOf(text);
  const breach = GLOBAL_HOMES.find(({ name, allowed }) =>
    !allowed(path) && new RegExp(`\\b${name.replace(".", "\\.")}\\b`).test(code)
  );
  return breach ? [`${path} uses ${breach.name}`] : [];
}

/** The layer a file of the program is in; undefined for what is not part of it. */
function layerOf(path: string): string | undefined {
  if (path === ENTRY) return "main";
  if (!path.startsWith("src/")) return undefined;
  const [name = "", rest] = path.slice("src/".length).split("/");
  if (name === "devcluster") return undefined;
  return rest === undefined ? "app" : name;
}

function rank(layer: string): number {
  const found = LAYERS.findIndex((row) => row.includes(layer));
  if (found < 0) throw new Error(`Cannot place "src/${layer}": it is in no layer of scripts/layers/rules.ts`);
  return found;
}

/** The shortest chain of imports from the production entry to what is looked for, as text. */
function chain(
  graph: Graph,
  wanted: (path: string) => boolean,
  { lazyToo }: { readonly lazyToo: boolean },
): string | undefined {
  const cameFrom = new Map<string, string | undefined>([[ENTRY, undefined]]);
  for (const path of cameFrom.keys()) { // a map goes on to the keys added meanwhile
    if (wanted(path)) return pathTo(path, cameFrom);
    for (const { target, lazy, typeOnly } of graph.get(path)?.imports ?? []) {
      if (typeOnly || (lazy && !lazyToo) || cameFrom.has(target)) continue;
      cameFrom.set(target, path);
    }
  }
  return undefined;
}

function pathTo(end: string, cameFrom: ReadonlyMap<string, string | undefined>): string {
  const steps: string[] = [];
  for (let path: string | undefined = end; path !== undefined; path = cameFrom.get(path)) steps.unshift(path);
  return steps.join(" → ");
}

function isTest(path: string): boolean {
  return /_test\.tsx?$/.test(path) || path.startsWith("tests/");
}
