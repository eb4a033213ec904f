import { type FigureRow, tableOf, verdictOn } from "./bench/figures.ts";
import { MEASUREMENTS, openBench } from "./bench/measurements.ts";
import { freshBundle } from "./bundle.ts";
import { errorMessage } from "../src/model/error_message.ts";
import { print, runScript, say, type Values } from "./support/script.ts";

const HELP = `
Usage: deno task bench [--quick] [--only ROW[,ROW…]]

Measures the controller (the bundle, as in a Pod) against a kube-apiserver and etcd of its own, and prints one table. Load
generator, watcher, controller and API server are processes of their own; latency counts from when a request was due. The
yardsticks are of the same run: the bare client creates the same Observations without zen-watcher, the floor is a server that
creates one object for each request and has no logic. Absolute figures depend on the machine. Linux only; takes about 20
minutes. Exits with 1 where a ratio, a memory figure or a count misses its bound. Builds the API server first where it is
missing (about ten minutes, once; Go is needed).

  --quick   a short look of about two minutes, whose figures say little
  --only    measures only these rows:

    unique      events acknowledged as fast as possible, beside the bare client
    rates       POST → visible, CPU and memory at 50, 100 and 200 events a second
    duplicates  repeats of stored events
    levels      create rate, heap and start with 20,000 and 50,000 stored
    reports     50,000 findings in 5,000 reports, and a restart over them
    size        mean stored size of the samples
    idle        start, memory, CPU and API requests with nothing to do
`;
const OPTIONS = { quick: { type: "boolean" }, only: { type: "string" } } as const;

async function main({ quick = false, only }: Values<typeof OPTIONS>): Promise<number> {
  const names = only?.split(",") ?? Object.keys(MEASUREMENTS);
  const unknown = names.find((name) => !(name in MEASUREMENTS));
  if (unknown !== undefined) {
    throw new Error(`Cannot measure "${unknown}": expected ${Object.keys(MEASUREMENTS).join(", ")}`);
  }
  const entry = await freshBundle();
  await fillCache(entry);
  const machine = machineNow();
  const rows: FigureRow[] = [];
  let failures = 0;
  for (const name of names) {
    say(`bench: ${name}`);
    try {
      await using bench = await openBench(entry, quick);
      rows.push(...await MEASUREMENTS[name]?.(bench) ?? []);
    } catch (error) {
      failures++;
      say(`Cannot measure ${name}: ${errorMessage(error)}`);
    }
  }
  print(`\nMeasured ${new Date().toISOString()} on ${machine}${quick ? ", quick" : ""}.\n\n${tableOf(rows)}`);
  return failures > 0 ? 1 : quick ? 0 : verdictOn(rows);
}

/** The first start of a bundle compiles it, which costs 35 MiB that stay. Later starts and the image's binary do not. */
async function fillCache(entry: string): Promise<void> {
  const args = ["run", "-A", "--no-prompt", entry, "version"];
  await new Deno.Command(Deno.execPath(), { args, stdout: "null" }).output();
}

function machineNow(): string {
  const gib = Math.round(Deno.systemMemoryInfo().total / 2 ** 30);
  const load = Deno.loadavg().map((each) => each.toFixed(1)).join(" ");
  return `${navigator.hardwareConcurrency} cores, ${gib} GiB, load ${load} before, Deno ${Deno.version.deno}`;
}

if (import.meta.main) await runScript({ help: HELP, options: OPTIONS }, main);
