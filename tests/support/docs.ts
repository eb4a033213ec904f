/** The documentation as tests read it: pages with their links, headings and code. */
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A fenced block. The words after the language say what a test does with it: readers never see them. */
export interface Block {
  readonly language: string;
  /** `sh run`, `sh can-i`, `yaml values`, `yaml filters`, `ts file`. */
  readonly role: string;
  /** The path that a block with the word `file` writes: the last code span before it. `diff file` changes a file. */
  readonly file?: string;
  readonly text: string;
  readonly line: number;
}

/** A page of the documentation. */
export interface Page {
  /** From the repository's root: `docs/ha.md`. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly Block[];
  /** Code inside a sentence. */
  readonly spans: readonly string[];
  /** Targets of links, as written. */
  readonly links: readonly string[];
  /** Anchors of headings, as GitHub makes them. */
  readonly anchors: ReadonlySet<string>;
}

const FENCE = /^( *)```([a-z]*)((?: [a-z-]+)*)$/;

/** Every page below `folder`, sorted. */
export async function readPages(folder = "docs"): Promise<readonly Page[]> {
  const pages: Page[] = [];
  for await (const entry of Deno.readDir(join(ROOT, folder))) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) pages.push(...await readPages(path));
    else if (path.endsWith(".md")) pages.push(await readPage(path));
  }
  return pages.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** One page. */
export async function readPage(path: string): Promise<Page> {
  const whole = await Deno.readTextFile(join(ROOT, path));
  // The first column of its tables quotes what is wrong.
  const text = path === "docs/corrections.md" ? whole.replaceAll(/^\|[^|]*\|/gm, "|") : whole;
  const { blocks, prose } = split(text);
  const spans = [...prose.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? "");
  const links = [...prose.replaceAll(/`[^`\n]*`/g, "").matchAll(/\]\(([^)\s]+)\)/g)].map((match) =>
    match[1] ?? ""
  );
  const headings = [...prose.matchAll(/^#+ (.+)$/gm)].map((match) => anchorOf(match[1] ?? ""));
  return { path, text, blocks, spans, links, anchors: new Set(headings) };
}

/** Where a link leads: a path from the root and an anchor. */
export function resolveLink(page: Page, link: string): { readonly path: string; readonly anchor: string } {
  const [file = "", anchor = ""] = link.split("#");
  return { path: file === "" ? page.path : normalize(join(dirname(page.path), file)), anchor };
}

/** All code of a page, each with a word on where it stands. */
export function codeOfPage(
  { path, blocks, spans }: Page,
): { readonly code: string; readonly where: string; readonly language: string }[] {
  return [
    ...blocks.map(({ text, line, language }) => ({ code: text, where: `${path}:${line}`, language })),
    ...spans.map((code) => ({ code, where: `${path} \`${code}\``, language: "" })),
  ];
}

/** The commands of a shell block: continued lines are one, comments none, pipes apart. */
export function commandsOf(text: string): string[] {
  const lines = text.replaceAll(/\\\n\s*/g, " ").split("\n").map((line) => line.replace(/(^|\s)#\s.*$/, ""));
  return lines.flatMap((line) => line.split(/\s*(?:\||&&|;|\$\()\s*/)).map((line) => line.trim()).filter(
    Boolean,
  );
}

function split(text: string): { readonly blocks: Block[]; readonly prose: string } {
  const blocks: Block[] = [];
  const prose: string[] = [];
  let open: (Omit<Block, "text"> & { readonly indent: string; readonly lines: string[] }) | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const fence = FENCE.exec(line);
    if (open && line.trim() === "```") {
      const { indent: _, lines, ...block } = open;
      blocks.push({ ...block, text: `${lines.join("\n")}\n` });
      open = undefined;
    } else if (open) open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line);
    else if (fence) {
      const [, indent = "", language = "", more = ""] = fence;
      const file = / file$/.test(more)
        ? prose.join("\n").match(/`[^`\n]+`/g)?.at(-1)?.slice(1, -1)
        : undefined;
      const role = `${language}${more}`;
      open = { indent, language, role, lines: [], line: index + 2, ...(file === undefined ? {} : { file }) };
    } else prose.push(line);
  }
  return { blocks, prose: prose.join("\n") };
}

function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}
