/**
 * `deno task bench [--cluster] [--only NAMES] [--runs 3] [--json FILE] [--compare FILE] [--quick]`, and for a CPU profile and
 * a heap snapshot `--only profile [--profiles FOLDER]`: measures the bundle
 * against the embedded API server, or with `--cluster` a kube-apiserver and etcd of its own. Load generator, watcher,
 * controller and API server are processes of their own; open loops count from when a request was due.
 */
import { parseArgs } from "node:util";
import { freshBundle } from "./bundle.ts";
import { BUNDLE } from "./bench/controller.ts";
import { compare, type Figures, medians } from "./bench/figures.ts";
import type { Bench } from "./bench/measure.ts";
import { comparison, machine, markdown, type Results, shown } from "./bench/report.ts";
import type { Scenario } from "./bench/scenario.ts";
import { ALONE } from "./bench/scenarios/alone.ts";
import {
  ALL_REPEATS,
  atRate,
  AUDIT_BATCHES,
  FILTERED,
  OVERLOAD,
  RAW,
  SOME_REPEATS,
} from "./bench/scenarios/pushed.ts";
import { PROFILE } from "./bench/scenarios/profile.ts";
import { FILTERED_IDLE, IDLE, SIZES, START } from "./bench/scenarios/standing.ts";
import { STORED, TRIVY } from "./bench/scenarios/stored.ts";
import { House } from "./bench/house.ts";
import { clean } from "./bench/server.ts";
import { startWorker } from "./bench/worker.ts";

const SCENARIOS: readonly Scenario[] = [
  START,
  IDLE,
  FILTERED_IDLE,
  SIZES,
  RAW,
  atRate(50, 10),
  atRate(200, 20),
  atRate(500, 30),
  SOME_REPEATS,
  ALL_REPEATS,
  FILTERED,
  AUDIT_BATCHES,
  OVERLOAD,
  ALONE,
  TRIVY,
  STORED,
];

const USAGE =
  "Usage: deno task bench [--cluster] [--quick] [--only NAME,…] [--runs 3] [--json FILE] [--compare FILE] [--profiles FOLDER]\n";

const values = Deno.args.some((arg) => arg === "--help" || arg === "-h") ? help() : options();

function help(): never {
  Deno.stdout.writeSync(new TextEncoder().encode(USAGE));
  Deno.exit(0);
}

function options() {
  try {
    return parseArgs({
      options: {
        cluster: { type: "boolean", default: false },
        quick: { type: "boolean", default: false },
        only: { type: "string" },
        runs: { type: "string" },
        json: { type: "string" },
        compare: { type: "string" },
        profiles: { type: "string", default: "dist/profiles" },
      },
    }).values;
  } catch (error) {
    const text = `${error instanceof Error ? error.message : error}\n${USAGE}`;
    Deno.stderr.writeSync(new TextEncoder().encode(text));
    Deno.exit(2);
  }
}

async function bench(): Promise<number> {
  const runs = Number(values.runs ?? (values.quick ? 1 : 3));
  if (!Number.isInteger(runs) || runs < 1 || runs > 20) throw new Error("Cannot run: --runs takes 1 to 20");
  const scenarios = chosen();
  const before: Results | undefined = values.compare === undefined
    ? undefined
    : JSON.parse(await Deno.readTextFile(values.compare));
  const busy = machine();
  await note(`${busy}\n`);
  await fillCache();
  const each: Record<string, Figures[]> = {};
  let failures = 0;
  await using house = new House(values.cluster ? "real" : "embedded");
  const results = (): Results => ({
    when: new Date().toISOString(),
    server: house.description,
    machine: busy,
    runs,
    scenarios: Object.fromEntries(Object.entries(each).map(([name, all]) => [name, medians(all)])),
    each,
  });
  for (const scenario of scenarios) {
    const found = each[scenario.name] = [] as Figures[];
    try {
      await measure(scenario, { house, runs: scenario.once ? 1 : runs, found });
    } catch (error) {
      failures++;
      await note(`  failed: ${error instanceof Error ? error.message : error}\n`);
      await house.close();
    }
    // What takes an hour is kept as it comes.
    if (values.json !== undefined) {
      await Deno.writeTextFile(values.json, JSON.stringify(results(), null, 2) + "\n");
    }
  }
  await print(`\n${markdown(results())}`);
  if (before) await print(`\n${comparison(compare(before.scenarios, results().scenarios))}`);
  return failures === 0 ? 0 : 1;
}

/**
 * The first start of a new bundle has the runtime read and analyse all of it, which costs 35 MiB that stay. A compiled
 * binary, as in the image, and every later start do not: those are measured.
 */
async function fillCache(): Promise<void> {
  await freshBundle();
  const args = ["run", "-A", "--no-prompt", BUNDLE, "version"];
  const { success } = await new Deno.Command(Deno.execPath(), { args, stdout: "null" }).output();
  if (!success) throw new Error(`Cannot run "${BUNDLE}": deno task bundle makes it`);
}

function chosen(): readonly Scenario[] {
  if (values.only === undefined) return SCENARIOS.filter(({ quick }) => !values.quick || quick);
  return values.only.split(",").map((name) => {
    const all = [...SCENARIOS, PROFILE];
    const found = all.find((scenario) => scenario.name === name);
    const names = all.map((scenario) => scenario.name).join(", ");
    if (!found) throw new Error(`Cannot run scenario "${name}": there are ${names}`);
    return found;
  });
}

interface Plan {
  readonly house: House;
  readonly runs: number;
  /** Where each run's figures go. */
  readonly found: Figures[];
}

async function measure(scenario: Scenario, { house, runs, found }: Plan): Promise<void> {
  for (let run = 1; run <= runs; run++) {
    await note(`${scenario.name} ${run}/${runs}: ${scenario.doc}\n`);
    const [machineLoad = NaN] = Deno.loadavg();
    if (scenario.heavy) await house.close();
    const server = await house.open();
    if (!scenario.heavy) await clean(server);
    await using load = startWorker("load.ts");
    await using watcher = startWorker("watch.ts");
    const context: Bench = { server, load, watcher, quick: values.quick, note, profiles: values.profiles };
    const figures = { machineLoad, ...await scenario.run(context) };
    found.push(figures);
    await note(`  ${Object.entries(figures).map(([name, value]) => `${name} ${shown(value)}`).join(", ")}\n`);
    if (scenario.heavy) await house.close();
  }
}

async function note(text: string): Promise<void> {
  await Deno.stderr.write(new TextEncoder().encode(text));
}

async function print(text: string): Promise<void> {
  await Deno.stdout.write(new TextEncoder().encode(text));
}

if (import.meta.main) Deno.exit(await bench());
