/** Checks who imports whom (scripts/layers/rules.ts): fails on a breach, warns of files that grew too long. */
import { readGraph, sourceFiles } from "./layers/graph.ts";
import { breaches, longFiles } from "./layers/rules.ts";

const ROOT = new URL("../", import.meta.url);
const PLACES = ["main.ts", "src", "scripts", "tests"];

async function main(): Promise<number> {
  const files = await sourceFiles(ROOT, PLACES);
  const program = files.filter((path) => !path.startsWith("tests/") && !path.endsWith("_test.ts"));
  const graph = await readGraph(ROOT, program);
  const texts = new Map<string, string>();
  for (const path of files) texts.set(path, await Deno.readTextFile(new URL(path, ROOT)));
  for (const warning of longFiles(texts)) report(`warning: ${warning}`);
  const found = breaches(graph);
  for (const breach of found) report(`error: ${breach}`);
  report(found.length === 0 ? `layers hold in ${graph.size} files` : `${found.length} breaches of layers`);
  return found.length === 0 ? 0 : 1;
}

function report(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) Deno.exit(await main());
