/** Processor time and memory of processes, from /proc and cgroups. */

const TICKS_PER_SECOND = 100;
const MIB = 2 ** 20;

/** User and system time of processes since they started, together. */
export async function cpuMs(pids: readonly number[]): Promise<number> {
  const each = pids.map(async (pid) => {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    // The name in brackets may hold anything; fields count from behind it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 1_000 / TICKS_PER_SECOND;
  });
  return (await Promise.all(each)).reduce((sum, ms) => sum + ms, 0);
}

/** Programs that this process has started, by name. */
export async function childrenNamed(names: readonly string[]): Promise<number[]> {
  const found: number[] = [];
  for await (const entry of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(entry.name)) continue;
    const stat = await Deno.readTextFile(`/proc/${entry.name}/stat`).catch(() => "");
    const [, command = "", rest = ""] = /^\d+ \((.*)\) (.*)$/.exec(stat.trim()) ?? [];
    if (names.includes(command) && Number(rest.split(" ")[1]) === Deno.pid) found.push(Number(entry.name));
  }
  return found;
}

/** Lets processes run on these cores alone (`0`, `1-3`). False where `taskset` is not installed. */
export async function pin(pids: readonly number[], cores: string): Promise<boolean> {
  for (const pid of pids) {
    const args = ["--all-tasks", "--pid", "--cpu-list", cores, String(pid)];
    const child = new Deno.Command("taskset", { args, stdout: "null", stderr: "null" });
    const done = await child.output().catch(() => undefined);
    if (!done?.success) return false;
  }
  return true;
}

/** Memory of one process. */
export interface Memory {
  /** As `kubectl top` counts it: the cgroup's use without inactive file pages. Where no cgroup can be made: resident pages. */
  readonly workingSetMiB: number;
  /** Pages that no file backs. */
  readonly anonymousMiB: number;
}

/** A memory cgroup for a process that is still to be started. */
export interface Cgroup {
  /** Words before a command: they put it into the group and become it. */
  readonly command: readonly string[];
  memory(): Promise<Memory>;
  /** Once its process has ended. */
  remove(): Promise<void>;
}

/** Makes a cgroup (version 1 or 2); undefined where this process may not. */
export async function makeCgroup(name: string): Promise<Cgroup | undefined> {
  for (const root of ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]) {
    const folder = `${root}/${name}`;
    const isFirst = root.endsWith("memory");
    const [used, inactive, anonymous] = isFirst
      ? ["memory.usage_in_bytes", "total_inactive_file", "total_rss"]
      : ["memory.current", "inactive_file", "anon"];
    try {
      await Deno.mkdir(folder);
      await Deno.stat(`${folder}/${used}`);
    } catch {
      await Deno.remove(folder).catch(() => {});
      continue;
    }
    return {
      command: ["sh", "-c", `echo $$ > ${folder}/cgroup.procs && exec "$@"`, "sh"],
      async memory() {
        const stat = await Deno.readTextFile(`${folder}/memory.stat`);
        const bytes = (key: string) => Number(new RegExp(`^${key} (\\d+)$`, "m").exec(stat)?.[1]);
        const all = Number(await Deno.readTextFile(`${folder}/${used}`));
        return { workingSetMiB: (all - bytes(inactive)) / MIB, anonymousMiB: bytes(anonymous) / MIB };
      },
      remove: () => Deno.remove(folder),
    };
  }
  return undefined;
}

/** Resident memory, where there is no cgroup. */
export async function residentMemory(pid: number): Promise<Memory> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const mib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1_024;
  return { workingSetMiB: mib("VmRSS"), anonymousMiB: mib("RssAnon") };
}
