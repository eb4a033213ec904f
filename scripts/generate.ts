import { generateArchitecture } from "./generate/architecture.ts";
import { generateChart } from "./generate/chart.ts";
import { generateChartMetadata } from "./generate/chart_metadata.ts";
import { generateChartReadme } from "./generate/chart_readme.ts";
import { generateChartSources } from "./generate/chart_sources.ts";
import { generateCrds } from "./generate/crds.ts";
import type { GeneratedFile } from "./generate/file.ts";
import { generateFilterCrd } from "./generate/filter_crd.ts";
import { generateFilters } from "./generate/filters.ts";
import { generateIdentity } from "./generate/identity.ts";
import { generateMappedCrds } from "./generate/mapped_crds.ts";
import { generateMessages } from "./generate/messages.ts";
import { generateMetrics } from "./generate/metrics.ts";
import { generateOutcomes } from "./generate/outcomes.ts";
import { generateRbac } from "./generate/rbac.ts";
import { generateReadme } from "./generate/readme.ts";
import { generateSettings } from "./generate/settings.ts";
import { print, runScript } from "./support/script.ts";

const HELP = `
Usage: deno task generate [--check]

Writes every generated file of the repository and formats the code. With --check it writes nothing and fails with the list of
those that are stale. A generator is one file in scripts/generate/ and one line in scripts/generate.ts.
`;

const GENERATORS: readonly (() => GeneratedFile[] | Promise<GeneratedFile[]>)[] = [
  generateArchitecture,
  generateChart,
  generateChartSources,
  generateChartMetadata,
  generateChartReadme,
  generateCrds,
  generateFilterCrd,
  generateFilters,
  generateIdentity,
  generateMappedCrds,
  generateMessages,
  generateMetrics,
  generateOutcomes,
  generateRbac,
  generateReadme,
  generateSettings,
];

const ROOT = new URL("../", import.meta.url);

async function isStale({ path, text }: GeneratedFile): Promise<boolean> {
  try {
    return await Deno.readTextFile(new URL(path, ROOT)) !== text;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
}

async function write({ path, text }: GeneratedFile): Promise<void> {
  const url = new URL(path, ROOT);
  await Deno.mkdir(new URL("./", url), { recursive: true });
  await Deno.writeTextFile(url, text);
}

async function main({ check = false }: { readonly check?: boolean | undefined }): Promise<number> {
  let stale = 0;
  for (const generate of GENERATORS) {
    for (const file of await generate()) {
      if (!await isStale(file)) continue;
      stale++;
      // At once: the chart's README is made of the values that are written before it.
      if (!check) await write(file);
      print(`${check ? "stale" : "wrote"} ${file.path}\n`);
    }
  }
  if (!check) return await format();
  if (stale > 0) print("Run `deno task generate` and commit what it writes\n");
  return stale > 0 ? 1 : 0;
}

async function format(): Promise<number> {
  return (await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet"], cwd: ROOT }).spawn().status)
    .code;
}

if (import.meta.main) await runScript({ help: HELP, options: { check: { type: "boolean" } } }, main);
