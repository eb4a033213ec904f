/** What can be said of the image and the release without a container runtime. */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { isObject } from "../src/model/json.ts";
import { TLS_ENV } from "../scripts/support/permissions.ts";

const ROOT = new URL("../", import.meta.url);

Deno.test("the image is built with the Deno of the README, and run as nobody with the cluster's CA alone", async () => {
  const dockerfile = await read("Dockerfile");
  const [, version] = /^npx -y deno@([0-9.]+) task test$/m.exec(await read("README.md")) ?? [];
  assert(version !== undefined && dockerfile.includes(`npx -y deno@${version} task compile`));
  assert((await read(".github/workflows/release.yaml")).includes(`npx -y deno@${version}`));
  for (const [name, value] of Object.entries(TLS_ENV)) assert(dockerfile.includes(`${name}=${value}`), name);
  const values = parse(await read("helm/zen-watcher/values.yaml"));
  const { runAsUser, runAsGroup } = values.podSecurityContext;
  assert(dockerfile.includes(`USER ${runAsUser}:${runAsGroup}`));
  assert(
    !/^(RUN|CMD|ENTRYPOINT [^[])/m.test(dockerfile.split("FROM ${RUNTIME_IMAGE}")[1] ?? "RUN"),
    "no shell form",
  );
});

Deno.test("what the build copies is in the context, and nothing else is", async () => {
  const copied = [...(await read("Dockerfile")).matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap((
    [, paths = ""],
  ) => paths.split(" "));
  const ignore = (await read(".dockerignore")).split("\n");
  const allowed = ignore.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
  assertEquals(copied.sort(), allowed.sort());
  assert(ignore.includes("*"));
});

Deno.test("the release asks for no right it does not use, and takes actions by commit alone", async () => {
  const workflow: unknown = parse(await read(".github/workflows/release.yaml"));
  assert(isObject(workflow) && isObject(workflow.jobs));
  assertEquals(workflow.permissions, {});
  const uses = [...(await read(".github/workflows/release.yaml")).matchAll(/uses: (.*)$/gm)].map((
    [, what = ""],
  ) => what);
  assert(uses.length > 0);
  for (const what of uses) assert(/^[a-z-]+\/[a-z-]+@[0-9a-f]{40} # v[0-9.]+$/.test(what), what);
  for (const [name, job] of Object.entries(workflow.jobs)) {
    assert(isObject(job) && isObject(job.permissions), name);
    for (const needed of [job.needs ?? []].flat()) assert(String(needed) in workflow.jobs, `${needed}`);
  }
});

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, ROOT));
}
