/** Memory, processor time and sockets of a process, from /proc. */

const TICKS_PER_SECOND = 100;
const MIB = 1024;
const SAMPLE_MS = 100;

export interface Memory {
  readonly rssMiB: number;
  /** The highest since `resetPeak`. */
  readonly peakMiB: number;
}

export async function memoryOf(pid: number): Promise<Memory> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? NaN);
  return { rssMiB: kib("VmRSS") / MIB, peakMiB: kib("VmHWM") / MIB };
}

/** Makes the present size the highest known. */
export async function resetPeak(pid: number): Promise<void> {
  await Deno.writeTextFile(`/proc/${pid}/clear_refs`, "5");
}

/** User and system time since the process started. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  // The name in brackets may hold anything; fields count from behind it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Established connections of a process to a port. */
export async function socketsTo(pid: number, port: number): Promise<number> {
  const inodes = new Set<string>();
  for await (const { name } of Deno.readDir(`/proc/${pid}/fd`)) {
    const target = await Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => "");
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const remote = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = (await Deno.readTextFile(`/proc/${pid}/net/tcp`)).split("\n").slice(1);
  return rows.map((row) => row.trim().split(/\s+/)).filter((fields) =>
    fields[2]?.endsWith(remote) && fields[3] === "01" && inodes.has(fields[9] ?? "")
  ).length;
}

/** Programs this process has started, by name. */
export async function childrenNamed(name: string): Promise<number[]> {
  const found: number[] = [];
  for await (const entry of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(entry.name)) continue;
    const stat = await Deno.readTextFile(`/proc/${entry.name}/stat`).catch(() => "");
    const [, command, rest = ""] = /^\d+ \((.*)\) (.*)$/.exec(stat.trim()) ?? [];
    if (command === name && Number(rest.split(" ")[1]) === Deno.pid) found.push(Number(entry.name));
  }
  return found;
}

/** What a process used between two moments. */
export interface Usage {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly rssMeanMiB: number;
  readonly rssPeakMiB: number;
  readonly socketsPeak: number;
}

/** Watches a process while `work` runs. */
export async function usageDuring<T>(
  { pid, apiPort }: { readonly pid: number; readonly apiPort: number },
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly usage: Usage }> {
  const sizes: number[] = [];
  let socketsPeak = 0;
  let samples = 0;
  const sample = async () => {
    sizes.push((await memoryOf(pid)).rssMiB);
    if (samples++ % 10 === 0) socketsPeak = Math.max(socketsPeak, await socketsTo(pid, apiPort));
  };
  await resetPeak(pid);
  const cpuBefore = await cpuSeconds(pid);
  const startedAt = performance.now();
  // A process that ends in the middle is the work's own failure to report.
  const timer = setInterval(() => sample().catch(() => {}), SAMPLE_MS);
  try {
    await sample();
    const result = await work();
    const seconds = (performance.now() - startedAt) / 1_000;
    const { peakMiB } = await memoryOf(pid);
    const usage = {
      seconds,
      cpuSeconds: await cpuSeconds(pid) - cpuBefore,
      rssMeanMiB: sizes.reduce((sum, size) => sum + size, 0) / sizes.length,
      rssPeakMiB: peakMiB,
      socketsPeak,
    };
    return { result, usage };
  } finally {
    clearInterval(timer);
  }
}
