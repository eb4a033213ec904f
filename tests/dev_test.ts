/** The output of `deno task dev`, and the objects that it leaves in a cluster. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES } from "../src/kube/core_resources.ts";
import { fixedConnection } from "../src/kube/api.ts";
import { createKubeClient } from "../src/kube/client.ts";
import { OBSERVATIONS } from "../src/store/observations.ts";
import { installCrds } from "../scripts/support/feed.ts";
import { storedObservation } from "./support/observation.ts";
import { kubeconfigOf } from "./support/readers.ts";
import { startTestCluster } from "./support/test_cluster.ts";
import { allObjects, runDev, startDev } from "./support/dev_session.ts";
import { ROOT } from "./support/docs.ts";
import { installed } from "./support/workplace.ts";

Deno.test("deno task dev shows the findings, next steps and addresses, and neither problems nor JSON", async () => {
  await using session = await startDev();
  const { screen } = session;
  for (const line of screen.split("\n")) {
    assert(!/\b(WARN|ERROR|CRIT)\b/.test(line), line);
    assert(!line.startsWith("{"), line);
  }
  assertMatch(screen, /^OBSERVATIONS +CRITICAL +HIGH/m);
  assertMatch(screen, /^trivy +1 +24 +10 +3 +18$/m);
  const [, next = ""] = /^Next:\n((?: {2}.*\n)+)/m.exec(screen) ?? [];
  assertEquals(next.trimEnd().split("\n").map((line) => line.trim().split(" ")[0]), [
    "deno",
    "kubectl",
    "curl",
  ]);
  const addresses = Array.from(screen.matchAll(/^The page: +(\S+)$/gm), ([, address = ""]) => address);
  assert(screen.startsWith("The page: "), `the page's address comes first:\n${screen.slice(0, 500)}`);
  const [page = "", again] = addresses;
  assertEquals([addresses.length, again], [2, page], "nobody opened it: it is still good");
  const answer = await fetch(page);
  await answer.body?.cancel();
  assertEquals(answer.status, 200);
  const [, status = ""] = /^The status: +(\S+)$/m.exec(screen) ?? [];
  const { books } = await (await fetch(status)).json();
  for (const source of ["trivy", "kube-bench", "checkov", "cert-manager"]) {
    const { events, created } = books[source];
    assertEquals([source, events], [source, created], "each event is evaluated once");
  }
});

Deno.test("deno task dev asks before it installs into a named cluster, and --clean removes all that it brought", async () => {
  await using server = startTestCluster({});
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await using file = await kubeconfigOf(server.url);
  const target = ["--kubeconfig", file.path];
  // What belongs to the cluster: it has the names of things that the samples have too.
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "kube-bench" } };
  await api.create(NAMESPACES, namespace);
  const own = { metadata: { name: "kube-bench-node-1", namespace: "kube-bench" }, data: { own: "yes" } };
  await api.create(CONFIG_MAPS, own, { namespace: "kube-bench" });
  const before = await allObjects(api);

  const unasked = await runDev(target);
  assertEquals(unasked.code, 1);
  assertStringIncludes(unasked.out, "observations.zen.kube-zen.io");
  assertStringIncludes(unasked.out, "(2 more are there already)");
  assertStringIncludes(unasked.err, "Agree with --yes");
  assertEquals(await allObjects(api), before);

  {
    await using session = await startDev([...target, "--yes"]);
    assertMatch(session.screen, /^trivy +1 +24 +10 +3 +18$/m);
    assert((await allObjects(api)).length > before.length + 100);
    const kept = await api.get(CONFIG_MAPS, "kube-bench-node-1", { namespace: "kube-bench" });
    assertEquals(kept.data, { own: "yes" });
  }
  const cleaned = await runDev([...target, "--clean"]);
  assertEquals([cleaned.code, cleaned.err], [0, ""]);
  assertMatch(cleaned.out, /^Removed from context .*\d+ observations, .*\d+ customresourcedefinitions/);
  assertEquals(await allObjects(api), before);
  assertStringIncludes((await runDev([...target, "--clean"])).out, "nothing, it is clean");
});

Deno.test({
  name: "deno task dev and demo install nothing where the user answers no on the terminal",
  ignore: !await installed(["script"]),
  fn: async () => {
    await using server = startTestCluster({});
    using api = createKubeClient(fixedConnection({ server: server.url }));
    await using file = await kubeconfigOf(server.url);
    const before = await allObjects(api);
    for (const name of ["dev", "demo"]) {
      const script = join(ROOT, `scripts/${name}.ts`);
      const command = `"${Deno.execPath()}" run -A --no-check "${script}" --kubeconfig "${file.path}"`;
      const { code, stdout } = await new Deno.Command("sh", {
        args: ["-c", `echo n | script -qec '${command}' /dev/null`],
        env: { NO_COLOR: "1" },
      }).output();
      const screen = new TextDecoder().decode(stdout);
      assertEquals(code, 1, screen);
      assertStringIncludes(screen, "Install?");
      assertStringIncludes(screen, "nothing is installed without your consent");
    }
    assertEquals(await allObjects(api), before);
  },
});

Deno.test("deno task dev --clean leaves the CustomResourceDefinitions of another installation, and its Observations", async () => {
  await using server = startTestCluster({});
  using api = createKubeClient(fixedConnection({ server: server.url }));
  await using file = await kubeconfigOf(server.url);
  await installCrds(api);
  await api.create(NAMESPACES, { metadata: { name: "shop" } });
  for (const { metadata } of (await api.list(CUSTOM_RESOURCE_DEFINITIONS)).items) {
    const patch = { metadata: { labels: null } };
    await api.patch(CUSTOM_RESOURCE_DEFINITIONS, metadata.name ?? "", patch, { type: "merge" });
  }
  const { metadata, status: _status, ...rest } = storedObservation({ id: "kept", namespace: "shop" });
  const { uid: _uid, resourceVersion: _version, ...meta } = metadata;
  await api.create(OBSERVATIONS, { ...rest, metadata: meta });
  assertEquals((await runDev(["--kubeconfig", file.path, "--clean"])).code, 0);
  assertEquals((await api.list(OBSERVATIONS)).items.length, 1);
});

Deno.test("deno task dev --clean without a cluster says that there is none", async () => {
  const { code, err } = await runDev(["--clean"]);
  assertEquals(code, 1);
  assertStringIncludes(err, "Cannot clean: no cluster is named");
});

Deno.test({
  name: "the log is text on a terminal, JSON elsewhere, and what LOG_FORMAT says in both",
  ignore: !await installed(["script"]),
  fn: async () => {
    const command = `"${Deno.execPath()}" run -A --no-check "${
      join(ROOT, "main.ts")
    }" run --kubeconfig /nowhere`;
    const first = async (program: string, args: readonly string[], env: Record<string, string> = {}) => {
      const { stdout } = await new Deno.Command(program, { args: [...args], env, stdin: "null" }).output();
      return new TextDecoder().decode(stdout).split(/\r?\n/)[0] ?? "";
    };
    const onTerminal = ["-qec", command, "/dev/null"];
    const inPipe = ["-c", command];
    assertMatch(await first("script", onTerminal), /^\S+ INFO {2}main: Starting version=/);
    assertEquals(JSON.parse(await first("sh", inPipe)).message, "Starting");
    assertEquals(JSON.parse(await first("script", onTerminal, { LOG_FORMAT: "json" })).message, "Starting");
    assertMatch(await first("sh", inPipe, { LOG_FORMAT: "text" }), /^\S+ INFO {2}main: Starting version=/);
  },
});
