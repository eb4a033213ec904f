/** What the commands say where something is wrong with the cluster, the user, the terminal or what is stored. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { apiServer, type Responder, status } from "./support/api_server.ts";
import { ROOT } from "./support/docs.ts";
import { storedObservation } from "./support/observation.ts";
import { main } from "../src/cli/main.ts";
import { readSettings } from "../src/settings.ts";
import { ago, create, kubeconfigOf, NOW, startWorld, zen } from "./support/readers.ts";

const DECISION = ["--reason", "mitigated", "--justification", "x", "--expires", "30d"];
/** Every command that reads a cluster. */
const COMMANDS: readonly (readonly string[])[] = [
  ["top"],
  ["get"],
  ["rule", "CVE-1"],
  ["workload", "web"],
  ["diff"],
  ["why", "x", "-n", "shop"],
  ["why", "--rule", "CVE-1"],
  ["dropped"],
  ["coverage"],
  ["export", "-o", "csv"],
  ["accept", "--rule", "CVE-1", "-n", "shop", ...DECISION],
  ["check", "--rbac"],
  ["explain", "--source", "falco", "--live", "-f", "-"],
];

const refusal = (code: number, reason: string) => () => status(code, { reason, message: `${reason} it is` });
const cut = JSON.stringify({ metadata: { continue: "more" }, items: [storedObservation()] }).slice(0, -40);

Deno.test("every command says in one sentence what is wrong with the cluster, and what mends it", async () => {
  const rows: readonly (readonly [what: string, answer: Responder, mend: RegExp])[] = [
    [
      "expired credentials",
      refusal(401, "Unauthorized"),
      /\. Log in again, or name another (context )?with --context$/,
    ],
    ["a broken API server", refusal(500, "InternalError"), /InternalError it is \(HTTP 500 InternalError\)$/],
    [
      "a page that ends early",
      () => new Response(cut),
      /\. Check that the cluster of this context is the right one/,
    ],
    [
      "a login page",
      () => new Response("<html>"),
      /\. Check that the cluster of this context is the right one/,
    ],
  ];
  for (const [what, answer, mend] of rows) {
    await using server = apiServer(answer);
    await using file = await kubeconfigOf(server.url);
    for (const command of COMMANDS) {
      const { code, out, err } = await zen(command, { kubeconfig: file.path });
      assertEquals([code, out], [1, ""], `${what}: ${command.join(" ")}`);
      assertMatch(err, /^Cannot [^\n]*\n$/);
      assertMatch(err.trimEnd(), mend, command.join(" "));
    }
  }
});

Deno.test("a command reads again where the API server has too many requests, and says so in the end", async () => {
  let refusals = 0;
  const busy = () => status(429, { reason: "TooManyRequests", message: "try later" }, { "retry-after": "0" });
  await using server = apiServer(({ path }) =>
    path !== "/version" && refusals-- > 0 ? busy() : Response.json({ metadata: {}, items: [] })
  );
  await using file = await kubeconfigOf(server.url);
  for (const command of [["top"], ["dropped"], ["coverage"], ["diff"]]) {
    refusals = 10;
    assertEquals((await zen(command, { kubeconfig: file.path })).code, 0, command[0]);
  }
  refusals = 11;
  const { code, err } = await zen(["top"], { kubeconfig: file.path });
  assertEquals(code, 1);
  assertStringIncludes(err, "try later (HTTP 429 TooManyRequests)");
});

Deno.test("a line of progress is removed before anything else is printed", async () => {
  await using server = apiServer(() => Response.json({ metadata: {}, items: [] }));
  await using file = await kubeconfigOf(server.url);
  let terminal = "";
  let now = NOW;
  for (
    const command of [["get"], ["workload", "web"], ["export", "-o", "csv"], ["diff"], ["top"], ["coverage"]]
  ) {
    terminal = "";
    await main([...command, "--kubeconfig", file.path], {
      settings: () => readSettings(() => undefined),
      io: {
        readText: () => Promise.reject(new Error("no file is read")),
        listFolder: () => Promise.resolve(undefined),
        stdout: (text) => terminal += text,
        stderr: (text) => terminal += text,
        progress: (text) => terminal += text === "" ? "<removed>" : `<${text}>`,
        env: () => undefined,
        now: () => now += 2_000,
      },
    });
    const shown = terminal.replaceAll(/(<[^>]*read>)+<removed>/g, "");
    assert(terminal !== shown, `${command[0]} shows progress`);
    assertEquals(/<[^>]*>/.exec(shown)?.[0], undefined, terminal);
  }
});

Deno.test("every command names the server that does not answer, the context that is missing, and a cluster that is not named", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = `http://127.0.0.1:${listener.addr.port}`;
  listener.close();
  await using gone = await kubeconfigOf(server);
  const folder = await Deno.makeTempDir();
  try {
    const broken = join(folder, "broken");
    await Deno.writeTextFile(broken, "clusters: [");
    const empty = join(folder, "empty");
    await Deno.writeTextFile(empty, "");
    for (const command of COMMANDS) {
      const said = async (kubeconfig?: string, ...more: string[]) => {
        const { code, out, err } = await zen([...command, ...more], { ...(kubeconfig && { kubeconfig }) });
        assertEquals([code, out], [1, ""], command.join(" "));
        assertMatch(err, /^Cannot [^\n]*\n$/);
        return err;
      };
      assertStringIncludes(await said(gone.path), "Check that the cluster of this context is the right one");
      assertMatch(
        await said(gone.path, "--context", "prod"),
        /^Cannot use context "prod" of .*\. It has c$/m,
      );
      assertMatch(await said(), /^Cannot find a cluster: .*\. Name one with --kubeconfig$/m);
      assertMatch(await said(join(folder, "none")), /^Cannot read kubeconfig .*: there is no such file$/m);
      assertStringIncludes(await said(broken), `Cannot read kubeconfig "${broken}": `);
      assertStringIncludes(await said(empty), "Cannot ");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a command says why the kubeconfig's exec plugin gives no credentials", async () => {
  await using server = apiServer(() => Response.json({ metadata: {}, items: [] }));
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "kubeconfig");
    const write = (command: string, args: readonly string[] = []) =>
      Deno.writeTextFile(
        path,
        JSON.stringify({
          "apiVersion": "v1",
          "kind": "Config",
          "current-context": "c",
          "contexts": [{ name: "c", context: { cluster: "c", user: "u" } }],
          "clusters": [{ name: "c", cluster: { server: server.url } }],
          "users": [{
            name: "u",
            user: {
              exec: {
                apiVersion: "client.authentication.k8s.io/v1",
                command,
                args,
                interactiveMode: "Never",
              },
            },
          }],
        }),
      );
    await write("sh", ["-c", "echo session has expired >&2; exit 3"]);
    const failed = await zen(["get"], { kubeconfig: path });
    assertEquals(failed.code, 1);
    assertStringIncludes(failed.err, 'Cannot use context "c"');
    assertStringIncludes(failed.err, "session has expired");
    await write("no-such-login");
    const missing = await zen(["get"], { kubeconfig: path });
    assertEquals(missing.code, 1);
    assertStringIncludes(missing.err, "no-such-login");
    // Beside the kubeconfig, as kubectl has it.
    const credential = {
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      status: { token: "t" },
    };
    const login = `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`;
    await Deno.writeTextFile(join(folder, "login"), login, { mode: 0o755 });
    await write("./login");
    assertEquals((await zen(["get"], { kubeconfig: path })).code, 0);
    assertEquals(server.seen.at(-1)?.headers.get("authorization"), "Bearer t");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a user who may read only one namespace gets its findings, and a note about the others", async () => {
  await using server = apiServer(({ path }) =>
    path.includes("/namespaces/shop/")
      ? Response.json({ metadata: {}, items: [storedObservation({ namespace: "shop" })] })
      : status(403, { reason: "Forbidden", message: "no" })
  );
  await using file = await kubeconfigOf(server.url);
  const own = await zen(["get", "-n", "shop"], { kubeconfig: file.path });
  assertEquals([own.code, own.out.trimEnd().split("\n").length], [0, 2]);
  assertStringIncludes(own.err, "stored in another namespace are left out");
  const all = await zen(["get", "-A"], { kubeconfig: file.path });
  assertEquals([all.code, all.out], [1, ""]);
  assertStringIncludes(all.err, "Name a namespace with -n");
});

Deno.test("a list that expires in its middle is gone on with, and each Observation is printed once", async () => {
  const stored = ["a", "b", "c", "d"].map((id) => storedObservation({ id, namespace: "shop" }));
  const items = stored.toSorted((a, b) => String(a.metadata.name) < String(b.metadata.name) ? -1 : 1);
  let expired = false;
  await using server = apiServer(({ query }) => {
    const from = Number(query.get("continue") ?? 0);
    if (from > 0 && !expired) {
      expired = true;
      return status(410, { reason: "Expired", message: "too old" });
    }
    const more = from + 2 < items.length ? { continue: String(from + 2) } : {};
    return Response.json({ metadata: more, items: items.slice(from, from + 2) });
  });
  await using file = await kubeconfigOf(server.url);
  const { code, out, err } = await zen(["get", "-o", "name"], { kubeconfig: file.path });
  assertEquals([code, err, expired], [0, "", true]);
  assertEquals(
    out.trimEnd().split("\n").sort(),
    items.map(({ metadata }) => `observation.zen.kube-zen.io/${metadata.name}`),
  );
});

Deno.test("no result is no failure: text on stderr, and a valid document on stdout", async () => {
  await using server = apiServer(() => Response.json({ metadata: {}, items: [] }));
  await using file = await kubeconfigOf(server.url);
  for (const command of [["top"], ["get"], ["rule", "CVE-1"], ["workload", "web"]]) {
    const { code, out, err } = await zen(command, { kubeconfig: file.path });
    assertEquals([code, out], [0, ""], command.join(" "));
    assertMatch(err, /^No .*\.\n$/);
    const json = await zen([...command, "-o", "json"], { kubeconfig: file.path });
    assertEquals(json.code, 0);
    JSON.parse(json.out);
  }
});

const COUNT = 50_000;

Deno.test("50,000 Observations into head end the command with 0 and without an error", async () => {
  const items = Array.from(
    { length: COUNT },
    (_, id) => JSON.stringify(storedObservation({ id, namespace: "shop" })),
  );
  await using server = apiServer(({ query }) => {
    const from = Number(query.get("continue") ?? 0);
    const to = from + Number(query.get("limit"));
    const metadata = to < COUNT ? { continue: String(to), remainingItemCount: COUNT - to } : {};
    return new Response(`{"metadata":${JSON.stringify(metadata)},"items":[${items.slice(from, to).join()}]}`);
  });
  await using file = await kubeconfigOf(server.url);
  for (const command of ["get", "get -o json", "get -o name", "export -o csv"]) {
    const zenWatcher = `"${Deno.execPath()}" run -A --no-check "${join(ROOT, "main.ts")}"`;
    const line = `{ ${zenWatcher} ${command} --kubeconfig "${file.path}"; echo "exit $?" >&2; } | head -n 2`;
    const { stdout, stderr } = await new Deno.Command("sh", { args: ["-c", line], stdin: "null" }).output();
    assertEquals(new TextDecoder().decode(stdout).trimEnd().split("\n").length, 2, command);
    assertEquals(new TextDecoder().decode(stderr), "exit 0\n", command);
  }
});

/** What moves a cursor, recolours, renames a window, hides or reverses text. */
const HOSTILE = "x\u001b[2J\u001b]0;owned\u0007\u009b31m\r\b\u0000\u202egnp.exe\u2066\u200b\u2028y";

Deno.test("no control, bidi or zero-width character of what is stored reaches a terminal, and no line is wider than it", async () => {
  await using world = await startWorld();
  await create(world, {
    id: "hostile",
    namespace: "shop",
    source: "trivy",
    severity: "CRITICAL",
    rule: HOSTILE,
    message: HOSTILE,
    resource: { apiVersion: "apps/v1", kind: "Deployment", name: HOSTILE, namespace: "shop" },
    status: { firstSeenAt: ago(2), lastSeenAt: ago(1) },
  });
  const name = String(world.observations().map(({ metadata }) => metadata as { name: string })[0]?.name);
  const terminal = { width: 40, colors: true };
  const tables = [["top"], ["top", "rules"], ["get"], ["get", "--all", "-o", "wide"], ["coverage"], [
    "rule",
    "CVE-2024-3094",
  ]];
  const others = [
    ["workload", "web", "-n", "shop"],
    ["diff"],
    ["why", name],
    ["export", "-o", "csv"],
    ["export", "-o", "sarif"],
    ["export", "-o", "ocsf"],
    ["get", "-o", "json"],
    ["get", "-o", "yaml"],
    ["__complete", "rule", "--kubeconfig", world.kubeconfig, ""],
  ];
  for (const command of [...tables, ...others]) {
    const isCompletion = command[0] === "__complete";
    const { code, out } = await zen(command, isCompletion ? {} : { kubeconfig: world.kubeconfig, terminal });
    assertEquals(code, 0, command.join(" "));
    assert(out.length > 20, command.join(" "));
    // deno-lint-ignore no-control-regex -- the colours of severities are the only ones
    const text = out.replace(/\x1b\[(?:0|31|33|36|1;31)m/g, "");
    // deno-lint-ignore no-control-regex
    const found = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/.exec(text);
    assertEquals(found, null, command.join(" "));
    if (!tables.includes(command)) continue;
    for (const line of text.split("\n")) assert(line.length <= 40, `${command.join(" ")}: ${line}`);
  }
});
