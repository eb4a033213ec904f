/**
 * The release, as far as this machine can show it: the workflows pass actionlint, every step of the release workflow runs
 * here in the order of the jobs, and krew installs the plugin from the archives for every platform. Programs that only the
 * release's own place has (docker, cosign, gh, the compiler's runtimes) are replaced by ones that write down how they were
 * called.
 */
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { parse } from "yaml";
import { PLATFORMS } from "../../scripts/support/platform.ts";
import { exec } from "../../scripts/support/run.ts";
import { ensureTool } from "../../scripts/tools.ts";
import { VERSION } from "../../src/version.ts";
import { serveFolder } from "../support/serve_folder.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const TAG = `v${VERSION}`;
const IMAGE = "ghcr.io/kube-zen/zen-watcher";
const DIGEST = `sha256:${"a".repeat(64)}`;
const CHART_DIGEST = `sha256:${"c".repeat(64)}`;
const ARCHIVES = PLATFORMS.map(({ os, arch }) => `zen-watcher-${TAG}-${os}-${arch}.tar.gz`);

const folder = await Deno.makeTempDir({ prefix: "zen-release-" });
const workspace = join(folder, "workspace");
const calls = join(folder, "calls");
Deno.test.afterAll(() => Deno.remove(folder, { recursive: true }));
await copySources();
const path = `${await standIns()}:${Deno.env.get("PATH")}`;

Deno.test("actionlint finds nothing in the workflows, and would find a mistake", async () => {
  const actionlint = await ensureTool("actionlint");
  const lint = (files: readonly string[]) => exec(actionlint, ["-no-color", ...files], { cwd: ROOT });
  const files = [".github/workflows/release.yaml", ".github/workflows/verify.yaml"];
  assertEquals(await lint(files), "");
  const wrong = join(folder, "wrong.yaml");
  const text = await Deno.readTextFile(join(ROOT, files[0] ?? ""));
  await Deno.writeTextFile(wrong, text.replace("needs: [chart, run-binaries]", "needs: [chart, other]"));
  await assertRejects(() => lint([wrong]), Error, 'job "release" needs job "other"');
});

Deno.test("every step of the release workflow runs, and publishes image, chart, binaries and manifest", async () => {
  const { env, jobs }: Workflow = parse(
    await Deno.readTextFile(join(ROOT, ".github/workflows/release.yaml")),
  );
  const outputs: Record<string, Record<string, string>> = {};
  for (const name of inOrder(jobs)) {
    const job = jobs[name];
    for (const matrix of job?.strategy?.matrix.include ?? [{}]) {
      const steps: Record<string, Record<string, string>> = {};
      const context = { matrix, steps, needs: outputs };
      for (const step of job?.steps ?? []) {
        if (step.run === undefined) continue;
        const values = { ...env, ...step.env };
        const filled = Object.fromEntries(
          Object.entries(values).map(([key, value]) => [key, fill(value, context)]),
        );
        const written = await runStep(`${name}: ${step.name}`, fill(step.run, context), filled);
        if (step.id !== undefined) steps[step.id] = written;
      }
      for (const [key, value] of Object.entries(job?.outputs ?? {})) {
        (outputs[name] ??= {})[key] = fill(value, context);
      }
    }
  }
  const made = await Deno.readTextFile(calls);
  const called = (pattern: RegExp) => assertMatch(made, pattern);
  called(
    /^docker buildx build \. --push --platform linux\/amd64,linux\/arm64 .*--provenance mode=max --sbom true/m,
  );
  called(new RegExp(`^cosign sign --yes --recursive ${IMAGE}@${DIGEST}$`, "m"));
  called(
    new RegExp(`^cosign attest --yes --type cyclonedx --predicate sbom.cdx.json ${IMAGE}@${DIGEST}$`, "m"),
  );
  called(new RegExp(`^helm push zen-watcher-${VERSION}.tgz oci://ghcr.io/kube-zen/charts$`, "m"));
  called(new RegExp(`^cosign sign --yes ghcr.io/kube-zen/charts/zen-watcher@${CHART_DIGEST}$`, "m"));
  called(/^cosign sign-blob --yes --bundle .*checksums.txt.sigstore.json .*checksums.txt$/m);
  assertEquals(JSON.parse(await Deno.readTextFile(join(workspace, "sbom.cdx.json"))).bomFormat, "CycloneDX");
  const packed = await exec("tar", ["-xzOf", `zen-watcher-${VERSION}.tgz`, "zen-watcher/values.yaml"], {
    cwd: workspace,
  });
  assertEquals(parse(packed).image, {
    registry: "ghcr.io",
    repository: "kube-zen/zen-watcher",
    tag: "",
    digest: DIGEST,
    pullPolicy: "IfNotPresent",
  });
  const [, flags = "", files = ""] = /^gh release create (.*?--notes-file notes\.md) (.*)$/m.exec(made) ?? [];
  assertEquals(flags, `${TAG} --verify-tag --latest --title ${TAG} --notes-file notes.md`);
  assertEquals(
    files.split(" ").map((file) => file.replace("dist/release/", "")).sort(),
    [...ARCHIVES, "checksums.txt", "checksums.txt.sigstore.json", "zen.yaml"].sort(),
  );
  for (const file of files.split(" ")) assert((await Deno.stat(join(workspace, file))).size > 0, file);
  assertEquals(
    [...made.matchAll(/^compile .*--target=(\S+)/gm)].map(([, target]) => target),
    PLATFORMS.map(({ target }) => target),
  );
});

Deno.test("krew installs the plugin for every platform from the release's archives, and refuses a changed one", async () => {
  const release = join(workspace, "dist/release");
  await using served = serveFolder(release);
  const script = join(workspace, "scripts/release.ts");
  await exec(Deno.execPath(), ["run", "-A", script, "pack", "--from", served.url], { cwd: workspace });
  const bin = join(folder, "krew");
  await Deno.mkdir(bin);
  await Deno.symlink(await ensureTool("krew"), join(bin, "kubectl-krew"));
  const validator = await ensureTool("validate-krew-manifest");
  const validate = () =>
    // The reason comes before Go's stacks.
    exec("bash", [
      "-o",
      "pipefail",
      "-c",
      `'${validator}' -manifest '${join(release, "zen.yaml")}' 2>&1 | sed '/^\\t/d; /goroutine/,$d'`,
    ], {
      env: { PATH: `${bin}:${path}` },
    });
  assertStringIncludes(await validate(), `all ${PLATFORMS.length} spec.platforms installed fine`);
  assertEquals(served.asked.filter((file) => ARCHIVES.includes(file)).sort(), ARCHIVES.toSorted());
  const manifest = parse(await Deno.readTextFile(join(release, "zen.yaml")));
  assertEquals([manifest.spec.version, manifest.spec.platforms.length], [TAG, PLATFORMS.length]);
  await Deno.writeTextFile(join(release, ARCHIVES[0] ?? ""), "changed");
  await assertRejects(validate, Error, "spec.platforms[0] failed to install");
});

interface Workflow {
  readonly env: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

interface Job {
  readonly needs?: string | readonly string[];
  readonly outputs?: Readonly<Record<string, string>>;
  readonly strategy?: { readonly matrix: { readonly include: readonly Record<string, string>[] } };
  readonly steps?: readonly Step[];
}

interface Step {
  readonly id?: string;
  readonly name?: string;
  readonly run?: string;
  readonly env?: Readonly<Record<string, string>>;
}

type Outputs = Readonly<Record<string, Readonly<Record<string, string>>>>;

interface Context {
  readonly matrix: Readonly<Record<string, string>>;
  readonly steps: Outputs;
  readonly needs: Outputs;
}

/** Each job after those that it needs. */
function inOrder(jobs: Workflow["jobs"]): string[] {
  const done: string[] = [];
  const visit = (name: string) => {
    for (const needed of [jobs[name]?.needs ?? []].flat()) visit(needed);
    if (!done.includes(name)) done.push(name);
  };
  Object.keys(jobs).forEach(visit);
  return done;
}

/** The expressions of the workflow. One that is not known here is an error, as a misspelt one must be. */
function fill(text: string, { matrix, steps, needs }: Context): string {
  return text.replaceAll(/\$\{\{ ([\w.-]+) \}\}/g, (_, expression: string) => {
    const [head = "", name = "", , output = ""] = expression.split(".");
    const value = {
      github: { repository: "kube-zen/zen-watcher", repository_owner: "kube-zen" }[name],
      secrets: "secret",
      matrix: matrix[name],
      steps: steps[name]?.[output],
      needs: needs[name]?.[output],
    }[head];
    if (value === undefined) throw new Error(`Cannot fill "${expression}": it is not known`);
    return value;
  });
}

/** Runs a step as the runner does, and resolves with its outputs. */
async function runStep(
  name: string,
  script: string,
  env: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  const output = join(folder, "output");
  await Deno.writeTextFile(output, "");
  await exec("bash", ["--noprofile", "--norc", "-eo", "pipefail", "-c", script], {
    why: name,
    cwd: workspace,
    env: {
      ...env,
      PATH: path,
      CALLS: calls,
      DENO_COMPILER: join(folder, "bin/compiler"),
      GITHUB_ACTOR: "someone",
      GITHUB_OUTPUT: output,
      GITHUB_REF: `refs/tags/${TAG}`,
      GITHUB_REF_NAME: TAG,
      GITHUB_REPOSITORY: "kube-zen/zen-watcher",
      GITHUB_SHA: "0123456789abcdef0123456789abcdef01234567",
      RUNNER_OS: "Linux",
    },
  });
  const lines = (await Deno.readTextFile(output)).trim().split("\n").filter(Boolean);
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

/** The files of the repository, those not committed too, in a repository of its own: steps change them. */
async function copySources(): Promise<void> {
  await Deno.mkdir(workspace);
  const list = "git ls-files --cached --others --exclude-standard -z";
  const copy = `cd '${ROOT}' && ${list} | tar --null --files-from=- -c | tar -xC '${workspace}'`;
  const git = "git init -q && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m release";
  await exec("bash", ["-eo", "pipefail", "-c", `${copy}; cd '${workspace}' && ${git}`]);
}

/** A folder of programs that write down their arguments and answer what the steps read. */
async function standIns(): Promise<string> {
  const bin = join(folder, "bin");
  await Deno.mkdir(bin);
  const record = 'echo "${0##*/} $*" >>"$CALLS"';
  const programs: Readonly<Record<string, string>> = {
    docker: `${record}
case "$*" in
  login*) cat >/dev/null ;;
  *imagetools*) echo '{"digest":"${DIGEST}"}' ;;
  *--entrypoint*) exit 127 ;;
  *zen-watcher:smoke\\ run) echo "Cannot find a cluster" >&2; exit 1 ;;
  *\\ version) echo "zen-watcher ${VERSION} (commit 0123456789ab)" ;;
  *--metadata-file*) echo '{"containerimage.digest":"${DIGEST}"}' >metadata.json ;;
esac`,
    cosign: `${record}
while [ $# -gt 0 ]; do [ "$1" = --bundle ] && echo '{}' >"$2"; shift; done; true`,
    gh: record,
    helm: `${record}
case "$*" in
  registry*) cat >/dev/null ;;
  push*) echo "Digest: ${CHART_DIGEST}" ;;
  *) exec '${await ensureTool("helm")}' "$@" ;;
esac`,
    npx: `[ "$1" = -y ] && case "$2" in deno@*) shift 2; exec '${Deno.execPath()}' "$@" ;; esac; exit 9`,
    compiler: `case "$1" in --version) echo "deno ${Deno.version.deno} (stable)"; exit ;; esac
for word; do case $word in --output=*) out=\${word#*=} ;; --target=*windows*) suffix=.exe ;; esac; done
echo "compile $*" >>"$CALLS"
printf '#!/bin/sh\\n[ "$1" = --version ] && echo "zen-watcher ${VERSION}" || echo "Usage: zen-watcher"\\n' >"$out$suffix"
chmod +x "$out$suffix"`,
  };
  for (const [name, text] of Object.entries(programs)) {
    await Deno.writeTextFile(join(bin, name), `#!/bin/bash\n${text}\n`, { mode: 0o755 });
  }
  return bin;
}
