/** Every view: what it shows, for eyes, hands and screen readers, in both themes, on a phone and with large text. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { hoursAgo, many, STORED } from "./support/stored.ts";
import { NARROW, openTab, type Tab, WIDE } from "./support/tab.ts";

/** The views with something that only their data can show. */
const VIEWS: readonly (readonly [path: string, shown: string])[] = [
  ["/", "shop/web"],
  ["/?view=workloads", "shop/web"],
  ["/?view=workloads&by=images", "registry.example.com/shop/web:1.4"],
  ["/?view=rules", "CVE-2024-3094"],
  ["/?view=findings", "CVE-2024-3094"],
  ["/?view=findings&phase=all&text=no+such+text", "No finding matches"],
  ["/?view=exceptions", "Exceptions"],
  ["/?view=accept&namespace=shop&rule=CVE-2024-3094", "Justification"],
];

async function everyView(tab: Tab, check: (path: string) => Promise<void>): Promise<void> {
  for (const [path, shown] of VIEWS) {
    await tab.visit(path);
    await tab.page.getByText(shown).first().waitFor();
    await check(path);
  }
  await tab.visit("/?view=findings");
  await tab.page.locator(".window .cell.rule a").first().click();
  await tab.page.locator("dl.facts").first().waitFor();
  await check("one finding");
}

for (const colorScheme of ["light", "dark"] as const) {
  Deno.test(`page: axe finds no violation in any view in the ${colorScheme} theme`, async () => {
    await using tab = await openTab({ browser: { colorScheme } });
    await everyView(tab, async (path) => assertEquals(await tab.violations(), [], path));
    await tab.visit("/?view=findings");
    await tab.page.locator(".menu button", { hasText: "Source" }).click();
    await tab.page.getByRole("checkbox").first().waitFor();
    assertEquals(await tab.violations(), [], "an open menu");
    tab.assertQuiet();
  });
}

Deno.test("page: axe finds no violation on a phone", async () => {
  await using tab = await openTab({ browser: { viewport: NARROW } });
  await everyView(tab, async (path) => assertEquals(await tab.violations(), [], path));
});

/** What is wider than the window, as CSS selectors. */
function overflowing(tab: Tab): Promise<string[]> {
  return tab.page.evaluate(() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    return [...document.querySelectorAll("body *")]
      .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
      .map((element) => `${element.tagName}.${element.className}`).slice(0, 5);
  });
}

Deno.test("page: every view fits a window of 360 px", async () => {
  await using tab = await openTab({ browser: { viewport: NARROW }, stored: [...STORED, ...many(30)] });
  await everyView(tab, async (path) => assertEquals(await overflowing(tab), [], path));
});

Deno.test("page: every view fits a window of 1280 px with text of 200 %", async () => {
  await using tab = await openTab();
  await everyView(tab, async (path) => {
    await tab.page.evaluate(() => document.documentElement.style.fontSize = "200%");
    await tab.page.evaluate(() => new Promise(requestAnimationFrame));
    assertEquals(await overflowing(tab), [], path);
    const cut = await tab.page.evaluate(() =>
      [...document.querySelectorAll("button, h1, h2, th")]
        .filter((element) => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1)
        .map((element) => element.textContent)
    );
    assertEquals(cut, [], `${path}: no label is cut`);
  });
});

Deno.test("page: the overview's figures are those of what is stored, and each leads to its list", async () => {
  await using tab = await openTab();
  const { page } = tab;
  const figure = (name: string) => page.locator(".figure", { hasText: name }).locator("b").innerText();
  await page.locator(".figure").first().waitFor();
  const shown = Object.fromEntries(
    await Promise.all(
      ["open", "critical", "high", "medium", "low", "unknown", "accepted", "resolved"].map(async (name) =>
        [name, await figure(name)] as const
      ),
    ),
  );
  assertEquals(shown, {
    open: "9",
    critical: "1",
    high: "2",
    medium: "3",
    low: "2",
    unknown: "1",
    accepted: "0",
    resolved: "1",
  });
  for (const [name, total] of Object.entries(shown)) {
    await tab.visit("/");
    await page.locator(".figure", { hasText: name }).locator("a").click();
    await tab.counted(Number(total));
  }
  // Every other number of the overview: the list behind it has as many rows.
  await tab.visit("/");
  const links = await page.locator("a.number").evaluateAll((found) =>
    found.map((link) => [link.getAttribute("href") ?? "", link.textContent ?? ""])
  );
  assert(links.length > 20, `${links.length} numbers are links`);
  for (const [href = "", text = ""] of links) {
    await tab.visit(href);
    const total = await page.locator("#view-title .total").innerText();
    assertEquals(total, text, href);
  }
  tab.assertQuiet();
});

Deno.test("page: the overview says when each source made its newest report, and which reports the user may not list", async () => {
  await using tab = await openTab({
    through: async (world) => {
      await world.create([{
        apiVersion: "aquasecurity.github.io/v1alpha1",
        kind: "VulnerabilityReport",
        metadata: { name: "web", namespace: "shop" },
        report: { updateTimestamp: hoursAgo(3), vulnerabilities: [] },
      }]);
      world.server.faults.add({ verb: "list", path: "/policyreports", effect: { kind: "deny" } });
      return world.server.url;
    },
  });
  const note = tab.page.locator(".panel .note", { hasText: "Newest reports: trivy 3 h ago." });
  await note.waitFor();
  assertStringIncludes(await note.innerText(), "You may not list policyreports.wgpolicyk8s.io");
  assertEquals(await tab.violations(), []);
  tab.assertQuiet();
});

Deno.test("page: a chart is a picture with a title, and its figures are in a table", async () => {
  await using tab = await openTab();
  const { page } = tab;
  const charts = page.locator("svg[role=img]");
  await charts.first().waitFor();
  for (
    const label of await charts.evaluateAll((found) =>
      found.map((each) => each.getAttribute("aria-label") ?? "")
    )
  ) {
    assert(/\d|none/.test(label), `"${label}" says figures`);
  }
  await page.getByText("Figures of each day").click();
  const rows = page.locator(".days tbody tr");
  assertEquals(await rows.count(), 30);
  const sum = (column: number) =>
    rows.evaluateAll(
      (found, column) => found.reduce((sum, row) => sum + Number(row.children[column]?.textContent ?? 0), 0),
      column,
    );
  const fresh =
    STORED.filter(({ status }) => Date.parse(status?.firstSeenAt ?? "") > Date.now() - 29 * 86_400_000)
      .length;
  assertEquals([await sum(1), await sum(2)], [fresh, 1]);
});

Deno.test("page: a workload with a runtime alert beside a vulnerability stands out", async () => {
  await using tab = await openTab({ path: "/?view=workloads" });
  const marked = tab.page.locator("tr.stands-out");
  await marked.waitFor();
  assertStringIncludes(await marked.innerText(), "shop/web");
  assertEquals(
    await marked.locator(".tool").allInnerTexts().then((tools) => tools.map((tool) => tool.trim()).sort()),
    [
      "falco 1",
      "kyverno 1",
      "trivy 1",
    ],
  );
});

Deno.test("page: a rule lists who has it", async () => {
  await using tab = await openTab({ path: "/?view=rules" });
  await tab.page.getByRole("link", { name: "CKV_K8S_23", exact: true }).click();
  await tab.counted(2);
  assertEquals((await tab.page.locator(".window .cell.where").allTextContents()).sort(), [
    "pay/ledger",
    "pay/pay",
  ]);
});

Deno.test("page: each number of Workloads and Rules leads to a list of as many, whatever the view is restricted to", async () => {
  await using tab = await openTab({
    stored: [
      ...STORED,
      // The same rule elsewhere: a list that forgets the restriction of its view has one row more.
      {
        id: "pay-xz",
        namespace: "pay",
        deployment: "pay",
        source: "trivy",
        severity: "CRITICAL",
        rule: "CVE-2024-3094",
        status: { firstSeenAt: hoursAgo(2), lastSeenAt: hoursAgo(1) },
      },
    ],
  });
  const { page } = tab;
  for (
    const view of [
      "view=rules&namespace=shop",
      "view=rules&phase=Resolved",
      `view=rules&phase=all&since=${hoursAgo(10)}`,
      "view=workloads&source=trivy",
      "view=workloads&by=sources&namespace=shop&phase=all",
    ]
  ) {
    await tab.visit(`/?${view}`);
    await page.locator("table.groups tbody tr").first().waitFor();
    const links = await page.locator("table.groups a.number, table.groups a.tool").evaluateAll((found) =>
      found.map((
        link,
      ) => [link.getAttribute("href") ?? "", /\d+$/.exec(link.textContent?.trim() ?? "")?.[0] ?? ""])
    );
    assert(links.length > 2, `${view}: ${links.length} numbers are links`);
    for (const [href = "", count = ""] of links) {
      await tab.visit(href);
      await page.locator("#view-title .total").waitFor();
      assertEquals(await page.locator("#view-title .total").innerText(), count, `${view}: ${href}`);
    }
  }
});

Deno.test("page: one finding shows message, details, times, commands, YAML and the rest of its workload", async () => {
  await using tab = await openTab({ path: "/?view=findings&severity=CRITICAL" });
  const { page } = tab;
  await page.locator(".window .cell.rule a").click();
  await tab.headed("CVE-2024-3094");
  const text = await page.locator("article").innerText();
  for (
    const part of [
      "malicious code in the upstream tarballs",
      "xz-utils",
      "Deployment web",
      "12",
      "get observations",
      "kubectl zen",
    ]
  ) {
    assertStringIncludes(text, part);
  }
  const times = await page.locator("article time").evaluateAll((found) =>
    found.map((time) => [time.getAttribute("datetime") ?? "", time.getAttribute("title") ?? ""])
  );
  assert(times.length >= 2);
  for (const [at = "", title = ""] of times) {
    assertEquals(
      Date.parse(title.replace(" UTC", "Z").replace(" ", "T")),
      Date.parse(at),
      "the title is the exact UTC",
    );
  }
  await page.getByText("YAML", { exact: true }).click();
  assertStringIncludes(await page.locator("pre.yaml").innerText(), "kind: Observation");
  const rest = page.locator("table.findings tbody tr");
  assertEquals(await rest.count(), 2, "Falco's and Kyverno's findings of web");
  tab.assertQuiet();
});

Deno.test("page: times are in the reader's zone", async () => {
  await using tab = await openTab({
    browser: { timezoneId: "Pacific/Kiritimati" },
    path: "/?view=findings&severity=CRITICAL",
  });
  const { page } = tab;
  await page.locator(".window .cell.rule a").click();
  const time = page.locator("dl.facts time").first();
  const at = await time.getAttribute("datetime") ?? "";
  // Kiritimati is 14 hours ahead of UTC all year.
  const local = new Date(Date.parse(at) + 14 * 3_600_000).toISOString().slice(0, 16).replace("T", " ");
  assertStringIncludes(await time.innerText(), local);
});

Deno.test("page: the theme follows the system until the switch says otherwise, and a reload keeps it", async () => {
  await using tab = await openTab({ browser: { colorScheme: "dark" } });
  const { page } = tab;
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.getByRole("button", { name: /^Theme: system/ }).click();
  await page.getByRole("button", { name: /^Theme: light/ }).waitFor();
  const light = await ground();
  assert(light !== dark, "the light theme differs");
  await page.reload();
  await page.getByRole("button", { name: /^Theme: light/ }).waitFor();
  assertEquals(await ground(), light);
  await page.getByRole("button", { name: /^Theme: light/ }).click();
  await page.getByRole("button", { name: /^Theme: dark/ }).waitFor();
  assertEquals(await ground(), dark);
});

Deno.test("page: nothing moves while a view loads", async () => {
  await using tab = await openTab({ stored: [...STORED, ...many(60)] });
  const { page } = tab;
  await page.addInitScript(() => {
    const moved: number[] = [];
    Object.assign(globalThis, { moved });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) moved.push((entry as unknown as { value: number }).value);
    }).observe({ type: "layout-shift", buffered: true });
  });
  for (const path of ["/", "/?view=findings", "/?view=workloads"]) {
    await tab.visit(path);
    await page.locator("tbody tr, .window .cell.rule a").first().waitFor();
    // A search changes the list while the reader looks at it.
    if (path !== "/") {
      await page.locator("#search").fill("CVE");
      await page.waitForURL(/text=CVE/);
      await page.locator(".old").waitFor({ state: "detached" });
    }
    const moved = await page.evaluate(() => (globalThis as unknown as { moved: number[] }).moved);
    const sum = moved.reduce((sum, value) => sum + value, 0);
    assert(sum < 0.1, `${path}: layout shift ${sum}, of which 0.1 is the most that counts as good`);
  }
});

Deno.test("page: a list prints whole, with its filter, its date and no controls", async () => {
  await using tab = await openTab({ stored: [...STORED, ...many(250)] });
  const { page } = tab;
  await page.addInitScript(() =>
    Object.assign(globalThis, { print: () => Object.assign(globalThis, { printed: true }) })
  );
  await tab.visit("/?view=findings&severity=LOW");
  await tab.counted(252);
  await page.getByRole("button", { name: "Print" }).click();
  await page.waitForFunction(() => "printed" in globalThis);
  await page.emulateMedia({ media: "print" });
  assertEquals(await page.locator(".paper tbody tr").count(), 252);
  assertStringIncludes(await page.locator(".paper p").innerText(), "severity=LOW");
  for (const hidden of [".filter-bar", ".grid", ".status-bar", ".top nav"]) {
    assertEquals(await page.locator(hidden).isVisible(), false, hidden);
  }
  const pdf = await page.pdf({ format: "A4" });
  assertEquals(new TextDecoder().decode(pdf.subarray(0, 5)), "%PDF-");
  const pages = new TextDecoder("latin1").decode(pdf).match(/\/Type\s*\/Page\b/g)?.length ?? 0;
  assert(pages >= 4, `252 rows take ${pages} pages`);
});

Deno.test("page: one finding prints on paper", async () => {
  await using tab = await openTab({ path: "/?view=findings&severity=CRITICAL" });
  const { page } = tab;
  await page.locator(".window .cell.rule a").click();
  await tab.headed("CVE-2024-3094");
  await page.emulateMedia({ media: "print" });
  assert(
    await page.getByText("Installed", { exact: false }).first().isVisible() ||
      await page.getByText("installedVersion").isVisible(),
  );
  assertEquals(await page.locator(".no-print").first().isVisible(), false);
  assert((await page.pdf({ format: "A4" })).length > 1_000);
});

Deno.test("page: wide and narrow show the same rows", async () => {
  await using tab = await openTab({ path: "/?view=findings" });
  const { page } = tab;
  await tab.counted(9);
  const rules = () => page.locator(".window .cell.rule a").allInnerTexts();
  const wide = await rules();
  await page.setViewportSize(NARROW);
  await page.waitForFunction(() =>
    (document.querySelector<HTMLElement>(".window .grid-row")?.offsetHeight ?? 0) > 50
  );
  assertEquals(await rules(), wide);
  await page.setViewportSize(WIDE);
});
