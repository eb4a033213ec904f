/** `get -w`: what is there and what comes, on every API server, and how it ends. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { apiServer, type Responder, status, watchStream } from "./support/api_server.ts";
import { ROOT } from "./support/docs.ts";
import { storedObservation } from "./support/observation.ts";
import { kubeconfigOf, zen } from "./support/readers.ts";

const OBSERVATIONS = "/apis/zen.kube-zen.io/v1/observations";
const isWatch = (query: URLSearchParams) => query.get("watch") === "true" || query.get("watch") === "1";
const unsupported = () =>
  status(400, { reason: "BadRequest", message: "field label not supported: status.phase" });
const forbidden = () => status(403, { reason: "Forbidden", message: "observations is forbidden" });

/** Runs `get -w` against an API server whose answers end it. */
async function watching(answer: Responder, ...args: string[]) {
  await using server = apiServer(answer);
  await using file = await kubeconfigOf(server.url);
  return { ...await zen(["get", "-w", ...args], { kubeconfig: file.path }), seen: server.seen };
}

Deno.test("get -w goes on without field selectors where the API server does not support them", async () => {
  const [active, resolved, late] = [
    storedObservation({ id: 1, namespace: "shop", rule: "CVE-1" }),
    storedObservation({ id: 2, namespace: "shop", rule: "CVE-2", status: { phase: "Resolved" } }),
    storedObservation({ id: 3, namespace: "shop", rule: "CVE-3", resourceVersion: "6" }),
  ];
  let watches = 0;
  const { code, out, err, seen } = await watching(({ query }) => {
    if (query.has("fieldSelector")) return unsupported();
    if (!isWatch(query)) {
      return Response.json({ metadata: { resourceVersion: "5" }, items: [active, resolved] });
    }
    if (watches++ > 0) return forbidden();
    const stream = watchStream();
    stream.send("ADDED", late);
    stream.end();
    return stream.response;
  });
  assertEquals(code, 1);
  assertMatch(out, / CVE-1 /);
  assertMatch(out, / CVE-3 /);
  assertEquals(out.includes("CVE-2"), false);
  assertStringIncludes(
    err,
    "you may not list observations.zen.kube-zen.io in all namespaces. Name a namespace",
  );
  assertEquals(seen.filter(({ query }) => query.has("fieldSelector")).length, 1);
});

Deno.test("get -w ends before its first list is complete with the sentence that get ends with", async () => {
  const answers: readonly (readonly [what: string, answer: Responder])[] = [
    ["expired credentials", () => status(401, { reason: "Unauthorized", message: "Unauthorized" })],
    ["no right", forbidden],
    ["no CRD", () => status(404, { reason: "NotFound", message: "could not find the requested resource" })],
    ["a broken API server", () => status(500, { reason: "InternalError", message: "broken" })],
    ["a login page", () => new Response("<html>")],
  ];
  for (const [what, answer] of answers) {
    const { code, out, err } = await watching(answer);
    assertEquals([code, out], [1, ""], what);
    assertMatch(err, /^Cannot read Observations: [^\n]*\n$/, what);
    await using server = apiServer(answer);
    await using file = await kubeconfigOf(server.url);
    const once = await zen(["get"], { kubeconfig: file.path });
    const withoutPort = (text: string) => text.replaceAll(/127\.0\.0\.1:\d+/g, "ADDRESS");
    if (what !== "a login page") assertEquals(withoutPort(err), withoutPort(once.err), what);
  }
});

Deno.test("get -w says once that it tries again after its first list, with what mends it", async () => {
  let answered = 0;
  const { code, err } = await watching(({ query }) => {
    if (!isWatch(query)) return Response.json({ metadata: { resourceVersion: "5" }, items: [] });
    return answered++ < 2 ? status(401, { reason: "Unauthorized", message: "Unauthorized" }) : forbidden();
  });
  assertEquals(code, 1);
  assertEquals(err.split("\n").slice(0, -2), [
    "Cannot read Observations: the API server refuses the credentials of this context. Log in again, or name another " +
    "with --context. Trying again",
  ]);
});

Deno.test("get -n -w shows what is stored elsewhere and belongs to the namespace, where the user may watch it", async () => {
  const own = storedObservation({ id: 1, namespace: "shop", rule: "CVE-1" });
  const moved = storedObservation({
    id: 2,
    namespace: "zen-system",
    resource: { kind: "Pod", name: "gone", namespace: "shop" },
    rule: "CVE-2",
  });
  const answer = (mayReadAll: boolean): Responder => {
    const bothListed = Promise.withResolvers<void>();
    return async ({ path, query }) => {
      if (isWatch(query)) {
        if (path === OBSERVATIONS) {
          bothListed.resolve();
          return watchStream().response;
        }
        // The watch of the namespace ends the command.
        if (mayReadAll) await bothListed.promise;
        return forbidden();
      }
      const items = path === OBSERVATIONS ? [moved] : [own];
      if (path === OBSERVATIONS && !mayReadAll) return forbidden();
      if (path === OBSERVATIONS) {
        const fields = "status.phase!=Resolved,spec.resource.namespace=shop,metadata.namespace!=shop";
        assertEquals(query.get("fieldSelector"), fields);
      }
      return Response.json({ metadata: { resourceVersion: "5" }, items });
    };
  };
  const all = await watching(answer(true), "-n", "shop");
  assertMatch(all.out, / CVE-1 [^]* CVE-2 | CVE-2 [^]* CVE-1 /);
  const alone = await watching(answer(false), "-n", "shop");
  assertMatch(alone.out, / CVE-1 /);
  assertStringIncludes(
    alone.err,
    'Findings of "shop" that are stored in another namespace are left out: you may not watch ' +
      "observations.zen.kube-zen.io in all namespaces\n",
  );
});

Deno.test("get -w prints what comes until it is interrupted, and ends with 0", async () => {
  const stored = storedObservation({ id: 1, namespace: "shop", rule: "CVE-1" });
  await using server = apiServer(({ query }) => {
    if (!isWatch(query)) return Response.json({ metadata: { resourceVersion: "5" }, items: [stored] });
    const stream = watchStream();
    if (query.has("fieldSelector")) stream.send("BOOKMARK", { metadata: { resourceVersion: "6" } });
    return stream.response;
  });
  await using file = await kubeconfigOf(server.url);
  const args = [
    "run",
    "-A",
    "--no-check",
    join(ROOT, "main.ts"),
    "get",
    "-n",
    "shop",
    "-w",
    "--kubeconfig",
    file.path,
  ];
  await using child = new Deno.Command(Deno.execPath(), {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let printed = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    printed += text;
    if (printed.includes("CVE-1")) child.kill("SIGINT");
  }
  assertEquals((await child.status).code, 0);
});
