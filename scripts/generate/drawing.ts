/** Draws boxes and arrows as SVG and as a Mermaid flowchart, from one description. */

/** A box on a grid of twelve columns. */
export interface Box {
  readonly id: string;
  /** The first column, and how many it covers. */
  readonly columns: readonly [first: number, count: number];
  readonly title: string;
  /** The file or folder of the repository that the box represents. */
  readonly path?: string;
  readonly text?: string;
  readonly accent?: boolean;
}

export interface Drawing {
  readonly title: string;
  readonly rows: readonly (readonly Box[])[];
  /** Arrows between boxes; without them one arrow leads from each row to the next. */
  readonly arrows?: readonly (readonly [from: string, to: string])[];
}

const WIDTH = 980;
const MARGIN = 20;
const COLUMN_GAP = 14;
const ROW_GAP = 30;
const HEAD = 44;
const LINE = 16;
const FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";
const MONO = "ui-monospace, 'DejaVu Sans Mono', monospace";
/** Width of a character of 12 px text in a wide font. */
const CHARACTER = 7;

interface Area {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The drawing as an SVG that needs no styles or fonts of the page around it. */
export function svg(drawing: Drawing): string {
  const { title, rows } = drawing;
  const { areas, height } = layOut(rows);
  const area = (id: string): Area => {
    const found = areas.get(id);
    if (!found) throw new Error(`Cannot draw "${title}": there is no box "${id}"`);
    return found;
  };
  const arrows = drawing.arrows?.map(([from, to]) => boxArrow(area(from), area(to))) ??
    rows.slice(1).map(([first]) => rowArrow(area(first?.id ?? "").y));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">' +
    '<path d="M0 0 10 5 0 10z" fill="#5f6670"/></marker></defs>',
    `<rect width="${WIDTH}" height="${height}" rx="8" fill="#ffffff"/>`,
    line(title, { x: MARGIN, y: 28, size: 17, bold: true }),
    ...arrows,
    ...rows.flat().map((box) => drawn(box, area(box.id))),
    "</svg>\n",
  ].join("\n");
}

/** The drawing as a Mermaid flowchart. */
export function mermaid({ rows, arrows }: Drawing): string {
  const node = (box: Box) => `${box.id}["${labelOf(box).join("<br>")}"]`;
  const lines = arrows ? [...rows.flat().map(node), ...arrows.map(([from, to]) => `${from} --> ${to}`)] : [
    ...rows.flatMap((boxes, row) => [
      `subgraph row${row}[" "]`,
      "  direction LR",
      ...boxes.map((box) => `  ${node(box)}`),
      // Boxes without links would stand below each other.
      ...boxes.length > 1 ? [`  ${boxes.map(({ id }) => id).join(" ~~~ ")}`] : [],
      "end",
    ]),
    ...rows.slice(1).map((_, row) => `row${row} --> row${row + 1}`),
  ];
  return `flowchart TD\n${lines.map((text) => `  ${text}\n`).join("")}`;
}

function labelOf({ title, path, text }: Box): string[] {
  return [title, path === title ? undefined : path, text].filter((part) => part !== undefined);
}

function layOut(
  rows: Drawing["rows"],
): { readonly areas: ReadonlyMap<string, Area>; readonly height: number } {
  const areas = new Map<string, Area>();
  const column = (WIDTH - 2 * MARGIN + COLUMN_GAP) / 12;
  let y = HEAD;
  for (const boxes of rows) {
    const width = ({ columns: [, count] }: Box) => count * column - COLUMN_GAP;
    const height = Math.max(...boxes.map((box) => 16 + LINE * linesOf(box, width(box)).length));
    for (const box of boxes) {
      areas.set(box.id, { x: MARGIN + box.columns[0] * column, y, width: width(box), height });
    }
    y += height + ROW_GAP;
  }
  return { areas, height: y - ROW_GAP + MARGIN };
}

/** The lines of text in a box, its title first. */
function linesOf(box: Box, width: number): string[] {
  const [title = "", ...rest] = labelOf(box);
  return [title, ...rest.flatMap((text) => wrapped(text, Math.floor((width - 20) / CHARACTER)))];
}

function drawn(box: Box, { x, y, width, height }: Area): string {
  const [fill, stroke] = box.accent ? ["#e8f0fe", "#4a6fa5"] : ["#f3f4f6", "#8a8f98"];
  const texts = linesOf(box, width).map((text, index) =>
    line(text, {
      x: x + 10,
      y: y + 20 + index * LINE,
      size: text === box.path ? 12 : index === 0 ? 13 : 12,
      bold: index === 0,
      mono: text === box.path,
    })
  );
  const frame = `x="${round(x)}" y="${y}" width="${round(width)}" height="${height}" rx="6"`;
  return [`<rect ${frame} fill="${fill}" stroke="${stroke}"/>`, ...texts].join("\n");
}

function line(text: string, { x, y, size, bold = false, mono = false }: {
  readonly x: number;
  readonly y: number;
  readonly size: number;
  readonly bold?: boolean;
  readonly mono?: boolean;
}): string {
  const font = `font-family="${mono ? MONO : FONT}" font-size="${size}"${bold ? ' font-weight="600"' : ""}`;
  return `<text x="${round(x)}" y="${y}" ${font} fill="${bold ? "#1f2328" : "#424a53"}">${
    escape(text)
  }</text>`;
}

/** Sideways inside a row; else from the bottom of one box to the top of the other, straight down where they overlap. */
function boxArrow(from: Area, to: Area): string {
  if (from.y === to.y) {
    const y = from.y + from.height / 2;
    return stroke(`M${round(from.x + from.width)} ${y}H${round(to.x)}`);
  }
  const left = Math.max(from.x, to.x);
  const right = Math.min(from.x + from.width, to.x + to.width);
  const start = left < right ? (left + right) / 2 : from.x + from.width / 2;
  const end = left < right ? start : to.x + to.width / 2;
  return stroke(`M${round(start)} ${from.y + from.height}V${to.y - ROW_GAP / 2}H${round(end)}V${to.y}`);
}

function rowArrow(y: number): string {
  return stroke(`M${WIDTH / 2} ${y - ROW_GAP}V${y}`);
}

function stroke(path: string): string {
  return `<path d="${path}" fill="none" stroke="#5f6670" stroke-width="1.4" marker-end="url(#arrow)"/>`;
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
