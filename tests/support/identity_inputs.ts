/** Every fixture and case of every source, drawn and normalised: what golden files and properties of identity go over. */
import type { DrawnEvent, NormalEvent, Payload } from "../../src/model/event.ts";
import { SOURCES } from "../../src/sources/registry.ts";
import type { Source } from "../../src/sources/source.ts";
import { exampleSource } from "./examples.ts";
import { loadPayloads } from "./load_fixture.ts";
import { feedOf, runtimeFor } from "./source_runtime.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url);
/** Files of a fixture's folder that are no input. */
const NO_INPUT = /(^|\/)(SOURCES\.md|expected\.json|expected\.md|truth\.json)$/;
/** How the names of cases begin, for each source. */
const CASES: Readonly<Record<string, readonly string[]>> = {
  trivy: ["trivy-", "job-with-a-date"],
  kyverno: ["kyverno-", "policyreport-"],
  checkov: ["mask-"],
  falco: ["falco-"],
  audit: ["audit-"],
};

/** A source, the name of its golden file and the files under `tests/fixtures` that it reads. */
export interface IdentityInputs {
  readonly name: string;
  readonly source: Source;
  readonly files: readonly string[];
}

/** Built-in sources, and one for each manifest of `examples/` that has fixtures. */
export async function identityInputs(): Promise<IdentityInputs[]> {
  const all: IdentityInputs[] = [];
  for (const source of SOURCES) {
    const prefixes = CASES[source.name] ?? [];
    const cases = (await filesIn("cases")).filter((file) =>
      prefixes.some((prefix) => file.startsWith(`cases/${prefix}`))
    );
    all.push({
      name: source.name,
      source,
      files: [...await filesIn(`sources/${source.name}`), ...cases],
    });
  }
  for await (const { name } of Deno.readDir(new URL("sources/", FIXTURES))) {
    if (!name.startsWith("mapped-")) continue;
    const source = await exampleSource(`${name.slice("mapped-".length)}.yaml`);
    all.push({ name, source, files: await filesIn(`sources/${name}`) });
  }
  return all.toSorted((a, b) => a.name < b.name ? -1 : 1);
}

/** The inputs of all cases, by whichever source. */
export async function caseFiles(): Promise<string[]> {
  return await filesIn("cases");
}

/** An event before and after it is made legal. */
export interface IdentityEvent {
  readonly drawn: DrawnEvent;
  readonly event: NormalEvent;
}

/** The payloads of a file as the source's first feed hands them in. */
export async function payloadsOf({ source }: IdentityInputs, file: string): Promise<readonly Payload[]> {
  return (await loadPayloads(file, source)).payloads;
}

/** What the source draws from a payload, under default settings. */
export function eventsOf({ source }: IdentityInputs, payload: Payload): IdentityEvent[] {
  const { ingester: _, ...feed } = feedOf(source);
  const runtime = runtimeFor(source, feed);
  return [...runtime.draw(payload)].flatMap((item) =>
    "event" in item ? [{ drawn: item.event, event: runtime.normalize(item.event, payload) }] : []
  );
}

async function filesIn(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of Deno.readDir(new URL(`${folder}/`, FIXTURES))) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) files.push(...await filesIn(path));
    else if (!NO_INPUT.test(path)) files.push(path);
  }
  return files.toSorted();
}
