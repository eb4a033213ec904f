/** The page's server part over HTTP, against the embedded API server. */
import { assert, assertEquals, assertMatch, assertObjectMatch, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import { SEVERITIES } from "../src/model/observation.ts";
import type { ResourceType } from "../src/kube/api.ts";
import type {
  FindingDetail,
  FindingPage,
  FindingRow,
  GroupPage,
  Overview,
  State,
} from "../src/ui/protocol.ts";
import { metadataOf, startDevWorld } from "./support/dev_world.ts";
import { eventually } from "./support/eventually.ts";
import { startFaultProxy } from "./support/fault_proxy.ts";
import { ago, create, NOW, startWorld, zen } from "./support/readers.ts";
import type { ObservationFields } from "./support/observation.ts";
import { openUi, tokenOf, type Ui } from "./support/ui.ts";

/** Every route that answers with data, with its method. */
const DATA: readonly (readonly [method: string, path: string])[] = [
  ["GET", "/api/state"],
  ["GET", "/api/events"],
  ["GET", "/api/overview"],
  ["GET", "/api/findings"],
  ["GET", "/api/findings/shop/a-name"],
  ["GET", "/api/groups"],
  ["GET", "/api/facets"],
  ["GET", "/api/commands"],
  ["GET", "/api/exceptions"],
  ["POST", "/api/exceptions"],
  ["POST", "/api/exceptions?preview=true"],
  ["DELETE", "/api/exceptions/shop/a-name"],
  ["GET", "/api/session"],
  ["GET", "/api/elsewhere"],
];

Deno.test("ui serves the page to anybody: without data, cookie or foreign code", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const types = {
    "/": "text/html",
    "/page.js": "text/javascript",
    "/page.css": "text/css",
    "/icon.svg": "image/svg+xml",
  };
  for (const [path, type] of Object.entries(types)) {
    const { status, headers, text } = await ui.ask(path);
    assertEquals(status, 200, path);
    assertStringIncludes(headers["content-type"] ?? "", type);
    assertEquals(headers["set-cookie"], undefined);
    assertEquals(
      headers["content-security-policy"],
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; " +
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    );
    assertEquals(headers["x-content-type-options"], "nosniff");
    assertEquals(headers["referrer-policy"], "no-referrer");
    assertEquals(headers["cross-origin-opener-policy"], "same-origin");
    assertEquals(headers["cross-origin-resource-policy"], "same-origin");
    assertEquals(headers["cache-control"], "no-store");
    for (const stored of world.observations()) assert(!text.includes(String(metadataOf(stored).name)));
  }
  assertEquals((await ui.ask("/elsewhere")).status, 404);
});

Deno.test("ui answers no data without the secret", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const token = tokenOf(ui.addresses[0] ?? "");
  for (const secret of [undefined, "", token, ui.secret.slice(1), `${ui.secret} `.repeat(2)]) {
    for (const [method, path] of DATA) {
      const { status, headers, text } = await ui.ask(path, {
        method,
        ...(secret !== undefined && { headers: { "x-zen-secret": secret } }),
        ...(method === "POST" && { body: {} }),
      });
      assertEquals(status, 401, `${method} ${path}`);
      assertStringIncludes(headers["content-type"] ?? "", "application/json");
      assertMatch(JSON.parse(text).error, /^Cannot answer this request: it shows no valid secret/);
    }
  }
});

Deno.test("ui refuses a foreign Host, Origin and site, with the secret too", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  const own = `127.0.0.1:${ui.server.port}`;
  const secret = { "x-zen-secret": ui.secret };
  const cases: readonly (readonly [headers: Record<string, string>, status: number])[] = [
    [{ host: own }, 200],
    [{ host: `localhost:${ui.server.port}` }, 200],
    [{ host: `[::1]:${ui.server.port}` }, 200],
    [{ host: own, origin: `http://${own}`, "sec-fetch-site": "same-origin" }, 200],
    [{ host: own, "sec-fetch-site": "none" }, 200],
    [{ host: "evil.example" }, 421],
    [{ host: `evil.example:${ui.server.port}` }, 421],
    [{ host: "127.0.0.1" }, 421],
    [{ host: `127.0.0.1.evil.example:${ui.server.port}` }, 421],
    [{ host: own, origin: "http://evil.example" }, 403],
    [{ host: own, origin: "null" }, 403],
    [{ host: own, origin: `https://${own}` }, 403],
    [{ host: own, origin: `http://localhost:${ui.server.port}` }, 403],
    [{ host: own, origin: "http://127.0.0.1:1" }, 403],
    [{ host: own, "sec-fetch-site": "cross-site" }, 403],
    [{ host: own, "sec-fetch-site": "same-site" }, 403],
    [{
      host: own,
      "sec-fetch-site": "cross-site",
      "sec-fetch-mode": "navigate",
      "sec-fetch-dest": "document",
    }, 403],
  ];
  for (const [headers, status] of cases) {
    const answer = await ui.ask("/api/state", { headers: { ...headers, ...secret } });
    assertEquals(answer.status, status, JSON.stringify(headers));
    if (status !== 200) assertMatch(JSON.parse(answer.text).error, /^Cannot answer this request: /);
    for (const path of ["/", "/page.js"]) {
      const isLink = path === "/" && headers["sec-fetch-mode"] === "navigate";
      assertEquals(
        (await ui.ask(path, { headers })).status,
        isLink ? 200 : status,
        `${path} ${JSON.stringify(headers)}`,
      );
    }
  }
});

Deno.test("ui takes the token of an address once, and prints a new address where that one was used", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  const [first = ""] = ui.addresses;
  assertMatch(first, /^http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]{43}$/);
  const session = (body: unknown) => ui.ask("/api/session", { method: "POST", body });
  for (const body of [{ token: tokenOf(first) }, { token: "" }, { token: 1 }, {}, null, "x"]) {
    const { status, text } = await session(body);
    assertEquals(status, 401, JSON.stringify(body));
    assertMatch(JSON.parse(text).error, /was used or is too old/);
  }
  assertEquals(ui.addresses.length, 2, "one new address, however many are refused");
  assertEquals((await session({ token: tokenOf(ui.addresses[1] ?? "") })).status, 200);
  assertEquals((await session({ token: tokenOf(ui.addresses[1] ?? "") })).status, 401);
  const third = ui.server.address();
  assertEquals([third, ui.server.address()], [ui.addresses[2], third], "it was printed, and is still unused");
  assertEquals((await session({ token: tokenOf(third) })).status, 200);
  assert(ui.server.address() !== third, "a used address is not handed out again");
  const large = await ui.ask("/api/session", { method: "POST", body: { token: "x".repeat(100_000) } });
  assertEquals(large.status, 413);
});

Deno.test("ui keeps the address that was not opened yet, however often another user sends a wrong token", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  const address = ui.server.address();
  const printed = ui.addresses.length;
  for (let sent = 0; sent < 20; sent++) {
    assertEquals(
      (await ui.ask("/api/session", { method: "POST", body: { token: `wrong-${sent}` } })).status,
      401,
    );
  }
  assertEquals(ui.addresses.length, printed, "nothing is printed");
  assertEquals(
    (await ui.ask("/api/session", { method: "POST", body: { token: tokenOf(address) } })).status,
    200,
  );
});

Deno.test("ui lists findings: filtered, sorted, by pages, with counts", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const rules = async (query: string) =>
    ((await ui.call(`/api/findings?${query}`)) as FindingPage).rows.map(({ rule }) => rule);
  const xz = "CVE-2024-3094",
    tag = "disallow-latest-tag/require-image-tag",
    shell = "Terminal shell in container";
  const cases: readonly (readonly [query: string, rules: readonly string[]])[] = [
    ["", [xz, tag, shell]],
    ["phase=all&sort=firstSeenAt", [xz, xz, tag, shell]],
    ["phase=Resolved", [xz]],
    ["phase=Accepted,Resolved", [xz]],
    ["sort=severity&order=asc", [shell, tag, xz]],
    ["sort=rule&order=desc", [tag, shell, xz]],
    ["severity=CRITICAL,LOW", [xz, shell]],
    ["namespace=pay", [tag]],
    ["source=trivy&phase=all&limit=1", [xz]],
    ["limit=1&offset=2", [shell]],
    ["offset=3", []],
    ["rule=nothing", []],
    ["workload=web", [xz, shell]],
    ["resource=Deployment/web", [xz]],
    ["type=finding&kind=Pod", [shell]],
    ["text=XZ%20fixed", [xz]],
    ["text=shell%20nothing", []],
    ["since=2026-11-22", [shell]],
    [`since=${ago(30)}`, [tag, shell]],
    [`until=${ago(30)}`, [xz]],
    ["until=2026-11-20", [xz]],
    ["until=2026-11-19", []],
    ["phase=all&resolvedSince=2026-11-22&resolvedUntil=2026-11-22", [xz]],
    ["phase=all&resolvedUntil=2026-11-21", []],
  ];
  for (const [query, expected] of cases) assertEquals(await rules(query), [...expected], query);
  const { total, counts, offset }: FindingPage = await ui.call("/api/findings?limit=1&offset=1");
  assertEquals([total, offset], [3, 1]);
  assertEquals(counts, { CRITICAL: 1, HIGH: 0, MEDIUM: 1, LOW: 1, UNKNOWN: 0 });
  const refused = {
    "phase=open": `Cannot filter by "phase": expected Active|Accepted|Resolved or all, received "open"`,
    "since=yesterday":
      `Cannot filter by "since": expected a day (2026-01-31) or a time (RFC 3339), received "yesterday"`,
    "limit=-1": `Cannot read "limit": expected a number, received "-1"`,
    "sort=size": "Cannot sort: expected sort to be of",
    "sort=__proto__": "Cannot sort: expected sort to be of",
  };
  for (const [query, error] of Object.entries(refused)) {
    assertStringIncludes((await ui.call(`/api/findings?${query}`, {}, 400)).error, error);
  }
});

Deno.test("ui's numbers are those of the lists behind them", async () => {
  await using world = await startWorld();
  await create(world, {
    id: "comma",
    namespace: "shop",
    source: "falco",
    rule: "Shell, in a \\ Pod",
    severity: "HIGH",
    resource: { namespace: "shop" },
  });
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const totalOf = async (filter: object): Promise<number> =>
    ((await ui.call(`/api/findings?${new URLSearchParams({ ...filter })}`)) as FindingPage).total;
  for (
    const asked of ["", "namespace=shop", "severity=HIGH,LOW&source=falco", "phase=Resolved", "phase=all"]
  ) {
    for (const by of ["workloads", "rules", "images", "namespaces", "sources"]) {
      const { rows, total }: GroupPage = await ui.call(`/api/groups?by=${by}&${asked}`);
      assert(total > 0 || by === "images", `${by}: ${asked}`);
      assertEquals(rows.length, total);
      for (const { filter, counts, tools, name } of rows) {
        const sum = SEVERITIES.reduce((all, severity) => all + counts[severity], 0);
        // The page lists a group by the filter of its own view and that of the group.
        const own = Object.fromEntries(new URLSearchParams(asked));
        assertEquals(await totalOf({ ...own, ...filter }), sum, `${by}: ${name}: ${asked}`);
        assertEquals(Object.values(tools).reduce((all, count) => all + count, 0), sum, name);
      }
    }
  }
  const overview: Overview = await ui.call("/api/overview");
  assertEquals(overview.total, 5);
  assertEquals(overview.phases, { Active: 4, Accepted: 0, Resolved: 1 });
  assertEquals(overview.changed, { new: 2, resolved: 1, reopened: 0, accepted: 0 });
  for (const [phase, count] of Object.entries(overview.phases)) {
    assertEquals(await totalOf({ phase }), count, phase);
  }
  for (const { source, counts } of overview.bySource) {
    for (const severity of SEVERITIES) {
      assertEquals(await totalOf({ source, severity }), counts[severity], source);
    }
  }
  for (const { label, since, until, counts } of overview.ages) {
    const sum = SEVERITIES.reduce((all, severity) => all + counts[severity], 0);
    assertEquals(await totalOf({ ...(since && { since }), ...(until && { until }) }), sum, label);
  }
  assertEquals(overview.perDay.length, 30);
  assertEquals(overview.perDay.at(-1)?.day, "2026-11-22");
  for (const { day, new: fresh, resolved } of overview.perDay) {
    assertEquals(await totalOf({ phase: "all", since: day, until: day }), fresh, day);
    assertEquals(await totalOf({ phase: "all", resolvedSince: day, resolvedUntil: day }), resolved, day);
  }
  const facets = await ui.call("/api/facets?source=trivy&phase=Active");
  assertEquals(facets.phase, [{ value: "Active", count: 1 }, { value: "Resolved", count: 1 }]);
  for (const key of ["severity", "source", "namespace", "phase", "category"]) {
    for (const { value, count } of facets[key]) {
      assertEquals(
        await totalOf({ source: "trivy", phase: "Active", [key]: value }),
        count,
        `${key} ${value}`,
      );
    }
  }
});

Deno.test("ui says when each source made its newest report, of all or of one namespace", async () => {
  await using world = await startWorld();
  const trivy = (name: string, namespace: string, updateTimestamp: string) => ({
    apiVersion: "aquasecurity.github.io/v1alpha1",
    kind: "VulnerabilityReport",
    metadata: { name, namespace },
    report: { updateTimestamp, vulnerabilities: [] },
  });
  const seconds = Date.parse(ago(5)) / 1_000;
  await world.create([
    trivy("web", "shop", "2026-11-21T04:00:00Z"),
    trivy("pay", "pay", "2026-11-22T05:00:00Z"),
    trivy("old", "shop", "2026-11-20T04:00:00Z"),
    {
      apiVersion: "wgpolicyk8s.io/v1alpha2",
      kind: "PolicyReport",
      metadata: { name: "web", namespace: "shop" },
      results: [{ policy: "p", result: "pass", timestamp: { seconds, nanos: 0 } }],
    },
  ]);
  const read = async (ui: Ui) => {
    await ui.listed();
    assertEquals((await ui.state()).reports.readAt, "", "no page has shown the overview yet");
    await ui.call("/api/overview");
    const { reports } = await eventually("the reports", async () => {
      const state = await ui.state();
      return state.reports.readAt !== "" && state;
    });
    return reports;
  };
  await using all = await openUi(world.server.url);
  assertEquals(await read(all), {
    newest: { trivy: "2026-11-22T05:00:00Z", kyverno: ago(5) },
    read: 4,
    readAt: ago(0),
    missing: [],
    cut: [],
  });
  using _denied = world.server.faults.add({ path: "/policyreports", effect: { kind: "deny" } });
  await using one = await openUi(world.server.url, { namespace: "shop" });
  const { newest, missing } = await read(one);
  assertEquals(newest, { trivy: "2026-11-21T04:00:00Z" });
  assertEquals(missing, ["list policyreports.wgpolicyk8s.io"]);
});

Deno.test("ui marks a workload with a runtime alert and a weakness", async () => {
  await using world = await startWorld();
  const pod = { apiVersion: "v1", kind: "Pod", name: "web-7d4b9c6f5b-x2x4z", namespace: "shop" };
  await create(world, {
    id: "alert",
    namespace: "shop",
    source: "falco",
    severity: "HIGH",
    rule: "Shell",
    resource: pod,
    kind: "occurrence",
    generation: 1,
    category: "security",
  });
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const { rows }: GroupPage = await ui.call("/api/groups?by=workloads");
  assertEquals(rows.filter((row) => row.runtimeAndWeakness).map(({ name }) => name), ["shop/web"]);
});

Deno.test("ui shows one finding as it is stored, with the rest of its workload and commands", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url, { context: "it's mine" });
  await ui.listed();
  const { rows }: FindingPage = await ui.call("/api/findings?source=trivy");
  const [row] = rows as [FindingRow];
  const detail: FindingDetail = await ui.call(`/api/findings/${row.storedIn}/${row.name}`);
  assertEquals(detail.row, row);
  assertObjectMatch(detail.observation, { metadata: { name: row.name }, spec: { rule: "CVE-2024-3094" } });
  assertEquals(parse(detail.yaml), detail.observation);
  assert(!detail.yaml.includes("managedFields"));
  assertEquals(
    detail.kubectl,
    `kubectl get observations.zen.kube-zen.io ${row.name} --context 'it'\\''s mine' -n shop -o yaml`,
  );
  assertEquals(detail.zen, `kubectl zen why ${row.name} --context 'it'\\''s mine' -n shop`);
  assertEquals(detail.related.map(({ source }) => source), ["falco"]);
  assertEquals(detail.relatedTotal, 1);
  assertEquals((await ui.call(`/api/findings?${new URLSearchParams({ ...detail.relatedFilter })}`)).total, 2);
  const { error } = await ui.call("/api/findings/shop/nothing", {}, 404);
  assertMatch(error, /^Cannot get observation.*not found/);
  const { kubectl, zen } = await ui.call(
    "/api/commands?severity=CRITICAL,HIGH&namespace=shop&rule=a%20b&text=x%27y&phase=Active,Accepted",
  );
  assertStringIncludes(
    kubectl,
    "-n shop -l 'zen.kube-zen.io/severity in (CRITICAL,HIGH),zen.kube-zen.io/rule=",
  );
  assertStringIncludes(kubectl, `--field-selector 'status.phase!=Resolved' | grep -iF -e 'x'\\''y'`);
  assertStringIncludes(zen, "--all");
});

Deno.test("ui's commands show as many findings as the list they are copied from", async () => {
  await using world = await startWorld();
  await create(world, {
    id: "other",
    namespace: "shop",
    rule: "a rule, with (words)",
    severity: "HIGH",
    resource: { apiVersion: "v1", kind: "Pod", name: "x", namespace: "shop" },
  });
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const queries = [
    "",
    "severity=CRITICAL,LOW",
    "namespace=shop&severity=HIGH",
    "source=trivy",
    "source=trivy,falco&phase=all",
    "rule=CVE-2024-3094&phase=all",
    "rule=a%20rule%5C,%20with%20(words)",
    "rule=CVE-2024-3094,disallow-latest-tag/require-image-tag",
    "workload=web&namespace=shop",
    "kind=Deployment",
    "resource=Deployment/web",
    "type=finding&category=security",
    "since=2026-11-22",
  ];
  for (const query of queries) {
    const { total }: FindingPage = await ui.call(`/api/findings?${query}`);
    const { kubectl, zen: command } = await ui.call(`/api/commands?${query}`);
    assert(total > 0, query);
    const [, , ...args] = await wordsOf(command);
    // The table of a command has no finding twice, and a line for each below the head.
    if (!query.includes("resource=")) {
      const { code, out } = await zen(args, world);
      assertEquals([code, out.trimEnd().split("\n").length - 1], [0, total], command);
    }
    if (query.includes("since=")) continue;
    const words = await wordsOf(kubectl);
    const valueOf = (flag: string) => words.includes(flag) ? words[words.indexOf(flag) + 1] ?? "" : "";
    const { items } = await world.api.list(OBSERVATIONS, {
      namespace: valueOf("-n"),
      labelSelector: valueOf("-l"),
      fieldSelector: valueOf("--field-selector"),
    });
    assertEquals(items.length, total, kubectl);
  }
});

Deno.test("ui tells of a filter that is not in force, and stops when it is mended", async () => {
  await using world = await startWorld();
  const filter = {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationFilter",
    metadata: { name: "typo", namespace: "shop" },
    spec: { targetSource: "falco", minSeverty: "HIGH" },
  };
  await world.create([filter]);
  const condition = (status: string, message: string) =>
    world.api.patch(FILTERS, "typo", {
      status: {
        conditions: [{ type: "Ready", status, reason: "Invalid", message, lastTransitionTime: ago(1) }],
      },
    }, { namespace: "shop", type: "merge", subresource: "status" });
  await condition("False", "at spec.minSeverty: unknown key");
  await using ui = await openUi(world.server.url);
  const told = () => ui.state().then(({ notes }) => notes.find((note) => note.includes("is not in force")));
  assertStringIncludes(
    await eventually("the note", told),
    'ObservationFilter "shop/typo" is not in force: at spec.minSeverty: unknown key',
  );
  await condition("True", "in force");
  await eventually("the note to go", async () => await told() === undefined);
});

Deno.test("ui hands hostile texts out as JSON alone, and quotes them in commands", async () => {
  await using world = await startWorld();
  const hostile = `</script><img src=x onerror=alert(1)>"'\u2028$(touch /tmp/x)\`id\`, \\ ; rm -rf ~`;
  const resource = { apiVersion: "v1", kind: "Pod", name: hostile.slice(0, 200), namespace: "shop" };
  await create(world, {
    id: "evil",
    namespace: "shop",
    rule: hostile,
    message: hostile,
    details: { [hostile]: hostile, image: hostile },
    resource,
  });
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const { rows }: GroupPage = await ui.call("/api/groups?by=rules");
  const group = rows.find(({ name }) => name === hostile);
  const query = new URLSearchParams({ ...group?.filter });
  const { rows: [row] }: FindingPage = await ui.call(`/api/findings?${query}`);
  assertEquals([row?.rule, row?.message, row?.image], [hostile, hostile, hostile]);
  const answer = await ui.ask(`/api/findings/shop/${row?.name}`, { headers: { "x-zen-secret": ui.secret } });
  assertStringIncludes(answer.headers["content-type"] ?? "", "application/json");
  const detail: FindingDetail = JSON.parse(answer.text);
  assertEquals(parse(detail.yaml), detail.observation);
  const { zen } = await ui.call(`/api/commands?${new URLSearchParams({ text: hostile })}`);
  const printed = await new Deno.Command("sh", {
    args: ["-c", `${zen.replace(/^kubectl/, "printf '%s\\n'").replaceAll("| grep", "")}`],
  }).output();
  const words = new TextDecoder().decode(printed.stdout);
  assertStringIncludes(words, "$(touch");
  assertStringIncludes(words, "`id`,");
});

Deno.test("ui streams its state at once, at most twice a second, and to a bounded number of pages", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const startedAt = performance.now();
  const states: State[] = [];
  {
    await using stream = await streamOf(ui);
    states.push(await stream.next());
    for (let index = 0; index < 60; index++) await create(world, { id: index, namespace: "shop" });
    while (
      (await ui.state()).revision > (states.at(-1)?.revision ?? 0) ||
      (await ui.call("/api/findings")).total < 63
    ) {
      states.push(await stream.next());
    }
  }
  const most = Math.ceil((performance.now() - startedAt) / 500) + 1;
  assert(states.length >= 2 && states.length <= most, `${states.length} states, at most ${most}`);
  const open = await Promise.all(Array.from({ length: 16 }, () => streamOf(ui)));
  await Promise.all(open.map((stream) => stream.next()));
  assertMatch((await ui.call("/api/events", {}, 503)).error, /16 pages are open/);
  await open.pop()?.[Symbol.asyncDispose]();
  await using again = await eventually("room for another stream", () => streamOf(ui));
  await again.next();
  for (const stream of open) await stream[Symbol.asyncDispose]();
});

Deno.test("ui says that it is cut off and why, and heals by itself", async () => {
  await using world = await startWorld();
  const { hostname, port } = new URL(world.server.url);
  await using proxy = await startFaultProxy({ hostname, port: Number(port) });
  await using ui = await openUi(`http://${proxy.hostname}:${proxy.port}`);
  await ui.listed();
  await using stream = await streamOf(ui);
  assertObjectMatch((await stream.next()).live, { connected: true });
  proxy.refuse();
  proxy.reset();
  const cut = await stream.until(({ live }) => !live.connected);
  assertEquals(cut.live.since, new Date(NOW).toISOString());
  assertMatch(cut.live.error ?? "", /^Cannot (watch|list) observations/);
  assertEquals((await ui.call("/api/findings")).total, 3, "what was read stays on the page");
  await create(world, { id: "meanwhile", namespace: "shop" });
  proxy.resume();
  await stream.until(({ live }) => live.connected && live.error === undefined);
  await eventually("what was stored meanwhile", async () => (await ui.call("/api/findings")).total === 4);
});

Deno.test("ui forgets what was deleted while its watch was cut, by the next list", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const { rows: [row] }: FindingPage = await ui.call("/api/findings?namespace=pay");
  using outage = world.server.faults.add({ verb: ["watch", "list"], effect: { kind: "reset" } });
  await eventually("the cut", async () => !(await ui.state()).live.connected);
  await world.api.delete(OBSERVATIONS, row?.name ?? "", { namespace: "pay" });
  world.server.compact();
  outage.remove();
  await eventually("the list", async () => (await ui.call("/api/findings")).total === 2);
});

Deno.test("ui shows rows and progress while the list still runs", async () => {
  await using world = await startWorld();
  // The second page waits until the fault is taken back.
  using held = world.server.faults.add({ verb: "list", path: "continue=", effect: { kind: "hang" } });
  await using ui = await openUi(world.server.url, { tuning: { pageSize: 3 } });
  await eventually("the first page", async () => (await ui.call("/api/findings?phase=all")).total === 3);
  assertEquals((await ui.state()).listed, { done: false, read: 3, remaining: 1 });
  assert(held.hits > 0);
});

Deno.test("ui shows the context's namespace to a user who may not list all, and says so", async () => {
  await using world = await startWorld();
  using _denied = world.server.faults.add({ path: /\/v1\/observations\?/, effect: { kind: "deny" } });
  await using ui = await openUi(world.server.url, { inNamespace: "pay" });
  await ui.listed();
  const state = await ui.state();
  assertEquals(state.onlyNamespace, "pay");
  assertStringIncludes(
    state.notes.join("\n"),
    'Only what is stored in the namespace "pay" is shown: you may not list observations.zen.kube-zen.io',
  );
  assertEquals(((await ui.call("/api/findings")) as FindingPage).rows.map(({ namespace }) => namespace), [
    "pay",
  ]);
  assertStringIncludes((await ui.call("/api/commands")).kubectl, "-n pay");
  await using chosen = await openUi(world.server.url, { inNamespace: "pay", namespace: "shop" });
  await chosen.listed();
  assertEquals((await chosen.call("/api/findings")).total, 2);
  assertStringIncludes(
    (await chosen.state()).notes.join("\n"),
    'Only what is stored in the namespace "shop" is shown: you may not list observations.zen.kube-zen.io',
  );
});

Deno.test("ui -n shows the findings that belong to the namespace, wherever they are stored, and no others", async () => {
  await using world = await startWorld();
  await world.namespaces(["zen-system"]);
  const inShop = { apiVersion: "v1", kind: "ConfigMap", name: "elsewhere", namespace: "shop" };
  await create(world, {
    id: "elsewhere",
    namespace: "zen-system",
    rule: "Stored elsewhere",
    resource: inShop,
  });
  const inPay = { apiVersion: "v1", kind: "ConfigMap", name: "foreign", namespace: "pay" };
  await create(world, { id: "foreign", namespace: "shop", rule: "Of another namespace", resource: inPay });
  const rulesOf = async (ui: Ui) =>
    ((await ui.call("/api/findings?sort=rule")) as FindingPage).rows.map(({ rule }) => rule);
  const own = ["CVE-2024-3094", "Terminal shell in container"];
  await using ui = await openUi(world.server.url, { namespace: "shop" });
  await ui.listed();
  assertEquals(await rulesOf(ui), [own[0], "Stored elsewhere", own[1]]);
  const { onlyNamespace, notes } = await ui.state();
  assertEquals([onlyNamespace, notes], ["shop", []]);
  // The watch goes on as the list began.
  const later = { ...inShop, name: "later" };
  await create(world, { id: "later", namespace: "zen-system", rule: "Stored later", resource: later });
  await create(world, {
    id: "not",
    namespace: "shop",
    rule: "Not of shop",
    resource: { ...inPay, name: "x" },
  });
  await eventually("what was stored later", async () => (await rulesOf(ui)).includes("Stored later"));
  assertEquals(await rulesOf(ui), [own[0], "Stored elsewhere", "Stored later", own[1]]);
});

Deno.test("ui says what is missing to a user who may not list at all, and shows it when that changes", async () => {
  await using world = await startWorld();
  using denied = world.server.faults.add({ path: "/observations", effect: { kind: "deny" } });
  await using ui = await openUi(world.server.url, { inNamespace: "shop" });
  const state = await eventually("the refusal", async () => {
    const now = await ui.state();
    return now.onlyNamespace !== undefined && !now.live.connected && now;
  });
  assertEquals(state.listed, { done: false, read: 0 });
  assertMatch(state.live.error ?? "", /HTTP 403/);
  denied.remove();
  await ui.listed();
  assertEquals((await ui.call("/api/findings")).total, 2);
});

const OBSERVATIONS: ResourceType = {
  group: "zen.kube-zen.io",
  version: "v1",
  plural: "observations",
  kind: "Observation",
  namespaced: true,
};
const EXCEPTIONS: ResourceType = {
  ...OBSERVATIONS,
  version: "v1alpha1",
  plural: "observationexceptions",
  kind: "ObservationException",
};

const FILTERS: ResourceType = {
  ...OBSERVATIONS,
  version: "v1alpha1",
  plural: "observationfilters",
  kind: "ObservationFilter",
};

Deno.test("ui counts what an exception would accept, writes it, lists it and undoes it", async () => {
  await using world = await startWorld();
  await using ui = await openUi(world.server.url);
  await ui.listed();
  await eventually("the rights", async () => (await ui.state()).mayAccept.includes("*"));
  const draft = {
    namespace: "shop",
    match: { rules: ["CVE-2024-3094"] },
    reason: "not_affected",
    justification: "xz is not linked into sshd here",
    expiresAt: "2027-01-31T00:00:00Z",
    ticket: "SEC-1",
  };
  const post = (body: unknown, query = "", status = 200) =>
    ui.call(`/api/exceptions${query}`, { method: "POST", body }, status);
  const preview = await post(draft, "?preview=true");
  assertEquals([preview.total, preview.counts.CRITICAL, preview.sample.length], [1, 1, 1]);
  const others: readonly (readonly [change: object, total: number])[] = [
    [{ namespace: "pay" }, 0],
    [{ namespace: "pay", match: { rules: ["disallow-latest-tag"] } }, 1],
    [{ match: { rules: ["CVE-2024-3094"], severities: ["LOW"] } }, 0],
    [{ match: { rules: ["CVE-2024-3094"], workloads: ["web"] } }, 1],
    [{ match: { resources: [{ kind: "Deployment", name: "web" }] } }, 1],
    [{ match: { resources: [{ kind: "Deployment", name: "other" }] } }, 0],
  ];
  for (const [change, total] of others) {
    assertEquals((await post({ ...draft, ...change }, "?preview=true")).total, total, JSON.stringify(change));
  }
  assertEquals(world.server.objects("observationexceptions.zen.kube-zen.io"), [], "a preview writes nothing");
  for (
    const bad of [{ ...draft, match: {} }, { ...draft, namespace: "" }, { ...draft, match: "all" }, [], null]
  ) {
    assertMatch(
      (await post(bad, "", 400)).error,
      /^Cannot (accept these findings|read this request|write exception)/,
    );
  }
  const mistakes: readonly (readonly [change: object, error: string])[] = [
    [{ justification: "" }, "at spec.justification: expected a sentence"],
    [{ reason: "boredom" }, "at spec.reason: expected one of not_affected|"],
    [{ expiresAt: "soon" }, "at spec.expiresAt: expected an RFC 3339 time"],
    [{ expiresAt: ago(1) }, "at expiresAt: expected a time to come"],
    [{ match: { ...draft.match, severites: ["LOW"] } }, 'did you mean "severities"'],
  ];
  for (const [change, error] of mistakes) {
    assertStringIncludes((await post({ ...draft, ...change }, "", 400)).error, error);
  }
  const { name, namespace } = await post(draft, "", 201);
  assertEquals(name, "cve-2024-3094");
  const again = await post({ ...draft, match: { ...draft.match, severities: ["LOW"] } }, "", 201);
  assertMatch(again.name, /^cve-2024-3094-[0-9a-f]{5}$/);
  await ui.call(`/api/exceptions/${namespace}/${again.name}`, { method: "DELETE" });
  const { spec } = await world.api.get(EXCEPTIONS, name, { namespace });
  const { namespace: _, ...wanted } = draft;
  assertEquals(spec, wanted);
  const { served, rows } = await eventually("the exception on the page", async () => {
    const list = await ui.call("/api/exceptions");
    return list.rows.length === 1 && list;
  });
  const { revision } = await ui.state();
  await world.api.patch(EXCEPTIONS, name, { status: { matched: 1 } }, {
    namespace,
    type: "merge",
    subresource: "status",
  });
  await eventually("the page to hear of it", async () => (await ui.state()).revision > revision);
  assertEquals((await ui.call("/api/exceptions")).rows[0].matched, 1);
  assertEquals(served, true);
  assertObjectMatch(rows[0], {
    namespace,
    name,
    reason: "not_affected",
    ticket: "SEC-1",
    match: draft.match,
    mayDelete: true,
  });
  await ui.call(`/api/exceptions/${namespace}/${name}`, { method: "DELETE" });
  await eventually("it to be gone", async () => (await ui.call("/api/exceptions")).rows.length === 0);
  assertMatch(
    (await ui.call(`/api/exceptions/${namespace}/${name}`, { method: "DELETE" }, 404)).error,
    /not found/,
  );
  using _denied = world.server.faults.add({
    verb: "create",
    path: "/observationexceptions",
    effect: { kind: "deny" },
  });
  assertMatch((await post(draft, "", 403)).error, /^Cannot create observationexception.*HTTP 403/);
});

Deno.test("ui lists what an exception accepts, of whatever rule", async () => {
  await using world = await startWorld();
  const names = { policy: "disallow-latest-tag", other: "no-root" };
  const status = (name: string): ObservationFields["status"] => ({
    phase: "Accepted",
    exception: { namespace: "shop", name, expiresAt: "2026-12-22T07:00:00Z", since: ago(1) },
  });
  const held = [
    { id: 1, rule: "disallow-latest-tag/require-image-tag", status: status(names.policy) },
    { id: 2, rule: "disallow-latest-tag/validate-image-tag", status: status(names.policy) },
    { id: 3, rule: "no-root/run-as-user", status: status(names.other) },
  ];
  for (const fields of held) await create(world, { namespace: "shop", ...fields });
  await using ui = await openUi(world.server.url);
  await ui.listed();
  const rules = async (exception: string) =>
    ((await ui.call(`/api/findings?${new URLSearchParams({ phase: "Accepted", exception })}`)) as FindingPage)
      .rows.map(({ rule }) => rule).sort();
  assertEquals(await rules(`shop/${names.policy}`), [held[0]?.rule, held[1]?.rule]);
  assertEquals(await rules(`shop/${names.other}`), [held[2]?.rule]);
  assertEquals(await rules(`pay/${names.policy}`), []);
});

Deno.test("ui shows an accepted finding as such until its exception ends, and then as Active, without a change in the cluster", async () => {
  await using world = await startWorld();
  const exception = {
    namespace: "shop",
    name: "held",
    expiresAt: "2026-11-22T07:00:00Z",
    since: "2026-11-22T05:00:00Z",
  };
  await create(world, {
    id: "held",
    namespace: "shop",
    rule: "CVE-1",
    status: { phase: "Accepted", firstSeenAt: ago(40), exception },
  });
  let now = NOW;
  await using ui = await openUi(world.server.url, { now: () => now });
  await ui.listed();
  const { phases, changed }: Overview = await ui.call("/api/overview");
  const { revision } = await ui.state();
  assertEquals([phases.Accepted, changed.accepted], [1, 1]);
  const { rows: [row] }: FindingPage = await ui.call("/api/findings?phase=Accepted");
  const { exception: shown }: FindingDetail = await ui.call(`/api/findings/shop/${row?.name}`);
  assertEquals(shown, exception);
  now = Date.parse(exception.expiresAt);
  assertEquals((await ui.call("/api/findings?rule=CVE-1")).rows[0].phase, "Active");
  await eventually("the page to hear of it", async () => (await ui.state()).revision > revision);
  assertEquals((await ui.call("/api/overview")).phases.Accepted, 0);
});

Deno.test("ui does without exceptions where the cluster does not serve them, or the user may not list them", async () => {
  await using world = await startDevWorld({ namespaces: ["shop"] });
  using absent = world.server.faults.add({
    path: "/observationexceptions",
    effect: { kind: "status", status: 404 },
  });
  await using ui = await openUi(world.server.url);
  const note = (words: string) =>
    eventually(words, async () => (await ui.state()).notes.some((each) => each.includes(words)));
  await note("does not serve observationexceptions");
  assertEquals(await ui.call("/api/exceptions"), { served: false, rows: [] });
  absent.remove();
  await eventually("the kind", async () => (await ui.call("/api/exceptions")).served);
  assertEquals((await ui.state()).notes, []);
  using _forbidden = world.server.faults.add({ path: "/observationexceptions", effect: { kind: "deny" } });
  await using other = await openUi(world.server.url);
  await eventually(
    "the note",
    async () =>
      (await other.state()).notes.some((each) => each.includes("may not list observationexceptions")),
  );
  assertEquals((await other.state()).mayAccept, []);
});

/** The words of a command as a shell reads them. */
async function wordsOf(command: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("sh", { args: ["-c", `printf '%s\\0' ${command}`] }).output();
  return new TextDecoder().decode(stdout).split("\0").slice(0, -1);
}

/** A stream of states as a page reads it. */
async function streamOf(ui: Ui) {
  const response = await fetch(`http://127.0.0.1:${ui.server.port}/api/events`, {
    headers: { "x-zen-secret": ui.secret },
  });
  if (response.status !== 200) {
    throw new Error(`${response.status} ${await response.text()}`);
  }
  assertEquals(response.headers.get("content-type"), "text/event-stream");
  const reader = (response.body ?? new ReadableStream<Uint8Array<ArrayBuffer>>()).pipeThrough(
    new TextDecoderStream(),
  ).getReader();
  let text = "";
  const next = async (): Promise<State> => {
    for (;;) {
      const [whole, event] = /^(.*?)\n\n/s.exec(text) ?? [];
      if (whole !== undefined) {
        text = text.slice(whole.length);
        if (!event?.startsWith("event: state\ndata: ")) continue;
        return JSON.parse(event.slice("event: state\ndata: ".length));
      }
      const { done, value } = await reader.read();
      if (done) throw new Error("the stream ended");
      text += value;
    }
  };
  return {
    next,
    async until(holds: (state: State) => boolean): Promise<State> {
      for (;;) {
        const state = await next();
        if (holds(state)) return state;
      }
    },
    [Symbol.asyncDispose]: () => reader.cancel(),
  };
}
