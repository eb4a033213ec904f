/** What this machine must have to run nodes of Kubernetes: root, Linux, cgroups of version 1, and some programs. */
import { ensureCommand } from "../tools.ts";

/** Programs and Debian's packages that hold them. */
const PROGRAMS: Readonly<Record<string, string>> = {
  containerd: "containerd",
  runc: "runc",
  iptables: "iptables",
  conntrack: "conntrack",
  ipset: "ipset",
  ip: "iproute2",
  nsenter: "util-linux",
  mount: "mount",
};
const CNI_PLUGIN = "/usr/lib/cni/bridge";
const CNI_PACKAGE = "containernetworking-plugins";

/** The hierarchies that kubelet and runc use. */
export const CGROUPS = [
  "cpu",
  "cpuacct",
  "cpuset",
  "memory",
  "devices",
  "freezer",
  "blkio",
  "pids",
  "systemd",
];
/** Where they are mounted. */
export const CGROUP_ROOT = "/sys/fs/cgroup";

/** Why no node can run here; undefined where one can. */
export async function whyNoNodes(): Promise<string | undefined> {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return "needs root and Linux";
  if (Deno.build.arch !== "x86_64") return "needs an amd64 machine";
  for (const name of CGROUPS) {
    if (!await isFolder(`${CGROUP_ROOT}/${name}`)) return "needs cgroups of version 1";
  }
  const { success } = await new Deno.Command("unshare", {
    args: ["--net", "--mount", "--pid", "--fork", "true"],
    stdin: "null",
    stderr: "null",
  }).output();
  return success ? undefined : "may not make namespaces here";
}

/** Installs the programs that are missing. */
export async function ensurePrograms(): Promise<void> {
  for (const [program, debian] of Object.entries(PROGRAMS)) await ensureCommand(program, [debian]);
  if (!await isFolder("/usr/lib/cni")) await ensureCommand(CNI_PLUGIN, [CNI_PACKAGE]);
}

async function isFolder(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ isDirectory }) => isDirectory, () => false);
}
