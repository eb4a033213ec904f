/**
 * The compiled program as users and the image have it: one file, called from another folder, with the permissions that are
 * compiled in. `deno task compile` says where the runtime comes from.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { bundle } from "../../scripts/bundle.ts";
import { compileBundle } from "../../scripts/compile.ts";
import { compilerRuntime, compileWith } from "../../scripts/support/compiler.ts";
import { type Controller, startController } from "../../scripts/support/controller.ts";
import { platformOf } from "../../scripts/support/platform.ts";
import { IMAGE_ENV } from "../../scripts/support/permissions.ts";
import { say } from "../../scripts/support/script.ts";
import { filterStatusName } from "../../src/filters/filter_status.ts";
import { CONFIG_MAPS } from "../../src/kube/core_resources.ts";
import { SETTINGS } from "../../src/settings.ts";
import { VERSION } from "../../src/version.ts";
import { create, KEPT } from "../support/readers.ts";
import { alertedPods, sendAlerts, wantedPods } from "../support/alerts.ts";
import { createCertAuthority } from "../support/certs.ts";
import { type DevWorld, metadataOf, startDevWorld } from "../support/dev_world.ts";
import { eventually } from "../support/eventually.ts";
import { POD_ENV, POD_USER, PodRoot } from "../support/pod_root.ts";
import { installed } from "../support/workplace.ts";
import { listeningIn } from "../support/listening.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const MAX_BYTES = 100_000_000;
const ALERTS = 3;

const folder = await Deno.makeTempDir({ prefix: "zen-watcher-binary-" });
Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));
const authority = createCertAuthority("zen-watcher-test");
const server = authority.issue({ usage: "server", commonName: "127.0.0.1", ipAddresses: ["127.0.0.1"] });

/** The program for users, and the one in the image. */
const programs = { user: join(folder, "zen-watcher"), pod: join(folder, "zen-watcher-pod") };
await bundle("main.ts", join(folder, "bundle"));
await compileBundle(join(folder, "bundle"), { output: programs.user, place: "user" });
await compileBundle(join(folder, "bundle"), { output: programs.pod, place: "pod" });
/** Where it is not implemented, the runtime cannot tell that a key is a certificate's own. */
const checksKeys = await says(`
  import { createPrivateKey, X509Certificate } from "node:crypto";
  const certificate = new X509Certificate(${JSON.stringify(server.certPem)});
  try {
    console.log(certificate.checkPrivateKey(createPrivateKey(${JSON.stringify(server.keyPem)})));
  } catch (error) {
    console.log(error.message);
  }
`);
/** Another root and another user need root's rights, and a kernel that has them. */
const canBeAnother = Deno.build.os === "linux" && Deno.uid() === 0;

Deno.test("--version says version, commit and Deno, and the program is at most 100 MB", async () => {
  const { stdout } = await new Deno.Command("git", { args: ["rev-parse", "--short=12", "HEAD"], cwd: ROOT })
    .output();
  const commit = Deno.env.get("REVISION")?.slice(0, 12) ?? new TextDecoder().decode(stdout).trim();
  const deno = await says("console.log(Deno.version.deno)");
  for (const program of Object.values(programs)) {
    const { out } = await zen(["--version"], { program });
    assertStringIncludes(out, `zen-watcher ${VERSION} (commit ${commit}, deno ${deno}, `);
    const { size } = await Deno.stat(program);
    say(`size: ${(size / 1e6).toFixed(1)} MB`);
    assert(size <= MAX_BYTES, `${size} bytes`);
  }
});

Deno.test("every command does its work from another folder", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  // As the chart makes it.
  await world.api.create(CONFIG_MAPS, {
    metadata: { name: filterStatusName("default"), namespace: "zen-system" },
  }, { namespace: "zen-system" });
  {
    await using controller = await start({ kubeconfig: world.kubeconfig });
    await takesAlerts(controller, world);
  }
  const place = join(folder, "elsewhere");
  await Deno.mkdir(join(place, "rules"), { recursive: true });
  for (const name of ["falco.yaml", "filters.yaml"]) {
    await Deno.copyFile(join(ROOT, "examples/rules", name), join(place, "rules", name));
  }
  await Deno.writeTextFile(join(place, "alert.json"), JSON.stringify(FALCO_ALERT));
  const cluster = ["--kubeconfig", world.kubeconfig];
  const [first] = world.observations();
  for (const fields of KEPT.slice(0, 1)) await create(world, fields);
  const name = String(first && metadataOf(first).name);
  const commands: readonly (readonly [args: readonly string[], shows: string])[] = [
    [["top", ...cluster], "shop/pod"],
    [["get", ...cluster, "-n", "shop"], "Pod/pod-0"],
    [["rule", FALCO_ALERT.rule, ...cluster], "Pod/pod-1"],
    [["workload", "pod", "-n", "shop", ...cluster], FALCO_ALERT.rule],
    [["diff", "--since", "24h", ...cluster], FALCO_ALERT.rule],
    [["why", name, "-n", "shop", ...cluster], FALCO_ALERT.rule],
    [["coverage", ...cluster], "SOURCE"],
    [["dropped", "-o", "csv", ...cluster], "time,document"],
    [
      [
        ...[
          "accept",
          "--rule",
          "CVE-2024-3094",
          "-n",
          "shop",
          "--reason",
          "mitigated",
          "--justification",
          "x",
        ],
        ...["--expires", "30d", "--dry-run", ...cluster],
      ],
      "kind: ObservationException",
    ],
    [["export", "-o", "csv", ...cluster], FALCO_ALERT.rule],
    [["check", "-f", "rules"], "filters.yaml"],
    [["explain", "--source", "falco", "-f", "alert.json"], FALCO_ALERT.rule],
    [["test", "rules"], "passed"],
    [["completion", "bash"], "zen-watcher"],
    [["version", "-o", "json"], VERSION],
    [["help", "top"], "Usage: zen-watcher top"],
  ];
  for (const [args, shows] of commands) {
    const { code, out, err } = await zen(args, { cwd: place });
    assertEquals([code, err], [0, ""], `${args.join(" ")}: ${out}`);
    assert(out.includes(shows), `${args.join(" ")}: ${out}`);
  }
  const { out } = await zen(["--help"], { cwd: place });
  const listed = [...out.matchAll(/^ {2}([a-z]+) (?:\[|<| )/gm)].map(([, name]) => name);
  assertEquals([...new Set(["run", "ui", ...commands.map(([[name]]) => name)])].sort(), listed.sort());
});

Deno.test("the bundle hides the chunks of the page and of client-node from the runtime, which reads those it finds at the start", async () => {
  const chunks = new Map<string, string>();
  for await (const { name } of Deno.readDir(join(folder, "bundle"))) {
    if (name.endsWith(".js")) chunks.set(name, await Deno.readTextFile(join(folder, "bundle", name)));
  }
  const hidden = [...chunks].filter(([, code]) => code.includes("/icon.svg") || code.length > 1_000_000);
  assert(hidden.length >= 2, hidden.map(([name]) => name).join());
  for (const [name] of hidden) {
    const finders = [...chunks].filter(([, code]) =>
      new RegExp(`(from|import)\\s*\\(?"\\./${name}"`).test(code)
    );
    assertEquals(finders.map(([finder]) => finder), [], name);
  }
});

Deno.test("ui serves the page that is built in, and ends with 0 on SIGINT", async () => {
  await using world = await startDevWorld();
  const child = new Deno.Command(programs.user, {
    args: ["ui", "--no-open", "--kubeconfig", world.kubeconfig],
    cwd: folder,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value: address = "" } = await reader.read();
  assertMatch(address, /^http:\/\/127\.0\.0\.1:\d+\/#token=\S+\n$/);
  const url = new URL(address.trim());
  for (
    const [path, holds] of Object.entries({ "/": "<html", "/page.js": "getElementById", "/page.css": "{" })
  ) {
    const response = await fetch(new URL(path, url));
    const text = await response.text();
    assertEquals(response.status, 200);
    assertStringIncludes(text, holds);
    assert(!text.includes("ZEN_WATCHER_"), "the script is built in");
  }
  child.kill("SIGINT");
  assertEquals((await child.status).code, 0);
  await reader.cancel();
});

Deno.test("with a kubeconfig it stores alerts, and ends with 0 on SIGTERM and SIGINT", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    await using controller = await start({ kubeconfig: world.kubeconfig });
    await takesAlerts(controller, world);
    await printMemory(controller);
    controller.kill("SIGUSR1");
    assertEquals((await (await fetch(`${controller.url}/ready`)).json()).status, "ready");
    controller.kill(signal);
    assertEquals((await controller.exited).code, 0, controller.lines.slice(-20).join("\n"));
    assert(!controller.lines.some((line) => line.includes("Debugger listening")), "it has no inspector");
  }
});

Deno.test("it still accepts alerts after it checked that its port accepts connections", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  await using controller = await start({ kubeconfig: world.kubeconfig });
  await takesAlerts(controller, world);
  // The guard of the port needs two looks, 5 s apart, and 2 s to judge: nothing tells from outside that it has looked.
  await new Promise((resolve) => setTimeout(resolve, 15_000));
  const response = await fetch(`${controller.url}/ready`, { signal: AbortSignal.timeout(5_000) });
  assertEquals([response.status, await response.json()], [200, { status: "ready" }]);
  assertEquals(controller.lines.filter((line) => line.includes("accepts no connections")), []);
});

Deno.test({
  name: "a new user links the program as README says, and kubectl zen answers and completes",
  ignore: !await installed(["kubectl", "bash"]),
  fn: async () => {
    await using world = await startDevWorld({ namespaces: ["shop", "pay"] });
    for (const fields of KEPT) await create(world, fields);
    const readme = await Deno.readTextFile(join(ROOT, "README.md"));
    const [, block = ""] = /```sh\n([^`]*kubectl zen top\n[^`]*)```/.exec(readme) ?? [];
    const home = join(folder, "home");
    await Deno.mkdir(join(home, "dist"), { recursive: true });
    await Deno.mkdir(join(home, "bin"));
    await Deno.symlink(programs.user, join(home, "dist/zen-watcher"));
    // The program is compiled already.
    await Deno.writeTextFile(join(home, "bin/npx"), "#!/bin/sh\nexit 0\n", { mode: 0o755 });
    const session = async (line: string) => {
      const { code, stdout, stderr } = await new Deno.Command("bash", {
        args: ["-e", "-c", line],
        cwd: home,
        env: {
          HOME: home,
          KUBECONFIG: world.kubeconfig,
          PATH: `${home}/bin:${home}/.local/bin:${Deno.env.get("PATH")}`,
        },
        stdin: "null",
      }).output();
      const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      assertEquals([code, err], [0, ""], line);
      return out ?? "";
    };
    const answers = await session(block);
    assertMatch(answers, /^shop\/web +1 +0 +0 +1 /m);
    assertMatch(answers, /^shop +CRITICAL +CVE-2024-3094 +Deployment\/web /m);
    await session(
      "kubectl-zen completion kubectl >~/.local/bin/kubectl_complete-zen && chmod +x ~/.local/bin/kubectl_complete-zen",
    );
    const offered = (await session('kubectl __complete zen rule -n shop "CVE" 2>/dev/null')).split("\n");
    assertEquals(offered.slice(0, 2), ["CVE-2024-3094\tCRITICAL, 2 Observations", ":4"]);
  },
});

Deno.test("the image's program reads no kubeconfig: that right is a user's", async () => {
  const kubeconfig = join(folder, "kubeconfig");
  await Deno.writeTextFile(kubeconfig, "{}");
  for (const command of [["top", "--kubeconfig", kubeconfig], ["get", "--context", "c"], ["ui"]]) {
    const { code, out, err } = await zen(command, { program: programs.pod });
    assertEquals([code, out], [1, ""]);
    assertMatch(err, /^Cannot run "zen-watcher \w+" with the image's program: [^\n]*\n$/);
  }
  const { err } = await zen(["check", "-f", kubeconfig], { program: programs.pod });
  assertStringIncludes(err, "the image's program may not read files. Pipe it in with -f -");
});

Deno.test({
  name: canBeAnother
    ? "in a Pod it stores alerts, as UID 65532 on a root with nothing writable"
    : "in a Pod it stores alerts, as UID 65532 (skipped: needs root and Linux)",
  ignore: !canBeAnother,
  async fn() {
    await using world = await startSecureWorld();
    await using root = await PodRoot.create({ program: programs.pod, files: mountedFiles() });
    const before = await root.entries();
    await using controller = await start({ command: root.command, clearEnv: true, env: podEnv(world) });
    const status = await Deno.readTextFile(`/proc/${controller.pid}/status`);
    for (const line of [`Uid:${`\t${POD_USER}`.repeat(4)}\n`, "CapEff:\t0000000000000000\n"]) {
      assertStringIncludes(status, line);
    }
    await takesAlerts(controller, world);
    await printMemory(controller);
    controller.kill("SIGTERM");
    assertEquals((await controller.exited).code, 0, controller.lines.slice(-20).join("\n"));
    assertEquals(await root.entries(), before, "nothing was written");
  },
});

Deno.test({
  name: canBeAnother && checksKeys === "true"
    ? "in a Pod it serves TLS"
    : `in a Pod it serves TLS (skipped: ${canBeAnother ? checksKeys : "needs root and Linux"})`,
  ignore: !canBeAnother || checksKeys !== "true",
  async fn() {
    await using world = await startSecureWorld();
    await using root = await PodRoot.create({ program: programs.pod, files: mountedFiles() });
    const env = {
      ...podEnv(world),
      WATCHER_TLS_PORT: "0",
      TLS_CERT_FILE: "/etc/zen-watcher/tls/tls.crt",
      TLS_KEY_FILE: "/etc/zen-watcher/tls/tls.key",
    };
    await using controller = await start({ command: root.command, clearEnv: true, env });
    const { tlsUrl } = listeningIn(controller);
    using client = Deno.createHttpClient({ caCerts: [authority.certPem] });
    const response = await fetch(`${tlsUrl}/ready`, { client });
    assertEquals([response.status, await response.json()], [200, { status: "ready" }]);
  },
});

const FALCO_ALERT = {
  hostname: "node-1",
  rule: "Terminal shell in container",
  priority: "Warning",
  source: "syscall",
  time: "2026-01-01T00:00:00Z",
  output: "A shell was spawned in a container",
  output_fields: { "k8s.ns.name": "shop", "k8s.pod.name": "pod-9" },
};

interface Zen {
  readonly program?: string;
  readonly cwd?: string;
}

async function zen(args: readonly string[], { program = programs.user, cwd = "/" }: Zen = {}) {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

/** Compiles a program of one file, and returns what it prints. */
async function says(code: string): Promise<string> {
  const work = await Deno.makeTempDir({ dir: folder });
  await Deno.writeTextFile(join(work, "probe.js"), code);
  const output = join(work, "probe");
  const platform = platformOf();
  await compileWith(await compilerRuntime(platform), {
    entry: "probe.js",
    folder: work,
    output,
    platform,
    flags: [],
  });
  return (await zen([], { program: output })).out.trim();
}

type Start = Parameters<typeof startController>[0];

async function start(options: Start): Promise<Controller> {
  return await startController({ command: [programs.user], compiled: true, ...options });
}

/** Sends alerts until each is taken, and waits until each is stored once. */
async function takesAlerts({ url }: Controller, world: DevWorld): Promise<void> {
  await sendAlerts(() => url, { count: ALERTS, namespace: "shop" });
  await eventually("every alert stored", () => {
    assertEquals(alertedPods(world.observations()), wantedPods(ALERTS));
    return true;
  });
}

async function printMemory({ pid }: Controller): Promise<void> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`).catch(() => "");
  const [, peakKb = 0] = /^VmHWM:\s+(\d+)/m.exec(status) ?? [];
  const [, nowKb = 0] = /^VmRSS:\s+(\d+)/m.exec(status) ?? [];
  const mib = (kb: number | string) => Math.round(Number(kb) / 1024);
  say(`memory: ${mib(nowKb)} MiB, at most ${mib(peakKb)}, ${ALERTS} alerts stored`);
}

function startSecureWorld(): Promise<DevWorld> {
  return startDevWorld({
    namespaces: ["shop"],
    tls: { ca: authority.certPem, cert: server.certPem, key: server.keyPem },
  });
}

/** What the kubelet mounts. */
function mountedFiles(): Record<string, string> {
  const account = SETTINGS.serviceAccountFolder.fallback;
  return {
    [`${account}/token`]: "devcluster",
    [`${account}/ca.crt`]: authority.certPem,
    [`${account}/namespace`]: "zen-system",
    "/etc/zen-watcher/tls/tls.crt": server.certPem,
    "/etc/zen-watcher/tls/tls.key": server.keyPem,
  };
}

function podEnv({ server: { url } }: DevWorld): Record<string, string> {
  const { hostname, port } = new URL(url);
  return {
    ...POD_ENV,
    ...IMAGE_ENV,
    POD_NAMESPACE: "zen-system",
    POD_NAME: "zen-watcher-0",
    KUBERNETES_SERVICE_HOST: hostname,
    KUBERNETES_SERVICE_PORT: port,
  };
}
