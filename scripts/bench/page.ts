/** What the page takes in a browser: from the reader's act to what is on the screen. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
import type { Page } from "playwright-core";
import { ensureTool } from "../tools.ts";
import { type FigureRow, percentile, row } from "./figures.ts";

const TRIES = 9;
/** Steps of a scroll through the list, and how far each goes. */
const SCROLL_STEPS = 300;
const SCROLL_PIXELS = 300;

/** A page that is served, the secret of its session, and how many findings it lists in all phases. */
export interface ServedPage {
  readonly origin: string;
  readonly secret: string;
  readonly total: number;
}

/** Opens the page in a headless Chromium and measures it. */
export async function pageRows({ origin, secret, total }: ServedPage): Promise<FigureRow[]> {
  // It reads the home folder when it is loaded, which --help may not.
  const { chromium } = await import("playwright-core");
  const browser = await chromium.launch({
    executablePath: await ensureTool("chromium-headless-shell"),
    args: ["--no-sandbox", "--enable-precise-memory-info"],
  });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    await page.addInitScript((secret) => sessionStorage.setItem("zen-watcher-secret", secret), secret);
    const startedAt = performance.now();
    await page.goto(origin);
    await page.locator(".figure").first().waitFor();
    const firstView = performance.now() - startedAt;
    const script = await (await fetch(`${origin}/page.js`)).bytes();
    return [
      row("browser: first view", firstView, "ms", { atMost: 1_000 }),
      await acts(page, "browser: list of findings", { origin, act: tab }),
      await acts(page, "browser: filter by severity", { origin, act: filter }),
      await acts(page, "browser: sort by rule", { origin, act: sort }),
      await scroll(page, `${origin}/?view=findings&phase=all`, total),
      row("browser: heap after that", await heapMiB(page), "MiB", { atMost: 60 }),
      row("JavaScript, gzipped", (await gzipped(script)) / 1_000, "kB", { atMost: 90 }),
    ];
  } finally {
    await browser.close();
  }
}

interface Act {
  readonly origin: string;
  readonly act: (page: Page) => Promise<number>;
}

async function acts(page: Page, what: string, { origin, act }: Act): Promise<FigureRow> {
  const tookMs: number[] = [];
  for (let index = 0; index < TRIES; index++) {
    await page.goto(`${origin}/?view=findings`);
    await page.locator(".window .cell.rule a").first().waitFor();
    tookMs.push(await act(page));
  }
  const beside = `slowest ${Math.round(Math.max(...tookMs))}`;
  return row(what, percentile(tookMs, 0.5), "ms", { atMost: 200, beside });
}

/** What is on the screen when an act is done. */
interface Done {
  readonly present: string;
  readonly absent?: string;
  /** The first element of `present` had this text before. */
  readonly before?: string;
}

/** Clicks, and counts the time until the frame in which it is done, in the page itself. */
function timed(page: Page, click: string, done: Done): Promise<number> {
  return page.evaluate(async ([click, { present, absent = "dialog[open]", before }]) => {
    function isDone(): boolean {
      const found = document.querySelector(present);
      return found !== null && found.textContent !== before && document.querySelector(absent) === null;
    }
    const startedAt = performance.now();
    document.querySelector<HTMLElement>(click)?.click();
    while (!isDone()) await new Promise(requestAnimationFrame);
    return performance.now() - startedAt;
  }, [click, done] as const);
}

async function tab(page: Page): Promise<number> {
  await page.locator(".top nav a").first().click();
  await page.locator(".figure").first().waitFor();
  return await timed(page, '.top nav a[href="/?view=findings"]', { present: ".window .cell.rule a" });
}

function filter(page: Page): Promise<number> {
  return timed(page, ".toggle.medium", { present: ".window .severity.medium", absent: ".grid.old" });
}

async function sort(page: Page): Promise<number> {
  const before = await page.locator(".window .cell.rule a").first().innerText();
  return await timed(page, ".cell.rule[role=columnheader] button", {
    present: ".window .cell.rule a",
    absent: ".grid.old",
    before,
  });
}

/** Scrolls through the list, a step each frame: what the main thread works, and how long the frames take on this machine. */
async function scroll(page: Page, url: string, total: number): Promise<FigureRow> {
  await page.goto(url);
  await page.locator("#view-title .total", { hasText: total.toLocaleString("en") }).waitFor();
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const workedMs = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    return 1_000 * (metrics.find(({ name }) => name === "TaskDuration")?.value ?? NaN);
  };
  const before = await workedMs();
  const frames = await page.evaluate(async ([steps, pixels]) => {
    const tookMs: number[] = [];
    let last = await new Promise<number>(requestAnimationFrame);
    for (let step = 0; step < steps; step++) {
      scrollBy(0, pixels);
      const now = await new Promise<number>(requestAnimationFrame);
      tookMs.push(now - last);
      last = now;
    }
    return tookMs;
  }, [SCROLL_STEPS, SCROLL_PIXELS] as const);
  const [half, most] = [0.5, 0.95].map((share) => Math.round(percentile(frames, share)));
  return row(
    `browser: main thread per frame, ${SCROLL_PIXELS} px each`,
    (await workedMs() - before) / frames.length,
    "ms",
    { atMost: 16, beside: `frames: half within ${half} ms, 95 % within ${most}` },
  );
}

async function heapMiB(page: Page): Promise<number> {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("HeapProfiler.collectGarbage");
  const { usedSize } = await devtools.send("Runtime.getHeapUsage");
  return usedSize / 2 ** 20;
}

async function gzipped(bytes: Uint8Array<ArrayBuffer>): Promise<number> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return (await new Response(stream).arrayBuffer()).byteLength;
}
