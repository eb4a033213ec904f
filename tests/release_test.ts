/** Tests of the image, the workflows and the dependency bot that need no container runtime. */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { KUBERNETES_VERSIONS } from "../scripts/envtest/build.ts";
import { isObject } from "../src/model/json.ts";
import { IMAGE_ENV } from "../scripts/support/permissions.ts";

const ROOT = new URL("../", import.meta.url);

Deno.test("the image is built with the Deno of the README, and run as an unprivileged user with the cluster's CA alone", async () => {
  const dockerfile = await read("Dockerfile");
  const [, version] = /^npx -y deno@([0-9.]+) task test$/m.exec(await read("README.md")) ?? [];
  assert(version !== undefined && dockerfile.includes(`npx -y deno@${version} task compile`));
  assert((await read(".github/workflows/release.yaml")).includes(`npx -y deno@${version}`));
  for (const [name, value] of Object.entries(IMAGE_ENV)) {
    assert(dockerfile.includes(`${name}=${value}`), name);
  }
  const values = parse(await read("helm/zen-watcher/values.yaml"));
  const { runAsUser, runAsGroup } = values.podSecurityContext;
  assert(dockerfile.includes(`USER ${runAsUser}:${runAsGroup}`));
  assert(
    !/^(RUN|CMD|ENTRYPOINT [^[])/m.test(dockerfile.split("FROM ${RUNTIME_IMAGE}")[1] ?? "RUN"),
    "no shell form",
  );
});

Deno.test("the chart installs on the oldest Kubernetes that the tests can run against, and docs/compatibility.md names each", async () => {
  const { kubeVersion } = parse(await read("helm/zen-watcher/Chart.yaml"));
  assertEquals(kubeVersion, `>=${KUBERNETES_VERSIONS[0]}.0-0`);
  const page = await read("docs/compatibility.md");
  for (const version of KUBERNETES_VERSIONS) {
    const pins = await read(`scripts/envtest/${version}/go.mod`);
    const [, kubernetes] = /^\tk8s\.io\/kubernetes v(\S+)( \/\/ indirect)?$/m.exec(pins) ?? [];
    const [, etcd] = /^\tgo\.etcd\.io\/etcd\/server\/v3 v(\S+)( \/\/ indirect)?$/m.exec(pins) ?? [];
    assert(kubernetes?.startsWith(`${version}.`), version);
    assert(page.includes(`| ${kubernetes} | ${etcd} |`), `${kubernetes}, ${etcd}`);
  }
});

Deno.test("the build context contains exactly the files that the build copies", async () => {
  const copied = [...(await read("Dockerfile")).matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap((
    [, paths = ""],
  ) => paths.split(" "));
  const ignore = (await read(".dockerignore")).split("\n");
  const allowed = ignore.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
  assertEquals(copied.sort(), allowed.sort());
  assert(ignore.includes("*"));
});

Deno.test("workflows: every job declares its permissions and pins its actions by commit", async () => {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(new URL(".github/workflows/", ROOT))) names.push(name);
  assert(names.length > 1);
  for (const name of names) {
    const text = await read(`.github/workflows/${name}`);
    const { permissions, jobs } = await workflow(name);
    assertEquals(permissions, {}, name);
    for (const [, what = ""] of text.matchAll(/uses: (.*)$/gm)) {
      const pinned = /^[a-z-]+\/[a-z-]+@[0-9a-f]{40} # v[0-9.]+$/.test(what);
      assert(pinned || what === "./.github/workflows/verify.yaml", `${name}: ${what}`);
    }
    for (const [job, { permissions, needs }] of Object.entries(jobs)) {
      assert(isObject(permissions), `${name}: ${job}`);
      for (const needed of [needs ?? []].flat()) assert(String(needed) in jobs, `${name}: ${job}: ${needed}`);
    }
  }
});

Deno.test("workflows: the gate runs on pull requests and on pushes to main, and before anything is released", async () => {
  const verify = await workflow("verify.yaml");
  assert("pull_request" in verify.on);
  assertEquals(verify.on.push, { branches: ["main"] });
  assert(verify.jobs.gate?.steps?.some(({ run }) => run === ".ci/run"));
  const { jobs } = await workflow("release.yaml");
  assertEquals(jobs.verify?.uses, "./.github/workflows/verify.yaml");
  const behind = (job: string): boolean =>
    job === "verify" || [jobs[job]?.needs ?? []].flat().some((needed) => behind(needed));
  for (const [name, { permissions }] of Object.entries(jobs)) {
    if (Object.values(permissions).includes("write")) assert(behind(name), name);
  }
});

Deno.test("dependencies: Renovate finds every place that pins the version of Deno", async () => {
  const { customManagers: [manager] } = JSON.parse(await read(".github/renovate.json"));
  const patterns = manager.managerFilePatterns.map((pattern: string) => new RegExp(pattern.slice(1, -1)));
  const pins = new RegExp(manager.matchStrings[0], "g");
  const { stdout } = await new Deno.Command("git", {
    args: ["grep", "-lE", "deno@[0-9]", "--", ".", ":!tests"],
    cwd: ROOT,
  }).output();
  const files = new TextDecoder().decode(stdout).trim().split("\n");
  assert(files.includes("README.md") && files.includes("Dockerfile"));
  for (const file of files) {
    assert(patterns.some((pattern: RegExp) => pattern.test(file)), file);
    const text = await read(file);
    assertEquals(text.match(/deno@[0-9.]+/g)?.length, text.match(pins)?.length, file);
  }
});

interface Workflow {
  readonly on: Readonly<Record<string, unknown>>;
  readonly permissions: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}

interface Job {
  readonly permissions: Readonly<Record<string, string>>;
  readonly needs?: string | string[];
  readonly uses?: string;
  readonly steps?: readonly { readonly run?: string }[];
}

async function workflow(name: string): Promise<Workflow> {
  return parse(await read(`.github/workflows/${name}`));
}

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, ROOT));
}
