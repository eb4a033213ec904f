import { assert } from "@std/assert";

/**
 * A text of sixteen times the length takes about as long as sixteen short ones; a quadratic rule takes sixteen times as long.
 * Both sides are of one size, so that a machine with other work slows both.
 */
export function assertLinear(unit: string, work: (text: string) => unknown): void {
  const short = unit.repeat(Math.ceil(4_096 / unit.length));
  const long = unit.repeat(Math.ceil(65_536 / unit.length));
  const timeOf = (text: string, times: number) => {
    const start = performance.now();
    for (let round = 0; round < times; round++) work(text);
    return performance.now() - start;
  };
  timeOf(long, 1); // compiles it
  const times: [number, number][] = [];
  for (let round = 0; round < 40; round++) {
    times.push([timeOf(short, 16), timeOf(long, 1)]);
    const ratio = Math.min(...times.map(([, time]) => time)) / Math.min(...times.map(([time]) => time));
    if (ratio < 4) return;
  }
  assert(false, `${JSON.stringify(unit)}: ${times.join("; ")}`);
}
