/** The commands that read Observations, against the embedded API server, as a user calls them. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createServer } from "node:http";
import { readObservations } from "../src/read/observations.ts";
import { apiServer, status } from "./support/api_server.ts";
import { storedObservation } from "./support/observation.ts";
import { ago, create, KEPT, kubeconfigOf, startWorld, zen } from "./support/readers.ts";

/** The cells of a table, which two spaces or more part. */
const cells = (out: string) => out.trimEnd().split("\n").map((line) => line.split(/ {2,}/));

Deno.test("get lists Active Observations worst first, rule shows affected workloads, workload shows a timeline", async () => {
  await using world = await startWorld();
  const listed = cells((await zen(["get"], world)).out);
  assertEquals(listed.map((line) => line.slice(0, 4)), [
    ["NAMESPACE", "SEVERITY", "RULE", "RESOURCE"],
    ["shop", "CRITICAL", "CVE-2024-3094", "Deployment/web"],
    ["pay", "MEDIUM", "disallow-latest-tag/require-image-tag", "Deployment/pay"],
    ["shop", "LOW", "Terminal shell in container", "Pod/web-7d4b9c6f5b-x2x4z"],
  ]);
  const narrowed: readonly (readonly [args: string[], rows: number])[] = [
    [["get", "-n", "pay"], 1],
    [["get", "-A", "--severity", "medium+"], 2],
    [["get", "--since", "24h"], 1],
    [["get", "--workload", "web"], 2],
    [["get", "--source", "falco"], 1],
    [["get", "--kind", "Deployment", "--all"], 3],
    [["get", "-l", "zen.kube-zen.io/source in (trivy)", "--all"], 2],
    [["rule", "cve-2024-3094"], 1],
    [["rule", "CVE-2024-3094", "--all"], 2],
    [["rule", "disallow-latest-tag/require-image-tag"], 1],
  ];
  for (const [args, rows] of narrowed) {
    const { code, out } = await zen(args, world);
    assertEquals([code, cells(out).length - 1], [0, rows], args.join(" "));
  }
  const story = await zen(["workload", "web", "-n", "shop"], world);
  const [summary, , ...happenings] = story.out.trimEnd().split("\n");
  assertEquals(summary, "web in shop: 1 CRITICAL, 1 LOW Active, 0 Resolved; reported by falco, trivy");
  assertEquals(happenings.map((line) => line.slice(0, 19)), ["2026-11-20 06:00:00", "2026-11-22 04:00:00"]);
  assertStringIncludes((await zen(["rule", "CVE-0"], world)).err, 'has the rule "CVE-0"');
});

Deno.test("workload takes the name of a Pod: one with an ordinal has a workload of another name", async () => {
  await using world = await startWorld();
  for (const name of ["pod-2", "pod-3"]) {
    const resource = { apiVersion: "v1", kind: "Pod", name, namespace: "shop" };
    await create(world, { id: name, namespace: "shop", resource, source: "falco", message: `in ${name}` });
  }
  const told = async (name: string) => {
    const { code, out } = await zen(["workload", name, "-n", "shop", "-o", "json"], world);
    assertEquals(code, 0);
    const { story } = JSON.parse(out);
    return story.map(({ row }: { row: { resource: string } }) => row.resource).sort();
  };
  assertEquals(await told("pod"), ["pod-2", "pod-3"]);
  assertEquals(await told("pod-2"), ["pod-2"]);
  assertEquals(await told("web-7d4b9c6f5b-x2x4z"), ["web-7d4b9c6f5b-x2x4z"]);
  assertEquals(await told("pod-4"), []);
});

Deno.test("top counts by every grouping, worst first, and -o json is one document", async () => {
  await using world = await startWorld();
  const names = async (by: string) =>
    cells((await zen(["top", by], world)).out).slice(1).map(([name]) => name);
  assertEquals(await names("workloads"), ["shop/web", "pay/pay", "shop/api"]);
  assertEquals(await names("namespaces"), ["shop", "pay"]);
  assertEquals(await names("sources"), ["trivy", "kyverno", "falco"]);
  assertEquals((await names("rules"))[0], "CVE-2024-3094");
  const { groups } = JSON.parse((await zen(["top", "--limit", "1", "-o", "json"], world)).out);
  assertEquals(groups, [{
    name: "shop/web",
    counts: { CRITICAL: 1, HIGH: 0, MEDIUM: 0, LOW: 1, UNKNOWN: 0 },
    new: 1,
    resolved: 0,
    oldest: ago(48),
    tools: ["falco", "trivy"],
  }]);
});

Deno.test("get prints JSON as kubectl does, names and YAML, and nothing that controls a terminal", async () => {
  await using world = await startWorld();
  const { items } = JSON.parse((await zen(["get", "-o=json", "--all"], world)).out);
  assertEquals(items.length, KEPT.length);
  const named = (await zen(["get", "-oname", "-nshop"], world)).out.trimEnd().split("\n");
  assertEquals(named.every((name) => name.startsWith("observation.zen.kube-zen.io/")), true);
  assertStringIncludes(
    (await zen(["get", "-o", "yaml"], world)).out,
    "---\napiVersion: zen.kube-zen.io/v1\n",
  );
  for (const output of [[], ["-o", "wide"], ["-o", "json"], ["-o", "yaml"]]) {
    const { out } = await zen(["get", ...output], world);
    // deno-lint-ignore no-control-regex
    assert(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/.test(out), `-o ${output}`);
  }
});

Deno.test("get cuts a table to the terminal's width and colours severities, without NO_COLOR", async () => {
  await using world = await startWorld();
  for (const width of [40, 80, 120]) {
    const { out } = await zen(["get"], { ...world, terminal: { width, colors: false } });
    for (const line of out.trimEnd().split("\n")) assert(line.length <= width, `${width}: ${line}`);
    assertEquals(out.trimEnd().split("\n").length, 4);
    assert(!out.includes("\u001b"));
  }
  const { out } = await zen(["get"], { ...world, terminal: { width: 120, colors: true } });
  assertStringIncludes(out, "\u001b[1;31mCRITICAL\u001b[0m");
  assertEquals(out.includes("pwned"), false);
});

Deno.test("get -n finds what belongs to a namespace and is stored elsewhere", async () => {
  await using world = await startWorld();
  const shared = { apiVersion: "v1", kind: "Pod", name: "gone", namespace: "shop" };
  await create(world, { id: "moved", namespace: "zen-system", resource: shared, source: "falco" });
  const { out } = await zen(["get", "-n", "shop"], world);
  assertStringIncludes(out, "Pod/gone");
  const lines = cells((await zen(["get", "-n", "zen-system"], world)).out);
  assertEquals(lines, [[""]]);
});

Deno.test("readObservations() continues after a 410 in the middle of a list, and yields each Observation once", async () => {
  const names = ["a", "b", "c", "d"];
  const stored = names.map((name) => {
    const observation = storedObservation({ id: name, namespace: "shop" });
    return { ...observation, metadata: { ...observation.metadata, name } };
  });
  let expired = false;
  await using server = apiServer(({ query }) => {
    const from = Number(query.get("continue") ?? "0");
    if (from === 2 && !expired) {
      expired = true;
      return status(410, { reason: "Expired", message: "The provided continue parameter is too old" });
    }
    const next = from + 2 < stored.length ? { continue: String(from + 2) } : {};
    return Response.json({
      metadata: { resourceVersion: "7", ...next },
      items: stored.slice(from, from + 2),
    });
  });
  const { createKubeClient } = await import("../src/kube/client.ts");
  const { fixedConnection } = await import("../src/kube/api.ts");
  using api = createKubeClient(fixedConnection({ server: server.url }));
  const read: string[] = [];
  for await (const page of readObservations(api, {}, { pageSize: 2 })) {
    read.push(...page.map(({ metadata }) => metadata.name ?? ""));
  }
  assertEquals([read, expired], [names, true]);
});

Deno.test("a reader asks for one page where the API server reads it from memory, else for small ones", async () => {
  const versions = [["1", "34+"], ["1", "35"], ["1", "33"], ["2", "0"], ["1", undefined]];
  const limits: string[] = [];
  for (const [major, minor] of versions) {
    await using server = apiServer(({ path, query }) =>
      path === "/version"
        ? Response.json({ major, minor })
        : Response.json({ metadata: query.has("continue") ? {} : { continue: "more" }, items: [] })
    );
    await using file = await kubeconfigOf(server.url);
    const { code } = await zen(["export", "-o", "json", "--severity", "LOW"], { kubeconfig: file.path });
    assertEquals(code, 0);
    limits.push(server.seen.map(({ query }) => query.get("limit")).filter(Boolean).join(" then "));
  }
  const small = "500 then 500";
  assertEquals(limits, ["100000 then 500", "100000 then 500", small, small, small]);
});

Deno.test("a reader reads on in small pages where the API server ends a long answer", async () => {
  const stored = Array.from({ length: 400 }, (_, index) => {
    const observation = storedObservation({
      id: index,
      namespace: "shop",
      details: { text: "x".repeat(2_000) },
    });
    return { ...observation, metadata: { ...observation.metadata, name: `a-${1_000 + index}` } };
  });
  const text = new TextEncoder().encode(JSON.stringify({ metadata: {}, items: stored }));
  await using server = apiServer(({ path, query }) => {
    if (path === "/version") return Response.json({ major: "1", minor: "34" });
    const size = Number(query.get("limit"));
    if (size === 1) {
      return Response.json({ metadata: { remainingItemCount: 399 }, items: stored.slice(0, 1) });
    }
    if (size > 500) return new Response(text.slice(0, text.length - 100_000));
    const from = Number(query.get("continue") ?? 0);
    const next = from + 150 < stored.length ? { continue: String(from + 150) } : {};
    return Response.json({ metadata: next, items: stored.slice(from, from + 150) });
  });
  await using file = await kubeconfigOf(server.url);
  const { code, out } = await zen(["export", "-o", "json"], { kubeconfig: file.path });
  const records = out.trimEnd().split("\n").map((line) => JSON.parse(line)).slice(1, -1);
  assertEquals([code, records.map(({ name }) => name)], [0, stored.map(({ metadata }) => metadata.name)]);
});

Deno.test("a reader says in one sentence why it cannot read, and how to correct that", async () => {
  const forbidden = { reason: "Forbidden", message: "observations is forbidden" };
  const rows: readonly (readonly [args: string[], answer: () => Response, said: string])[] = [
    [
      ["top"],
      () => status(403, forbidden),
      "Cannot read Observations: you may not list observations.zen.kube-zen.io in all namespaces. " +
      "Name a namespace with -n, or ask for the right to get and list them",
    ],
    [
      ["get", "-n", "shop"],
      () => status(403, forbidden),
      'Cannot read Observations of "shop": you may not list observations.zen.kube-zen.io in the namespace "shop". ' +
      "Ask for the right to get and list them",
    ],
    [
      ["rule", "CVE-1"],
      () => status(401, { reason: "Unauthorized", message: "Unauthorized" }),
      "Cannot read Observations: the API server refuses the credentials of this context. " +
      "Log in again, or name another with --context",
    ],
    [
      ["workload", "web"],
      () => status(404, { reason: "NotFound", message: "the server could not find the requested resource" }),
      "Cannot read Observations: this cluster does not serve them. " +
      "Install zen-watcher in it, or name another with --context",
    ],
    [
      ["get"],
      () => status(410, { reason: "Expired", message: "too old" }),
      "Cannot read Observations: the list expires again before its next page. " +
      "Try again when the API server is less busy",
    ],
  ];
  for (const [args, answer, said] of rows) {
    await using server = apiServer(answer);
    await using file = await kubeconfigOf(server.url);
    const { code, out, err } = await zen(args, { kubeconfig: file.path });
    assertEquals([code, out, err], [1, "", `${said}\n`], args.join(" "));
  }
});

Deno.test("a reader names a server that is not there, a page that ends early, and a wrong context", async () => {
  const page = JSON.stringify({ metadata: {}, items: [storedObservation()] });
  await using server = apiServer(() => new Response(page.slice(0, -40)));
  await using file = await kubeconfigOf(server.url);
  const cut = await zen(["get"], { kubeconfig: file.path });
  assertEquals([cut.code, cut.out], [1, ""]);
  assertStringIncludes(cut.err, "Cannot read Observations: Cannot list observations.zen.kube-zen.io");
  await using gone = await kubeconfigOf("http://127.0.0.1:1");
  const refused = await zen(["get"], { kubeconfig: gone.path });
  assertEquals(refused.code, 1);
  assertStringIncludes(
    refused.err,
    "Check that the cluster of this context is the right one and that it runs",
  );
  const other = await zen(["get", "--context", "other"], { kubeconfig: file.path });
  assertEquals(other.code, 1);
  assertStringIncludes(other.err, 'Cannot use context "other"');
  const wrong = await zen(["get", "--severity", "HUGE"], { kubeconfig: file.path });
  assertEquals(wrong.code, 2);
  for (const flags of [["--severity", "HUGE"], ["--as-uid", "1"]]) {
    const { err } = await zen(["top", ...flags], { kubeconfig: file.path });
    assertMatch(err, /^Cannot run "zen-watcher top": .*\. See zen-watcher top --help$/m);
  }
});

Deno.test("a reader reads the context's namespace, all with -A, and impersonates with --as", async () => {
  await using server = apiServer(() => Response.json({ metadata: {}, items: [] }));
  await using file = await kubeconfigOf(server.url, "shop");
  await zen(["top"], { kubeconfig: file.path });
  await zen(["top", "-A", "--as", "jane"], { kubeconfig: file.path });
  const lists = server.seen.filter(({ path }) => path !== "/version");
  assertEquals(lists.map(({ path }) => path), [
    "/apis/zen.kube-zen.io/v1/namespaces/shop/observations",
    "/apis/zen.kube-zen.io/v1/observations",
    "/apis/zen.kube-zen.io/v1/observations",
  ]);
  assertEquals(lists[1]?.query.get("fieldSelector"), "spec.resource.namespace=shop,metadata.namespace!=shop");
  assertEquals(lists.map(({ headers }) => headers.get("impersonate-user")), [null, null, "jane"]);
});

Deno.test("--as-group and --as-uid reach the API server, each group as a header of its own, and take --as", async () => {
  const seen: (readonly [string, string])[] = [];
  const server = createServer((request, response) => {
    const { rawHeaders } = request;
    for (let index = 0; index < rawHeaders.length; index += 2) {
      const [name = "", value = ""] = rawHeaders.slice(index, index + 2);
      if (/^impersonate-/i.test(name)) seen.push([name.toLowerCase(), value]);
    }
    response.end(JSON.stringify({ metadata: {}, items: [] }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const address = server.address();
    assert(typeof address === "object" && address !== null);
    await using file = await kubeconfigOf(`http://127.0.0.1:${address.port}`);
    const user = ["--as", "jane", "--as-group", "devs", "--as-group", "on, call", "--as-uid", "7"];
    const commands = [["top", "-A"], ["get"], ["explain", "--source", "falco", "--live", "-f", "-"]];
    for (const command of commands) {
      seen.length = 0;
      await zen([...command, ...user], { kubeconfig: file.path });
      assertEquals(seen.slice(0, 4).sort(), [
        ["impersonate-group", "devs"],
        ["impersonate-group", "on, call"],
        ["impersonate-uid", "7"],
        ["impersonate-user", "jane"],
      ], command.join(" "));
    }
    const { code, err } = await zen(["top", "--as-group", "devs"], { kubeconfig: file.path });
    assertEquals(code, 2);
    assertStringIncludes(err, "--as-group and --as-uid take --as");
  } finally {
    await new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  }
});
