/** Texts of attackers are shown as texts, in every field and every view. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import { assert, assertEquals } from "@std/assert";
import type { Page, Route } from "playwright-core";
import { isObject, type Json } from "../../src/model/json.ts";
import { HOSTILE } from "./support/hostile_strings.ts";
import { hoursAgo, type StoredFields } from "./support/stored.ts";
import { openTab, type Tab } from "./support/tab.ts";

const VIEWS = [
  "/",
  "/?view=findings&phase=all",
  "/?view=workloads&phase=all",
  "/?view=workloads&by=images&phase=all",
  "/?view=rules&phase=all",
  "/?view=exceptions",
  "/?view=accept&namespace=shop&rule=x",
];

/** What a page must not hold: anything that runs, loads or sends, and links that are neither ours nor http(s). */
function foreignParts(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const script = document.querySelector("head script");
    const forbidden =
      "script, img, iframe, object, embed, base, video, audio, form[action], style, template, math, meta[http-equiv]";
    for (const element of document.querySelectorAll(forbidden)) {
      if (element !== script) found.push(element.outerHTML);
    }
    for (const element of document.querySelectorAll("*")) {
      for (const { name } of element.attributes) {
        if (name.startsWith("on")) found.push(`${element.tagName} ${name}`);
      }
    }
    for (const link of document.querySelectorAll("a")) {
      const href = link.getAttribute("href") ?? "";
      const ours = href === "/" || href.startsWith("/?") || href === "#main";
      const outside = /^https?:\/\//.test(href) && link.target === "_blank" && link.rel.includes("noopener");
      if (!ours && !(outside && new URL(href).username === "")) found.push(`link to ${href}`);
    }
    if ("trapped" in globalThis) found.push("a script ran");
    return found;
  });
}

/** Requests to anywhere but the page's own origin. */
function strangers(tab: Tab): string[] {
  const found: string[] = [];
  tab.page.on("request", (request) => {
    if (!request.url().startsWith(`${tab.origin}/`)) found.push(request.url());
  });
  return found;
}

/** What CRDs and the API server let through of a text, as a name of a rule or a resource. */
function nameOf(text: string): string {
  return text.slice(0, 250).toWellFormed();
}

Deno.test("page: fifty hostile texts in every field that tools fill are inert", async () => {
  assertEquals(HOSTILE.length, 50);
  const stored = HOSTILE.map((text, index): StoredFields => ({
    id: `hostile-${index}`,
    namespace: "shop",
    resource: { apiVersion: "apps/v1", kind: "Deployment", name: nameOf(text), namespace: "shop" },
    rule: nameOf(text),
    message: text.toWellFormed(),
    details: {
      text: text.toWellFormed(),
      [nameOf(text)]: text.toWellFormed(),
      list: [text.toWellFormed()],
      image: nameOf(text),
    },
    status: { firstSeenAt: hoursAgo(3), lastSeenAt: hoursAgo(1) },
  }));
  await using tab = await openTab({ stored });
  const { page } = tab;
  const elsewhere = strangers(tab);
  for (const path of VIEWS) {
    await tab.visit(path);
    await page.locator("tbody tr, .window .cell.rule a, .empty, form").first().waitFor();
    assertEquals(await foreignParts(page), [], path);
  }
  await tab.visit("/?view=findings&limit=50");
  await tab.counted(50);
  const hrefs = new Set<string>();
  for (let at = 0; hrefs.size < 50 && at < 20; at++) {
    for (
      const href of await page.locator(".window .cell.rule a").evaluateAll((links) =>
        links.map((a) => a.getAttribute("href"))
      )
    ) {
      hrefs.add(href ?? "");
    }
    await page.mouse.wheel(0, 500);
    await page.evaluate(() =>
      new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
    );
  }
  assertEquals(hrefs.size, 50);
  const shown: string[] = [];
  for (const href of hrefs) {
    await tab.visit(href);
    await page.locator("dl.facts").first().waitFor();
    await page.getByText("YAML", { exact: true }).click();
    shown.push(await page.locator(".lead").evaluate((lead) => lead.textContent ?? ""));
    assertEquals(await foreignParts(page), [], href);
  }
  assertEquals(shown.sort(), stored.map(({ message }) => message ?? "").sort(), "each is shown as it is");
  assertEquals(elsewhere, []);
  tab.assertQuiet();
});

/** Keys whose values the page's own code chooses by; a server part that lies about them is not what this is about. */
const STRUCTURE = ["severity", "counts", "total", "offset"];

/** Every text of an answer becomes a hostile one. */
function poisoned(value: Json, next: () => string): Json {
  if (typeof value === "string") return next();
  if (Array.isArray(value)) return value.map((item) => poisoned(item, next));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map((
      [key, item],
    ) => [key, STRUCTURE.includes(key) ? item : poisoned(item as Json, next)]),
  );
}

Deno.test("page: hostile texts in every text of every answer are inert", async () => {
  await using tab = await openTab();
  const { page } = tab;
  const elsewhere = strangers(tab);
  let given = 0;
  const next = () => HOSTILE[given++ % HOSTILE.length] ?? "";
  await page.route(/\/api\/(overview|findings|groups|facets|exceptions|commands)/, async (route: Route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: poisoned(await answer.json(), next) });
  });
  // Every text comes to every field: more rounds than there are texts of an answer would not show more.
  for (let round = 0; round < 4; round++) {
    for (const path of [...VIEWS, "/?view=finding&in=shop&name=x"]) {
      await tab.visit(path);
      await page.locator("tbody tr, .window .cell, .empty, form, .problem, dl.facts").first().waitFor();
      assertEquals(await foreignParts(page), [], path);
    }
  }
  assert(given > 500, `${given} texts were replaced`);
  assertEquals(elsewhere, []);
  tab.assertQuiet(/404/);
});
