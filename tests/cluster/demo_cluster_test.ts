/** The demo on a real API server, as a person would run it, twice: the second run finds everything stored already. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { startEnvtest } from "../support/envtest.ts";
import { ensureNamespaces, listAll } from "../support/objects.ts";
import { isObject } from "../../src/model/json.ts";

Deno.test("deno task demo --kubeconfig passes on a real API server, and again", async () => {
  await using cluster = await startEnvtest();
  await ensureNamespaces(cluster, ["somebody-else"]);
  assertStringIncludes(await demo(cluster.kubeconfigPath), "The books balance, every Observation is there.");
  const first = await observations();
  assert(first.length > 0);
  const second = await demo(cluster.kubeconfigPath);
  assertStringIncludes(second, "The books balance, every Observation is there.");
  assertEquals(await observations(), first, "no Observation was added, removed or made anew");

  async function observations(): Promise<string[]> {
    const all = await listAll(cluster, "/apis/zen.kube-zen.io/v1/observations");
    return all.map(({ metadata }) => isObject(metadata) ? `${metadata.name} ${metadata.uid}` : "").sort();
  }
});

async function demo(kubeconfig: string): Promise<string> {
  const script = new URL("../../scripts/demo.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-prompt", script, "--yes", "--kubeconfig", kubeconfig],
    stdin: "null",
  }).output();
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  assertEquals(code, 0, text);
  return text;
}
