/** The pictures of docs/architecture.md: as SVG files, and as Mermaid between markers in the page. */
import { type Box, type Drawing, mermaid, svg } from "./drawing.ts";
import type { GeneratedFile } from "./file.ts";

const ROOT = new URL("../../", import.meta.url);
const PAGE = "docs/architecture.md";

/** The folders of src by rows: a row imports only from itself and from the rows below it. */
const FOLDERS: readonly Readonly<Record<string, string>>[] = [
  { "main.ts": "starts the command line" },
  {
    "src/cli/": "commands",
    "src/ui/": "the page in the browser, and its server part",
    "src/read/": "reads findings for commands and the page",
    "src/devcluster/": "development API server; never part of the controller",
  },
  { "src/app.ts": "wires all parts, starts them in order and stops them" },
  {
    "src/http/": "webhooks, probes, admission",
    "src/mapped/": "Ingester and ObservationMapping",
    "src/sources/": "built-in sources and their feeds",
    "src/filters/": "filter documents",
    "src/exceptions/": "accepted risks",
    "src/store/": "index, writes, repeats, lifecycle, budget",
  },
  {
    "src/pipeline/": "intake and decision, without I/O",
    "src/telemetry/": "metrics, logs, accounting",
    "src/kube/": "API client, watch, Lease, discovery",
  },
  { "src/text/": "reads, cleans and masks text" },
  { "src/model/": "Observation, event, outcome, severity, identity" },
];
/** Folders that are part of a box: src/app/ holds the parts of src/app.ts. */
const INSIDE = ["src/app/"];

const EVENT: Drawing = {
  title: "The way of an event",
  rows: [
    [
      box("webhook", { columns: [0, 4], title: "Webhook request", path: "src/http/app.ts" }),
      box("watch", { columns: [4, 4], title: "Watch event", path: "src/kube/watch.ts" }),
      box("configmap", { columns: [8, 4], title: "ConfigMap", path: "src/sources/feeds/pulled.ts" }),
    ],
    [
      box("document", {
        columns: [4, 8],
        title: "Evaluate a document",
        path: "src/sources/feeds/evaluator.ts",
        text: "on the leader; a few at once, namespaces take turns, versions of one object keep their order",
      }),
    ],
    [
      box("intake", {
        columns: [0, 12],
        title: "Intake",
        path: "src/pipeline/intake.ts",
        text: "one loop for all sources",
      }),
    ],
    [
      box("draw", {
        columns: [0, 4],
        title: "Draw events",
        path: "src/sources/falco/mod.ts",
        text: "each source has its own",
        accent: true,
      }),
      box("normalize", {
        columns: [4, 4],
        title: "Normalize",
        path: "src/pipeline/normalize.ts",
        text: "clean, mask, compute the identity",
        accent: true,
      }),
      box("decide", {
        columns: [8, 4],
        title: "Decide",
        path: "src/pipeline/intake.ts",
        text: "filter, then deduplicate",
        accent: true,
      }),
    ],
    [
      box("drop", { columns: [0, 4], title: "Drop", text: "with a reason" }),
      box("duplicate", {
        columns: [4, 4],
        title: "Duplicate",
        path: "src/store/repeats.ts",
        text: "count it; write the count later",
      }),
      box("write", {
        columns: [8, 4],
        title: "Write",
        path: "src/store/writer.ts",
        text: "after rate limit and write slot",
      }),
    ],
    [
      box("settle", {
        columns: [0, 12],
        title: "Settle",
        path: "src/telemetry/metrics.ts",
        text: "exactly one outcome: created, deduped, filtered or failed",
      }),
    ],
  ],
  arrows: [
    ["webhook", "intake"],
    ["watch", "document"],
    ["configmap", "document"],
    ["document", "intake"],
    ["intake", "draw"],
    ["draw", "normalize"],
    ["normalize", "decide"],
    ["decide", "drop"],
    ["decide", "duplicate"],
    ["decide", "write"],
    ["drop", "settle"],
    ["duplicate", "settle"],
    ["write", "settle"],
  ],
};

/** Writes the pictures. */
export async function generateArchitecture(): Promise<GeneratedFile[]> {
  const drawings = { folders: await folders(), event: EVENT };
  let page = await Deno.readTextFile(new URL(PAGE, ROOT));
  const files: GeneratedFile[] = [];
  for (const [name, drawing] of Object.entries(drawings)) {
    files.push({ path: `docs/images/${name}.svg`, text: svg(drawing) });
    page = withPicture(page, name, `\`\`\`mermaid\n${mermaid(drawing)}\`\`\`\n`);
  }
  return [...files, { path: PAGE, text: page }];
}

async function folders(): Promise<Drawing> {
  const there = new Set(["main.ts", "src/app.ts"]);
  for await (const { name, isDirectory } of Deno.readDir(new URL("src/", ROOT))) {
    if (isDirectory) there.add(`src/${name}/`);
  }
  const known = new Set([...FOLDERS.flatMap((row) => Object.keys(row)), ...INSIDE]);
  const unknown = [...there].filter((path) => !known.has(path));
  if (unknown.length > 0) {
    throw new Error(`Cannot draw "${unknown[0]}": scripts/generate/architecture.ts does not say what it is`);
  }
  const rows = FOLDERS.map((row) => {
    const shown = Object.entries(row).filter(([path]) => there.has(path));
    const count = 12 / shown.length;
    return shown.map(([path, text], index) =>
      box(path.replace(/\W/g, "_"), { columns: [index * count, count], title: path, path, text })
    );
  });
  return { title: "Folders, and the direction of imports", rows };
}

function withPicture(page: string, name: string, text: string): string {
  const start = `<!-- ${name}: generated by \`deno task generate\` -->\n`;
  const from = page.indexOf(start);
  const to = page.indexOf(`<!-- /${name} -->`);
  if (from < 0 || to < from) {
    throw new Error(`Cannot generate "${PAGE}": the markers of "${name}" are missing`);
  }
  return `${page.slice(0, from + start.length)}\n${text}\n${page.slice(to)}`;
}

function box(id: string, rest: Omit<Box, "id">): Box {
  return { id, ...rest };
}
