/** The page in a real Chromium, against the embedded API server. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import axe from "axe-core";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { assertEquals } from "@std/assert";
import { ensureTool } from "../../../scripts/tools.ts";
import { type DevWorld, startDevWorld } from "../../support/dev_world.ts";
import { openUi, type Ui } from "../../support/ui.ts";
import { store, STORED, type StoredFields } from "./stored.ts";

/** How long a condition may take to come true: long, because nothing is asserted about time. */
const PATIENCE_MS = 30_000;
/** One width that fits all columns, and that of a small phone. */
export const WIDE = { width: 1280, height: 800 } as const;
export const NARROW = { width: 360, height: 740 } as const;

export interface TabOptions {
  /** What the API server stores; by default `STORED`. */
  readonly stored?: readonly StoredFields[];
  /** Where to read from instead: another address of the API server (a proxy that cuts it off). */
  readonly through?: (world: DevWorld) => string | Promise<string>;
  readonly ui?: Parameters<typeof openUi>[1];
  readonly browser?: BrowserContextOptions;
  readonly arguments?: readonly string[];
  /** Where the tab goes first; by default the overview. */
  readonly path?: string;
}

/** A tab of a browser of its own, and the server part that it reads. */
export class Tab implements AsyncDisposable {
  /** What the page complained about: errors, and what the CSP refused. */
  readonly complaints: string[] = [];

  constructor(public ui: Ui, readonly browser: Browser, readonly page: Page) {
    watchComplaints(page, this.complaints);
  }

  get origin(): string {
    return `http://127.0.0.1:${this.ui.server.port}`;
  }

  /** Opens a path in this tab as a new document, as the address bar does. */
  async visit(path: string): Promise<void> {
    await this.page.goto(this.origin + path);
    await this.page.locator("h1").first().waitFor();
  }

  /** The heading of the view, which holds what the view is about. */
  heading(): Promise<string> {
    return this.page.locator("#view-title").innerText();
  }

  /** Waits until the heading is this text. */
  async headed(text: string | RegExp): Promise<void> {
    await this.page.locator("#view-title", { hasText: text }).waitFor();
  }

  /** Waits until the list of findings says this many. */
  async counted(total: number): Promise<void> {
    await this.page.locator("#view-title .total", { hasText: new RegExp(`^${total.toLocaleString("en")}$`) })
      .waitFor();
  }

  /** The path and query of the address bar. */
  get path(): string {
    const { pathname, search, hash } = new URL(this.page.url());
    return pathname + search + hash;
  }

  /** What axe finds wrong on the page as it is now. */
  async violations(): Promise<string[]> {
    await this.page.evaluate(axe.source);
    const { violations } = await this.page.evaluate(async () => {
      // deno-lint-ignore no-explicit-any
      const { axe } = globalThis as any;
      return await axe.run(document, { resultTypes: ["violations"] });
    });
    return violations.map((
      { id, nodes }: { id: string; nodes: { html: string; failureSummary: string }[] },
    ) =>
      `${id}: ${
        nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 300)} ${failureSummary}`).join(
          "\n",
        )
      }`
    );
  }

  /** Asserts that the page complained about nothing but what matches `known`. */
  assertQuiet(known?: RegExp): void {
    assertEquals(this.complaints.filter((text) => !known?.test(text)), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.browser.close();
    await this.ui[Symbol.asyncDispose]();
  }
}

/** A tab, and the embedded API server behind it. */
export class WorldTab extends Tab {
  constructor(readonly world: DevWorld, { ui, browser, page }: Tab) {
    super(ui, browser, page);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.world[Symbol.asyncDispose]();
  }
}

function watchComplaints(page: Page, complaints: string[]): void {
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
}

/** Starts the browser that the tests use. */
export async function launchBrowser(args: readonly string[] = []): Promise<Browser> {
  const executablePath = await ensureTool("chromium-headless-shell");
  return await chromium.launch({ executablePath, args: ["--no-sandbox", ...args] });
}

/** Opens the address that a server part printed in a browser of its own. */
export async function openTabOf(
  ui: Ui,
  { browser: context, arguments: args }: TabOptions = {},
): Promise<Tab> {
  const browser = await launchBrowser(args);
  const { viewport = WIDE, ...rest } = context ?? {};
  const page = await (await browser.newContext({ viewport, ...rest })).newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const tab = new Tab(ui, browser, page);
  await page.goto(ui.server.address());
  await page.locator("h1").first().waitFor();
  return tab;
}

/** Starts the API server, the server part and a browser, and opens the address that the server part printed. */
export async function openTab(options: TabOptions = {}): Promise<WorldTab> {
  const { stored = STORED, through, path } = options;
  const world = await startDevWorld();
  await store(world, stored);
  const server = through ? await through(world) : world.server.url;
  const ui = await openUi(server, { now: Date.now, context: "demo", ...options.ui });
  const tab = new WorldTab(world, await openTabOf(ui, options));
  if (path !== undefined) await tab.visit(path);
  return tab;
}
