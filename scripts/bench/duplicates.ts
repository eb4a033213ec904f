/** Repeats decided in process, in a process of its own: the server's own intake over a store in memory. */
import process from "node:process";
import { alert, dryIntake } from "./inputs.ts";
import { answerQuestions } from "./worker.ts";

/** How many rounds of a thousand alerts. */
export interface DuplicatesQuestion {
  readonly warmUp: number;
  readonly rounds: number;
}

const ALERTS = 1_000;

if (import.meta.main) {
  await answerQuestions(async ({ warmUp, rounds }: DuplicatesQuestion) => {
    const { take, events } = dryIntake();
    const alerts = Array.from({ length: ALERTS }, (_, number) => alert("duplicates", number));
    for (let round = 0; round < warmUp; round++) await take(alerts);
    const before = process.cpuUsage();
    for (let round = 0; round < rounds; round++) await take(alerts);
    const { user, system } = process.cpuUsage(before);
    const repeats = events.slice(warmUp * ALERTS).filter(({ outcome }) => outcome === "deduped").length;
    return repeats * 1e6 / (user + system);
  });
}
