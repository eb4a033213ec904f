/** What readers do with the page: filter, follow a link, go back, search, sort, copy; by mouse and by keyboard alone. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { OBSERVATIONS } from "../../src/store/mod.ts";
import { metadataOf } from "../support/dev_world.ts";
import { hoursAgo, many, STORED, storeOne } from "./support/stored.ts";
import { openTab } from "./support/tab.ts";

Deno.test("page: the filter is in the URL, and back and forward work", async () => {
  await using tab = await openTab();
  const { page } = tab;
  await page.getByRole("link", { name: "Findings", exact: true }).click();
  await tab.counted(9);
  await page.getByRole("button", { name: /^critical/ }).click();
  await tab.counted(1);
  assertEquals(tab.path, "/?view=findings&severity=CRITICAL");
  await page.getByRole("button", { name: /^medium/ }).click();
  await tab.counted(4);
  assertEquals(tab.path, "/?view=findings&severity=CRITICAL,MEDIUM");
  await page.locator(".menu button", { hasText: "Namespace" }).click();
  await page.getByRole("checkbox", { name: /^pay/ }).check();
  await tab.counted(2);
  await page.keyboard.press("Escape");
  await page.goBack();
  await tab.counted(4);
  await page.goBack();
  await tab.counted(1);
  await page.goForward();
  await tab.counted(4);
  await page.goBack();
  await page.goBack();
  await page.goBack();
  await tab.headed("Overview");
  // The address alone brings the list back.
  await tab.visit("/?view=findings&severity=CRITICAL,MEDIUM&namespace=pay");
  await tab.counted(2);
  assertEquals(await page.getByRole("button", { name: /^medium/ }).getAttribute("aria-pressed"), "true");
  tab.assertQuiet();
});

Deno.test("page: every key of the filter restricts the list", async () => {
  await using tab = await openTab();
  const totals: Readonly<Record<string, number>> = {
    "source=trivy": 3,
    "source=trivy,falco": 4,
    "namespace=shop": 5,
    "workload=web": 3,
    "rule=CVE-2024-3094": 1,
    "rule=CVE-2024-3094&phase=all": 2,
    "phase=Resolved": 1,
    "text=openssl+overflow": 1,
    "category=compliance": 3,
    "kind=Deployment": 7,
    "image=registry.example.com/shop/web:1.4": 1,
    "type=occurrence": 1,
    [`since=${hoursAgo(40)}`]: 3,
  };
  for (const [query, total] of Object.entries(totals)) {
    await tab.visit(`/?view=findings&${query}`);
    await tab.counted(total);
  }
  // A key without a control of its own is a chip that takes it away.
  await tab.visit("/?view=findings&workload=web");
  await tab.page.getByRole("button", { name: /workload.*web/ }).click();
  await tab.counted(9);
  await tab.page.getByRole("button", { name: "More", exact: true }).click();
  await tab.page.getByLabel("Rule", { exact: true }).fill("CKV_K8S_23");
  await tab.page.getByRole("button", { name: "Apply" }).click();
  await tab.counted(2);
  await tab.page.getByRole("button", { name: "Clear all" }).click();
  await tab.counted(9);
  assertEquals(tab.path, "/?view=findings");
});

Deno.test("page: search narrows as the reader types, keeps one entry of history, and Esc clears it", async () => {
  await using tab = await openTab({ path: "/?view=findings" });
  const { page } = tab;
  await tab.counted(9);
  const entries = await page.evaluate(() => history.length);
  await page.keyboard.press("/");
  await page.keyboard.type("openssl");
  await tab.counted(1);
  assertEquals(tab.path, "/?view=findings&text=openssl");
  assertEquals(await page.evaluate(() => history.length), entries);
  await page.keyboard.press("Escape");
  await tab.counted(9);
  await page.keyboard.press("Escape");
  assertEquals(await page.evaluate(() => document.activeElement?.id), "");
});

Deno.test("page: a column's head sorts by it, and again the other way", async () => {
  await using tab = await openTab({ path: "/?view=findings" });
  const { page } = tab;
  await tab.counted(9);
  const first = page.locator(".window .grid-row").first();
  assertStringIncludes(await first.innerText(), "CRITICAL");
  await page.getByRole("button", { name: "Rule" }).click();
  await page.waitForURL(/sort=rule/);
  await page.locator(".window .grid-row", { hasText: "4.2.1" }).first().waitFor();
  await page.waitForFunction(() => document.querySelector(".window .cell.rule")?.textContent === "4.2.1");
  assertEquals(await page.locator("[role=columnheader].rule").getAttribute("aria-sort"), "ascending");
  await page.getByRole("button", { name: "Rule" }).click();
  await page.waitForFunction(() =>
    document.querySelector(".window .cell.rule")?.textContent === "require-labels"
  );
  assertEquals(await page.locator("[role=columnheader].rule").getAttribute("aria-sort"), "descending");
});

Deno.test("page: links lead from a number to a list, to a finding, to its rule, and back to where the reader was", async () => {
  await using tab = await openTab({ stored: [...STORED, ...many(300)], path: "/?view=findings" });
  const { page } = tab;
  await tab.counted(309);
  await page.evaluate(() => scrollTo(0, 4_000));
  const row = page.locator("#row-118 .cell.rule a");
  const name = await row.innerText();
  const scrolled = await page.evaluate(() => scrollY);
  assert(scrolled > 1_000, "the list is scrolled");
  await row.click();
  await tab.headed(name);
  assertEquals(
    await page.evaluate(() => document.activeElement?.id),
    "view-title",
    "the new view has the focus",
  );
  await page.goBack();
  await tab.counted(309);
  await page.waitForFunction((wanted) => Math.abs(scrollY - wanted) < 5, scrolled);
  await page.locator(".window .cell.rule a", { hasText: name }).click();
  await tab.headed(name);
  await page.getByRole("link", { name, exact: true }).first().click();
  await tab.counted(1);
});

Deno.test("page: only the rows near the screen are elements, and the last row can be reached", async () => {
  await using tab = await openTab({ stored: many(700), path: "/?view=findings&sort=rule" });
  const { page } = tab;
  await tab.counted(700);
  const rows = page.locator(".window .grid-row");
  assert(await rows.count() < 80, "a screenful and a few");
  await page.locator(".grid").focus();
  await page.keyboard.press("End");
  await page.locator(".window .cell.rule a", { hasText: "CVE-2020-10699" }).waitFor();
  assert(await rows.count() < 80);
  // Keys that come faster than frames count, each of them.
  await page.locator(".grid").evaluate((grid) => {
    for (
      const key of [
        "Home",
        "ArrowDown",
        "ArrowDown",
        "ArrowDown",
        "ArrowUp",
        "End",
        "ArrowUp",
        "ArrowUp",
        "ArrowDown",
      ]
    ) {
      grid.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    }
  });
  await page.waitForFunction(() =>
    document.querySelector(".grid")?.getAttribute("aria-activedescendant") === "row-698"
  );
  await page.keyboard.press("ArrowDown");
  await page.waitForFunction(() =>
    document.querySelector(".grid")?.getAttribute("aria-activedescendant") === "row-699"
  );
  const active = await page.locator(".grid").getAttribute("aria-activedescendant");
  assertEquals(active, "row-699");
  assertEquals(await page.locator("#row-699").getAttribute("aria-rowindex"), "701");
  const seen = await page.locator("#row-699").evaluate((row) => {
    const { top, bottom } = row.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  });
  assert(seen, "the row is on the screen");
  // A reader who scrolls away by other means leaves no name of a row that is not there.
  await page.evaluate(() => scrollTo(0, 0));
  await page.locator("#row-0").waitFor();
  assertEquals(await tab.violations(), []);
  assertEquals(await page.locator(".grid").getAttribute("aria-activedescendant"), null);
  await page.keyboard.press("ArrowUp");
  await page.locator("#row-698").waitFor();
});

Deno.test("page: keyboard alone reads a finding, filters, searches, copies and changes the theme", async () => {
  await using tab = await openTab({ browser: { permissions: ["clipboard-read", "clipboard-write"] } });
  const { page } = tab;
  const focused = () =>
    page.evaluate(() => {
      const element = document.activeElement;
      return element?.getAttribute("aria-label") ?? element?.textContent?.trim() ?? "";
    });
  /** Presses Tab until the focus is on a control of this name. */
  async function tabTo(name: RegExp): Promise<void> {
    const passed: string[] = [];
    for (let presses = 0; presses < 80; presses++) {
      await page.keyboard.press("Tab");
      const now = await focused();
      if (name.test(now)) return;
      passed.push(now.slice(0, 30));
    }
    throw new Error(`Tab never reaches ${name}: ${passed.join(" | ")}`);
  }
  await page.locator("body").focus();
  await page.keyboard.press("Tab");
  assertEquals(await focused(), "Skip to content");
  assert(
    await page.locator(".skip").evaluate((link) => link.getBoundingClientRect().top >= 0),
    "it can be seen",
  );
  await page.keyboard.press("Enter");
  assertEquals(await page.evaluate(() => document.activeElement?.id), "main");
  await page.keyboard.press("/");
  await tab.headed("Findings");
  await page.waitForFunction(() => document.activeElement?.id === "search");
  await tab.counted(9);
  await tabTo(/^critical/);
  await page.keyboard.press("Space");
  await tab.counted(1);
  await page.keyboard.press("Space");
  await tab.counted(9);
  await tabTo(/^Source/);
  await page.keyboard.press("Enter");
  await tabTo(/^$/);
  await page.keyboard.press("Space");
  await page.waitForURL(/source=/);
  await page.keyboard.press("Escape");
  assertEquals((await focused()).startsWith("Source"), true, "Esc closes the menu and gives the focus back");
  await tabTo(/^Clear all/);
  await page.keyboard.press("Enter");
  await tab.counted(9);
  await tabTo(/^Findings$/);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowUp");
  await page.waitForFunction(() =>
    document.querySelector(".grid")?.getAttribute("aria-activedescendant") === "row-1"
  );
  const rule = await page.locator("#row-1 .cell.rule a").innerText();
  await page.keyboard.press("Enter");
  await tab.headed(rule);
  await tabTo(/^Copy as kubectl$/);
  await page.keyboard.press("Enter");
  await page.locator(".copyable button", { hasText: "Copied" }).first().waitFor();
  await page.goBack();
  await tab.counted(9);
  await tabTo(/^Theme/);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: /^Theme: light/ }).waitFor();
  // What has the focus can be seen to have it.
  const outline = await page.evaluate(() =>
    document.activeElement && getComputedStyle(document.activeElement).outlineStyle
  );
  assertEquals(outline, "solid");
  tab.assertQuiet();
});

Deno.test("page: copies a list and a finding as kubectl and as kubectl zen", async () => {
  await using tab = await openTab({
    browser: { permissions: ["clipboard-read", "clipboard-write"] },
    path: "/?view=findings&severity=CRITICAL&namespace=shop",
  });
  const { page } = tab;
  const copied = () => page.evaluate(() => navigator.clipboard.readText());
  await page.getByRole("button", { name: "Copy as command" }).click();
  await page.getByRole("button", { name: "Copy as kubectl", exact: true }).click();
  await page.getByText("Copied", { exact: true }).waitFor();
  assertStringIncludes(await copied(), "get observations");
  await page.getByRole("button", { name: "Copy as kubectl zen" }).click();
  await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("kubectl zen"));
  assertStringIncludes(await copied(), "shop");
  await page.keyboard.press("Escape");
  await page.locator(".window .cell.rule a").click();
  await tab.headed("CVE-2024-3094");
  await page.getByRole("button", { name: "Copy as kubectl", exact: true }).click();
  await page.getByText("Copied", { exact: true }).waitFor();
  assertStringIncludes(await copied(), "-n shop");
});

Deno.test("page: what changes in the cluster changes on the page, without a reload", async () => {
  await using tab = await openTab({ path: "/?view=findings" });
  const { page, world } = tab;
  await tab.counted(9);
  const { namespace, name } = await storeOne(world, {
    id: "fresh",
    namespace: "shop",
    deployment: "web",
    severity: "CRITICAL",
    rule: "CVE-2026-0001",
    message: "found just now",
    status: { firstSeenAt: hoursAgo(0), lastSeenAt: hoursAgo(0) },
  });
  await tab.counted(10);
  await page.locator(".window .cell.rule a", { hasText: "CVE-2026-0001" }).click();
  await page.locator("dl.facts .phase", { hasText: "Open" }).waitFor();
  const status = { phase: "Resolved", resolvedAt: hoursAgo(0), resolvedReason: "ReportGone" };
  await world.api.patch(OBSERVATIONS, name, { status }, { namespace, subresource: "status", type: "merge" });
  await page.locator("dl.facts .phase", { hasText: "Resolved" }).waitFor();
  await page.getByText("which does not say that it is fixed").waitFor();
  await world.api.delete(OBSERVATIONS, name, { namespace });
  await page.locator(".problem").waitFor();
  await page.getByRole("link", { name: "Overview" }).click();
  await page.locator(".figure.all b", { hasText: /^9$/ }).waitFor();
  tab.assertQuiet(/404/);
});

Deno.test("page: filters, opens and goes back while 50 findings change each second", async () => {
  await using tab = await openTab({ stored: [...STORED, ...many(200)], path: "/?view=findings" });
  const { page, world } = tab;
  await tab.counted(209);
  const names = world.observations().map(metadataOf).filter(({ namespace }) => namespace === "bulk");
  const stop = new AbortController();
  let changed = 0;
  const changing = every(20, async () => {
    const { name = "" } = names[changed++ % names.length] ?? {};
    const status = { occurrences: changed + 1, lastSeenAt: hoursAgo(0) };
    await world.api.patch(OBSERVATIONS, String(name), { status }, {
      namespace: "bulk",
      subresource: "status",
      type: "merge",
    });
  }, stop.signal);
  try {
    do {
      await page.getByRole("button", { name: /^critical/ }).click();
      await tab.counted(1);
      await page.locator(".window .cell.rule a").click();
      await tab.headed("CVE-2024-3094");
      await page.goBack();
      await tab.counted(1);
      await page.goBack();
      await tab.counted(209);
    } while (changed < 150);
  } finally {
    stop.abort();
    await changing;
  }
  // What changed last is on the page in the end.
  await tab.visit("/?view=findings&namespace=bulk&sort=occurrences");
  await page.locator("#row-0 .cell.count", { hasText: `${(changed + 1).toLocaleString("en")}×` }).waitFor();
  tab.assertQuiet();
});

/** Acts at a steady rate until the signal; resolves with how often. */
async function every(
  ms: number,
  act: (count: number) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  let count = 0;
  while (!signal.aborted) {
    await act(count++);
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
  return count;
}

Deno.test("page: a reload keeps the session, and a link opened in another tab has it too", async () => {
  await using tab = await openTab({ path: "/?view=findings&severity=HIGH" });
  const { page } = tab;
  await tab.counted(2);
  await page.reload();
  await tab.counted(2);
  assertEquals(tab.path, "/?view=findings&severity=HIGH");
  const opened = page.context().waitForEvent("page");
  await page.locator(".window .cell.rule a").first().click({ modifiers: ["ControlOrMeta"] });
  const other = await opened;
  await other.locator("dl.facts").first().waitFor();
  assertEquals(tab.path, "/?view=findings&severity=HIGH", "the first tab stays where it is");
});
