import { readGraph, sourceFiles } from "./layers/graph.ts";
import { breaches } from "./layers/rules.ts";
import { print, runScript } from "./support/script.ts";

const HELP = `
Usage: deno task layers

Checks the directions of imports (scripts/layers/rules.ts), that no files import each other in a circle, and that no two
files export one name.
`;
const ROOT = new URL("../", import.meta.url);
const PLACES = ["main.ts", "src", "scripts", "tests"];

async function main(): Promise<number> {
  const files = await sourceFiles(ROOT, PLACES);
  const graph = await readGraph(ROOT, files);
  const found = breaches(graph);
  for (const breach of found) print(`error: ${breach}\n`);
  print(found.length === 0 ? `layers hold in ${graph.size} files\n` : `${found.length} breaches of layers\n`);
  return found.length === 0 ? 0 : 1;
}

if (import.meta.main) await runScript({ help: HELP }, main);
