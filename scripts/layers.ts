/** Checks the directions of imports (scripts/layers/rules.ts) and that no files import each other in a circle. */
import { readGraph, sourceFiles } from "./layers/graph.ts";
import { breaches } from "./layers/rules.ts";

const ROOT = new URL("../", import.meta.url);
const PLACES = ["main.ts", "src", "scripts", "tests"];

async function main(): Promise<number> {
  const files = await sourceFiles(ROOT, PLACES);
  const program = files.filter((path) => !path.startsWith("tests/") && !path.endsWith("_test.ts"));
  const graph = await readGraph(ROOT, program);
  const found = breaches(graph);
  for (const breach of found) report(`error: ${breach}`);
  report(found.length === 0 ? `layers hold in ${graph.size} files` : `${found.length} breaches of layers`);
  return found.length === 0 ? 0 : 1;
}

function report(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) Deno.exit(await main());
