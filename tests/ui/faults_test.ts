/** What the page says and does when something is missing, cut off, forbidden or over. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { DevWorld } from "../support/dev_world.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault_proxy.ts";
import { openUi } from "../support/ui.ts";
import { hoursAgo, many, storeOne } from "./support/stored.ts";
import { openTab, type Tab } from "./support/tab.ts";

function statusText(tab: Tab, text: string | RegExp): Promise<void> {
  return tab.page.locator(".live", { hasText: text }).waitFor();
}

Deno.test("page: shows since when the cluster is unreachable, and recovers", async () => {
  let proxy: FaultProxy | undefined;
  await using tab = await openTab({
    path: "/?view=findings",
    through: async (world: DevWorld) => {
      const { hostname, port } = new URL(world.server.url);
      proxy = await startFaultProxy({ hostname, port: Number(port) });
      return `http://${proxy.hostname}:${proxy.port}`;
    },
  });
  await using cutter = proxy;
  assert(cutter);
  await tab.counted(9);
  await statusText(tab, "Live");
  cutter.refuse();
  cutter.reset();
  await statusText(tab, /out of reach since \d{4}-\d{2}-\d{2} \d{2}:\d{2}/);
  await tab.counted(9);
  assertEquals(await tab.violations(), []);
  await storeOne(tab.world, {
    id: "meanwhile",
    namespace: "shop",
    deployment: "web",
    status: { firstSeenAt: hoursAgo(0), lastSeenAt: hoursAgo(0) },
  });
  cutter.resume();
  await statusText(tab, "Live");
  await tab.counted(10);
  tab.assertQuiet();
});

Deno.test("page: shows since when its server part is gone, and what to do if the session ended with it", async () => {
  await using tab = await openTab();
  const open = tab.page.locator(".figure.all b", { hasText: /^9$/ });
  await open.waitFor();
  const { port } = tab.ui.server;
  await tab.ui[Symbol.asyncDispose]();
  await statusText(tab, /Cut off since/);
  await statusText(tab, "zen-watcher ui");
  await open.waitFor();
  // Another server part at the same address has another secret.
  tab.ui = await openUi(tab.world.server.url, { now: Date.now, port });
  await tab.headed("This tab may not read");
  assertStringIncludes(await tab.page.locator("main").innerText(), "press Enter");
  assertEquals(await tab.violations(), []);
  // The new address differs from that of this tab by its fragment alone: the browser loads no new document.
  await tab.page.evaluate(() => Object.assign(globalThis, { sameDocument: true }));
  await tab.page.goto(tab.ui.server.address());
  await open.waitFor();
  assertEquals(await tab.page.evaluate(() => "sameDocument" in globalThis), true);
  assertEquals(tab.path, "/");
  await statusText(tab, "Live");
});

Deno.test("page: the token leaves the address bar at once and is good for one tab", async () => {
  await using tab = await openTab();
  const address = tab.ui.server.address();
  const first = await (await tab.browser.newContext()).newPage();
  await first.goto(address);
  await first.locator("#view-title", { hasText: "Overview" }).waitFor();
  assertEquals(new URL(first.url()).hash, "");
  const second = await (await tab.browser.newContext()).newPage();
  await second.goto(address);
  await second.locator("#view-title", { hasText: "This tab may not read" }).waitFor();
  assertEquals(new URL(second.url()).hash, "");
  const third = await (await tab.browser.newContext()).newPage();
  await third.goto(tab.origin);
  await third.locator("#view-title", { hasText: "This tab may not read" }).waitFor();
  // The secret is where only this origin's scripts in this tab can read it: no cookie, no local storage.
  assertEquals(await first.context().cookies(), []);
  const kept = await first.evaluate(() => [sessionStorage.length, JSON.stringify({ ...localStorage })]);
  assertEquals(kept, [1, "{}"]);
});

Deno.test("page: shows rows and progress while the first list still runs", async () => {
  await using tab = await openTab({
    stored: many(600),
    through: (world) => {
      world.server.faults.add({
        verb: "list",
        path: /observations\?.*continue=/,
        effect: { kind: "latency", latencyMs: 2_500 },
      });
      return world.server.url;
    },
  });
  await statusText(tab, /Reading: [\d,]+/);
  const progress = tab.page.getByRole("progressbar", { name: "Findings read" });
  assertEquals(await progress.count(), 1);
  await tab.page.getByRole("link", { name: "Findings", exact: true }).click();
  await tab.page.locator(".window .cell.rule a").first().waitFor();
  await tab.counted(600);
  await statusText(tab, "Live");
});

Deno.test("page: says that nothing is stored", async () => {
  await using tab = await openTab({ stored: [] });
  await tab.page.getByText("No findings are stored").waitFor();
  for (const path of ["/?view=findings", "/?view=workloads", "/?view=rules"]) {
    await tab.visit(path);
    await tab.page.locator(".empty").waitFor();
    assertEquals(await tab.violations(), [], path);
  }
});

Deno.test("page: shows a user of one namespace that one alone, and says so", async () => {
  await using tab = await openTab({
    through: (world) => {
      world.server.faults.add({ path: /zen\.kube-zen\.io\/v1\/observations/, effect: { kind: "deny" } });
      return world.server.url;
    },
    ui: { inNamespace: "pay" },
    path: "/?view=findings",
  });
  await tab.counted(3);
  assertStringIncludes(await tab.page.locator(".notes").innerText(), "pay");
  assertMatch(await tab.page.locator(".cluster").innerText(), /namespace pay/);
  assertEquals(
    new Set(await tab.page.locator(".window .cell.where .faint").allInnerTexts()),
    new Set(["pay/"]),
  );
});

Deno.test("page: says that the user may read nothing", async () => {
  await using tab = await openTab({
    through: (world) => {
      world.server.faults.add({ path: "observations", effect: { kind: "deny" } });
      return world.server.url;
    },
  });
  await statusText(tab, /403|forbidden|may not/i);
  assertEquals(await tab.page.locator(".figure").count(), 0);
  assertEquals(await tab.violations(), []);
});
