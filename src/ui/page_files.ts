/** The page as it is served: its HTML, style and icon as they are, its script as one bundled text. */
import style from "./page/style.css" with { type: "text" };

/** What is served without a secret: it holds no data. */
export interface PageFiles {
  readonly html: string;
  readonly style: string;
  readonly icon: string;
  readonly script: () => Promise<string>;
}

/**
 * In the program's bundle, `scripts/bundle.ts` puts the bundled script in place of the word. A field, because a bundler may
 * copy a constant text to where it is used.
 */
const embedded = { script: "ZEN_WATCHER_PAGE_SCRIPT" };

const HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>zen-watcher</title>
<link rel="icon" href="/icon.svg">
<link rel="stylesheet" href="/page.css">
<script type="module" src="/page.js"></script>
</head>
<body>
<div id="page"></div>
<noscript>This page needs JavaScript. The commands kubectl zen top and kubectl zen get show the same.</noscript>
</body>
</html>
`;

const ICON =
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6.5" fill="none" stroke="#3b82c4" stroke-width="2"/><circle cx="8" cy="8" r="2.5" fill="#3b82c4"/></svg>`;

/** The page of this build. When run from the sources, its script is bundled again for each request, once at a time. */
export function pageFiles(): PageFiles {
  const isEmbedded = !embedded.script.startsWith("ZEN_WATCHER_");
  let bundling: Promise<string> | undefined;
  return {
    html: HTML,
    style,
    icon: ICON,
    script: () =>
      isEmbedded
        ? Promise.resolve(embedded.script)
        : bundling ??= bundlePage().finally(() => bundling = undefined),
  };
}

/** Bundles the page's script from its sources. Throws with the bundler's words. */
export async function bundlePage(entry = new URL("./page/main.tsx", import.meta.url)): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", "--platform=browser", "--minify", entry.pathname],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`Cannot bundle the page: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}
