/** The completion scripts in the shells that load them, and in kubectl; what is not installed here is skipped by name. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { BUILT_IN } from "../src/sources/registry.ts";
import { ROOT } from "./support/docs.ts";
import { apiServer } from "./support/api_server.ts";
import { kubeconfigOf, startWorld, zen } from "./support/readers.ts";
import { installed } from "./support/workplace.ts";

const sources = [...BUILT_IN.keys()];

/** A folder for PATH with the program, as kubectl's plugin too. */
async function programs(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir();
  const script = `#!/bin/sh\nexec "${Deno.execPath()}" run -A "${join(ROOT, "main.ts")}" "$@"\n`;
  for (const name of ["zen-watcher", "kubectl-zen"]) {
    await Deno.writeTextFile(join(path, name), script, { mode: 0o755 });
  }
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** What a shell prints of a script. */
async function run(
  folder: string,
  [program = "", ...args]: readonly string[],
  kubeconfig = "/nowhere",
): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(program, {
    args,
    env: {
      PATH: `${folder}:${Deno.env.get("PATH")}`,
      DENO_NO_UPDATE_CHECK: "1",
      ZDOTDIR: folder,
      KUBECONFIG: kubeconfig,
    },
    cwd: ROOT,
    stdin: "null",
    signal: AbortSignal.timeout(120_000),
  }).output();
  const decoder = new TextDecoder();
  return decoder.decode(stdout) || decoder.decode(stderr);
}

Deno.test("bash completes commands and values, behind = too, and files", async () => {
  await using folder = await programs();
  // What bash sets: the words, broken at "=" as well, and the line.
  const script = `source <(zen-watcher completion bash)
    ask() { COMP_LINE=$1; COMP_POINT=\${#1}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); __zen_watcher; echo "\${COMPREPLY[*]}"; }
    ask "zen-watcher ch" zen-watcher ch
    ask "zen-watcher explain --source " zen-watcher explain --source ""
    ask "zen-watcher explain --source=ky" zen-watcher explain --source = ky
    ask "zen-watcher explain --source=" zen-watcher explain --source =
    ask "zen-watcher check -f " zen-watcher check -f ""
    complete -p zen-watcher kubectl-zen`;
  assertEquals((await run(folder.path, ["bash", "-c", script])).trimEnd().split("\n"), [
    "check",
    sources.join(" "),
    "kyverno",
    sources.join(" "),
    "",
    "complete -F __zen_watcher zen-watcher",
    "complete -F __zen_watcher kubectl-zen",
  ]);
});

Deno.test({
  name: "fish completes commands, values and files",
  ignore: !await installed(["fish"]),
  fn: async () => {
    await using folder = await programs();
    const script = `zen-watcher completion fish | source
      complete -C "zen-watcher ch"; complete -C "zen-watcher test -o "; complete -C "zen-watcher check -f main.t"`;
    const lines = (await run(folder.path, ["fish", "--no-config", "-c", script])).trimEnd().split("\n");
    assertEquals(lines.map((line) => line.split("\t")[0]), ["check", "json", "junit", "yaml", "main.ts"]);
  },
});

Deno.test({
  name: "zsh completes commands and values",
  ignore: !await installed(["zsh"]),
  fn: async () => {
    await using folder = await programs();
    const script = `zmodload zsh/zpty
      zpty z zsh -f -i
      zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -D; source <(zen-watcher completion zsh); print rea""dy'
      zpty -r -m z out '*ready*'
      zpty -w -n z $'zen-watcher explain --ou\\t'; zpty -r -m z out '*--output*'; print -r -- "$out"
      zpty -w -n z $' \\t'; zpty -r -m z out '*json*yaml*'; print -r -- "$out"`;
    const shown = await run(folder.path, ["zsh", "-f", "-c", script]);
    assertStringIncludes(shown, "zen-watcher explain --output");
    assertStringIncludes(shown, "yaml");
  },
});

Deno.test({
  name: "kubectl completes kubectl zen by the file that completion kubectl prints",
  ignore: !await installed(["kubectl"]),
  fn: async () => {
    await using folder = await programs();
    const file = join(folder.path, "kubectl_complete-zen");
    await Deno.writeTextFile(file, await run(folder.path, ["zen-watcher", "completion", "kubectl"]), {
      mode: 0o755,
    });
    const lines = (await run(folder.path, ["kubectl", "__complete", "zen", "explain", "--source", "k"]))
      .trimEnd();
    const offered = sources.filter((name) => name.startsWith("k"));
    assertEquals(lines.split("\n").slice(0, offered.length + 1), [...offered, ":4"]);
  },
});

/** The candidates for the last word, and the directive. */
async function complete(...words: string[]): Promise<string[]> {
  const { code, out, err } = await zen(["__complete", ...words], {});
  assertEquals([code, err], [0, ""]);
  return out.trimEnd().split("\n");
}

Deno.test("completion offers namespaces, rules, workloads, sources, kinds and Observations of the cluster", async () => {
  await using world = await startWorld();
  const at = ["--kubeconfig", world.kubeconfig];
  const names = async (...words: string[]) => (await complete(...words)).map((line) => line.split("\t")[0]);
  assertEquals(await names("get", ...at, "-n", "p"), ["pay", "payments", ":4"]);
  assertEquals(await complete("rule", ...at, "CVE"), ["CVE-2024-3094\tCRITICAL, 2 Observations", ":4"]);
  assertEquals(await complete("get", ...at, "-npay", "--rule", ""), [
    "disallow-latest-tag/require-image-tag\tMEDIUM, 1 Observation",
    ":4",
  ]);
  assertEquals(await names("workload", ...at, "-n", "shop", ""), ["api", "web", ":4"]);
  assertEquals(await names("workload", "-n", "shop", "-A", ...at, "p"), ["pay", ":4"]);
  assertEquals(await names("get", ...at, "--kind=D"), ["--kind=Deployment", ":4"]);
  assertEquals((await names("get", ...at, "--source", "k"))[0], "kyverno");
  assertEquals(await names("get", ...at, "--source", "falco", "--rule", ""), [
    "Terminal shell in container",
    ":4",
  ]);
  assertEquals(await names("accept", ...at, "-n", "shop", "--resource", "Deployment/w"), [
    "Deployment/web",
    ":4",
  ]);
  assertEquals((await names("why", ...at, "trivy-")).length, 3);
  assertEquals(await names("top", ...at, "--context", ""), ["devcluster", ":4"]);
  assertEquals(await names("get", "--severity", "H"), ["HIGH", "HIGH+", ":4"]);
});

Deno.test("completion is silent where the cluster does not answer, refuses, or is not there, and ends in time", async () => {
  const hung = new AbortController();
  await using silent = apiServer(() =>
    new Promise<Response>((resolve) => hung.signal.addEventListener("abort", () => resolve(new Response())))
  );
  await using refusing = apiServer(() => new Response("{}", { status: 403 }));
  for (const server of [silent.url, refusing.url, "http://127.0.0.1:1"]) {
    await using kubeconfig = await kubeconfigOf(server);
    assertEquals(await complete("rule", "--kubeconfig", kubeconfig.path, ""), [":4"], server);
  }
  hung.abort();
  assertEquals(await complete("rule", "--kubeconfig", "/nowhere", ""), [":4"]);
});

/** Lines as a user types them before Tab, and what the line is then. */
const TYPED: readonly (readonly [typed: string, completed: string])[] = [
  ["zen-watcher get -n sho", "zen-watcher get -n shop"],
  ["zen-watcher rule CVE", "zen-watcher rule CVE-2024-3094"],
  ["zen-watcher rule Terminal\\ sh", "zen-watcher rule Terminal\\ shell\\ in\\ container"],
  ["zen-watcher rule 'Terminal sh", "zen-watcher rule 'Terminal shell in container'"],
  ["zen-watcher workload -n shop w", "zen-watcher workload -n shop web"],
  ["zen-watcher get --source=fal", "zen-watcher get --source=falco"],
  ["zen-watcher accept --resource Deployment/w", "zen-watcher accept --resource Deployment/web"],
];

Deno.test({
  name: "zsh completes values of the cluster in an interactive session, within quotes too",
  ignore: !await installed(["zsh"]),
  fn: async () => {
    await using world = await startWorld();
    await using folder = await programs();
    // Ctrl-X shows the line between "<" and ">" and empties it.
    const script = `zmodload zsh/zpty
      zpty z zsh -f -i
      zpty -w z 'PS1=; unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; source <(zen-watcher completion zsh)
        show() { print -r -- "<$BUFFER>"; zle kill-whole-line }; zle -N show; bindkey "^X" show; print rea""dy'
      zpty -r -m z out '*ready*'
      for line in "$@"; do
        zpty -w -n z "$line"$'\t\x18'
        zpty -r -m z out '*<*>*'
        print -r -- "\${\${out##*<}%%>*}"
      done`;
    const shown = await run(
      folder.path,
      ["zsh", "-f", "-c", script, "zsh", ...TYPED.map(([typed]) => typed)],
      world.kubeconfig,
    );
    assertEquals(
      shown.trimEnd().split("\n").map((line) => line.trimEnd()),
      TYPED.map(([, completed]) => completed),
    );
  },
});

Deno.test("bash, kubectl and fish complete values of the cluster, with spaces in them too", async () => {
  await using world = await startWorld();
  await using folder = await programs();
  const { path } = folder;
  const script = `source <(zen-watcher completion bash)
    ask() { COMP_LINE=$1; COMP_POINT=\${#1}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); __zen_watcher; echo "\${COMPREPLY[*]}"; }
    ask "zen-watcher rule CVE" zen-watcher rule CVE
    ask "zen-watcher rule Terminal\\ sh" zen-watcher rule "Terminal\\ sh"
    ask "zen-watcher rule Term" zen-watcher rule Term`;
  assertEquals((await run(path, ["bash", "-c", script], world.kubeconfig)).trimEnd().split("\n"), [
    "CVE-2024-3094",
    "Terminal\\ shell\\ in\\ container",
    "Terminal\\ shell\\ in\\ container",
  ]);
  if (await installed(["kubectl"])) {
    const file = join(path, "kubectl_complete-zen");
    await Deno.writeTextFile(file, await run(path, ["zen-watcher", "completion", "kubectl"]), {
      mode: 0o755,
    });
    const words = ["kubectl", "__complete", "zen", "workload", "-n", "shop", "w"];
    assertEquals((await run(path, words, world.kubeconfig)).split("\n").slice(0, 2), [
      "web\tCRITICAL, 2 Observations",
      ":4",
    ]);
  }
  if (await installed(["fish"])) {
    const asked = `zen-watcher completion fish | source
      for line in "rule Terminal\\\\ sh" "get -n sho" "workload -n shop w"; complete -C "zen-watcher $line"; end`;
    const shown = await run(path, ["fish", "--no-config", "-c", asked], world.kubeconfig);
    assertEquals(shown.trimEnd().split("\n"), [
      "Terminal shell in container\tLOW, 1 Observation",
      "shop",
      "web\tCRITICAL, 2 Observations",
    ]);
  }
});
