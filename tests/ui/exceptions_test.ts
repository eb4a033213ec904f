/** Accepting a risk by the page's form, and undoing it. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import { assert, assertEquals, assertObjectMatch, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../src/model/json.ts";
import { DAY_MS } from "../../src/model/time.ts";
import { eventually } from "../support/eventually.ts";
import { hoursAgo } from "./support/stored.ts";
import { openTab, type WorldTab } from "./support/tab.ts";

const EXCEPTIONS = "observationexceptions.zen.kube-zen.io";

function stored(tab: WorldTab): JsonObject[] {
  return tab.world.server.objects(EXCEPTIONS);
}

/** The text under a field that says what is wrong with it. */
async function problemOf(tab: WorldTab, label: string): Promise<string> {
  const field = tab.page.getByLabel(label, { exact: true });
  assertEquals(await field.getAttribute("aria-invalid"), "true", label);
  const about = await field.getAttribute("aria-describedby");
  return await tab.page.locator(`#${about}`).innerText();
}

/** Clicks the first element of `selector`: the text of what has the focus when its line changes, before any paint. */
function focusedOnceItChanges({ page }: WorldTab, selector: string): Promise<string | undefined> {
  return page.evaluate((selector) => {
    const element = document.querySelector<HTMLElement>(selector);
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const observer = new MutationObserver(() => {
      observer.disconnect();
      resolve(document.activeElement?.textContent?.trim());
    });
    observer.observe(element?.closest("td") ?? document.body, { childList: true, subtree: true });
    element?.click();
    return promise;
  }, selector);
}

async function openForm(tab: WorldTab): Promise<void> {
  await tab.visit("/?view=findings&severity=CRITICAL");
  await tab.page.locator(".window .cell.rule a").click();
  await tab.page.getByRole("link", { name: "Accept this risk…" }).click();
  await tab.headed("Accept a risk");
}

Deno.test("page: accepting counts first, writes an exception, and undoing takes it back", async () => {
  await using tab = await openTab();
  const { page } = tab;
  await openForm(tab);
  assertEquals(await page.getByLabel("Rules").inputValue(), "CVE-2024-3094");
  assertEquals(await page.getByLabel("Workloads").inputValue(), "web");
  await page.locator(".preview", { hasText: "1 open finding" }).waitFor();
  assertStringIncludes(
    await page.locator(".preview table").innerText(),
    "malicious code in the upstream tarballs",
  );
  assertEquals(stored(tab), [], "a preview writes nothing");
  await page.getByLabel("Reason").selectOption("not_affected");
  await page.getByLabel("Justification").fill("sshd is not in the image");
  await page.getByRole("button", { name: "30 days" }).click();
  await page.getByLabel("Ticket").fill("https://tickets.example.com/SEC-1");
  await page.getByRole("button", { name: "Accept until then" }).click();
  await tab.headed("Exceptions");
  const [written] = stored(tab);
  assertObjectMatch(written ?? {}, {
    metadata: { namespace: "shop" },
    spec: {
      match: { rules: ["CVE-2024-3094"], workloads: ["web"], sources: ["trivy"] },
      reason: "not_affected",
      justification: "sshd is not in the image",
      ticket: "https://tickets.example.com/SEC-1",
      expiresAt: `${new Date(Date.now() + 30 * DAY_MS).toISOString().slice(0, 10)}T23:59:59Z`,
    },
  });
  const line = page.locator("table.exceptions tbody tr");
  await line.waitFor();
  assertStringIncludes(await line.innerText(), "sshd is not in the image");
  assertEquals(await line.getByRole("link", { name: "https://tickets.example.com/SEC-1" }).count(), 1);
  assertEquals(await tab.violations(), []);
  assertEquals(await focusedOnceItChanges(tab, "table.exceptions td.right button"), "Delete the exception");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Delete the exception" }).waitFor({ state: "hidden" });
  assertEquals(await page.evaluate(() => document.activeElement?.textContent?.trim()), "Undo…");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Delete the exception" }).click();
  await page.getByText("Nothing is accepted").waitFor();
  await eventually("the exception is gone", () => stored(tab).length === 0);
  tab.assertQuiet();
});

Deno.test("page: a finding without a rule is accepted by its resource, and one without both is not offered", async () => {
  const without = {
    namespace: "shop",
    source: "scanner",
    severity: "HIGH",
    eventType: "misconfiguration",
  } as const;
  await using tab = await openTab({
    stored: [
      { id: "of-web", deployment: "web", message: "web has no rule", ...without },
      { id: "of-api", deployment: "api", message: "api has no rule", ...without },
      { id: "of-nothing", message: "neither rule nor resource", ...without },
    ],
  });
  const { page } = tab;
  await tab.visit("/?view=findings&workload=web");
  await page.locator(".window .cell.rule a").click();
  await page.getByRole("link", { name: "Accept this risk…" }).click();
  await tab.headed("Accept a risk");
  assertEquals([
    await page.getByLabel("Resource kind").inputValue(),
    await page.getByLabel("Resource name").inputValue(),
  ], ["Deployment", "web"]);
  await page.locator(".preview", { hasText: "1 open finding" }).waitFor();
  await page.getByLabel("Reason").selectOption("mitigated");
  await page.getByLabel("Justification").fill("the network policy keeps it inside");
  await page.getByRole("button", { name: "Accept until then" }).click();
  await tab.headed("Exceptions");
  assertObjectMatch(stored(tab)[0] ?? {}, {
    spec: { match: { resources: [{ kind: "Deployment", name: "web" }], sources: ["scanner"] } },
  });
  await tab.visit("/?view=findings&text=neither");
  await page.locator(".window .cell.rule a").click();
  await page.getByRole("button", { name: "Print" }).waitFor();
  assertEquals(await page.getByRole("link", { name: /Accept/ }).count(), 0);
  tab.assertQuiet();
});

Deno.test("page: the matched count of an exception leads to what it accepts, of whatever rule of its policy", async () => {
  const held = { namespace: "shop", name: "tags", since: hoursAgo(1), expiresAt: hoursAgo(-500) };
  const status = { phase: "Accepted" as const, exception: held };
  const rules = ["disallow-latest-tag/require-image-tag", "disallow-latest-tag/validate-image-tag"];
  await using tab = await openTab({
    stored: [
      ...rules.map((rule) => ({
        id: rule,
        namespace: "shop",
        deployment: "web",
        source: "kyverno",
        rule,
        status,
      })),
      {
        id: "other",
        namespace: "shop",
        deployment: "web",
        source: "kyverno",
        rule: "no-root",
        status: { phase: "Accepted", exception: { ...held, name: "other" } },
      },
    ],
    path: "/?view=exceptions",
  });
  const exception = {
    apiVersion: "zen.kube-zen.io/v1alpha1",
    kind: "ObservationException",
    metadata: { name: held.name, namespace: held.namespace },
    spec: {
      match: { rules: ["disallow-latest-tag"] },
      reason: "fix_planned",
      justification: "the images get tags next month",
      expiresAt: held.expiresAt,
    },
    status: { matched: 2 },
  };
  await tab.world.create([exception]);
  await tab.page.getByRole("link", { name: "2 accepted by tags" }).click();
  await tab.counted(2);
  assertEquals((await tab.page.locator(".window .cell.rule a").allInnerTexts()).sort(), rules);
  await tab.page.getByText("accepted by").first().waitFor();
});

Deno.test("page: the form says at each field what is wrong, and writes nothing", async () => {
  await using tab = await openTab();
  const { page } = tab;
  await tab.visit("/?view=accept");
  await page.getByRole("button", { name: "Accept until then" }).click();
  assertStringIncludes(await problemOf(tab, "Namespace"), "Choose the namespace");
  assertStringIncludes(await problemOf(tab, "Rules"), "Name a rule");
  assertStringIncludes(await problemOf(tab, "Reason"), "Choose the reason");
  assertStringIncludes(await problemOf(tab, "Justification"), "Say why");
  assertEquals(
    await page.evaluate(() => document.activeElement?.id),
    "accept-namespace",
    "the first one has the focus",
  );
  const in400Days = new Date(Date.now() + 400 * DAY_MS).toISOString().slice(0, 10);
  await page.getByLabel("Until the end of (UTC day)").fill(in400Days);
  await page.getByRole("button", { name: "Accept until then" }).click();
  assertStringIncludes(await problemOf(tab, "Until the end of (UTC day)"), "within 365 days");
  await page.getByLabel("Until the end of (UTC day)").fill("2020-01-01");
  await page.getByRole("button", { name: "Accept until then" }).click();
  assertStringIncludes(await problemOf(tab, "Until the end of (UTC day)"), "not over");
  assertEquals(await tab.violations(), []);
  assertEquals(stored(tab), []);
});

Deno.test("page: the API server's refusal is shown in the form, and the entries stay", async () => {
  await using tab = await openTab();
  const { page, world } = tab;
  await openForm(tab);
  await page.getByLabel("Reason").selectOption("accepted_risk");
  await page.getByLabel("Justification").fill("the risk is small");
  const message = 'observationexceptions.zen.kube-zen.io "x" is forbidden: spec.expiresAt: too long';
  world.server.faults.add({
    verb: "create",
    path: "observationexceptions",
    times: 1,
    effect: {
      kind: "status",
      status: 422,
      body: { kind: "Status", apiVersion: "v1", status: "Failure", message, code: 422 },
    },
  });
  await page.getByRole("button", { name: "Accept until then" }).click();
  await page.locator("#accept-day-about.problem").waitFor();
  assertStringIncludes(await problemOf(tab, "Until the end of (UTC day)"), "too long");
  assertEquals(await page.evaluate(() => document.activeElement?.id), "accept-day");
  assertEquals(await page.getByLabel("Justification").inputValue(), "the risk is small");
  await page.getByRole("button", { name: "Accept until then" }).click();
  await tab.headed("Exceptions");
  assertEquals(stored(tab).length, 1);
});

Deno.test("page: who may not write exceptions is offered no form", async () => {
  await using tab = await openTab({
    through: (world) => {
      world.server.faults.add({
        verb: ["create", "delete"],
        path: "observationexceptions",
        effect: { kind: "deny" },
      });
      return world.server.url;
    },
    path: "/?view=findings&severity=CRITICAL",
  });
  await tab.page.locator(".window .cell.rule a").click();
  await tab.headed("CVE-2024-3094");
  await tab.page.getByRole("button", { name: "Print" }).waitFor();
  assertEquals(await tab.page.getByRole("link", { name: /Accept/ }).count(), 0);
  await tab.visit("/?view=exceptions");
  await tab.page.getByText("Nothing is accepted").waitFor();
  assertEquals(await tab.page.getByRole("link", { name: /Accept/ }).count(), 0);
});

Deno.test("page: a finding that is accepted is counted apart, and says by what and until when", async () => {
  const until = `${new Date(Date.now() + 20 * DAY_MS).toISOString().slice(0, 19)}Z`;
  const { STORED } = await import("./support/stored.ts");
  const accepted = STORED.map((fields) =>
    fields.id === "web-xz"
      ? {
        ...fields,
        status: {
          ...fields.status,
          phase: "Accepted" as const,
          exception: {
            namespace: "shop",
            name: "xz",
            expiresAt: until,
            since: `${new Date().toISOString().slice(0, 19)}Z`,
          },
        },
      }
      : fields
  );
  await using tab = await openTab({ stored: accepted });
  const { page } = tab;
  await page.locator(".figure.all b", { hasText: /^8$/ }).waitFor();
  await page.locator(".figure", { hasText: "accepted" }).locator("a").click();
  await tab.counted(1);
  await page.locator(".window .phase", { hasText: "Accepted" }).waitFor();
  await page.locator(".window .cell.rule a").click();
  const by = page.getByRole("link", { name: "shop/xz" });
  await by.waitFor();
  assert(await page.getByRole("link", { name: /^Accept this/ }).count() === 0, "it is accepted already");
});
