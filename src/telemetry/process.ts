import process from "node:process";
import { Counter, Gauge, type Registry } from "./prometheus.ts";

/**
 * `process_*` as Prometheus names them. prom-client's own default metrics mislead on Deno, so these read
 * `Deno.memoryUsage()` and the process's CPU time themselves.
 */
export function registerProcessMetrics(registry: Registry, startedAtMs: number): void {
  const registers = [registry];
  new Gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory size in bytes",
    registers,
    collect() {
      this.set(Deno.memoryUsage().rss);
    },
  });
  new Gauge({
    name: "process_heap_bytes",
    help: "JavaScript heap in use, in bytes",
    registers,
    collect() {
      this.set(Deno.memoryUsage().heapUsed);
    },
  });
  new Counter({
    name: "process_cpu_seconds_total",
    help: "User and system CPU time spent, in seconds",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  new Gauge({
    name: "process_start_time_seconds",
    help: "Start of the process, in seconds since the epoch",
    registers,
  })
    .set(startedAtMs / 1_000);
}
