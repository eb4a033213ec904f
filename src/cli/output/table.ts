/** Tables for people: aligned, cut to the width of a terminal, coloured by severity. Every cell is cleaned here. */
import stringWidth from "string-width";
import { clean } from "../../text/clean.ts";
import type { Terminal } from "../io.ts";

/** Where a table goes. */
export interface TableTarget {
  /** Takes text with colours: cells are cleaned before. */
  readonly print: (text: string) => void;
  /** Undefined for a pipe or a file. */
  readonly terminal: Terminal | undefined;
}

/** Prints lines of cells in columns. */
export interface Table {
  /** Adds a line; widths come from the first lines that are flushed. */
  add(cells: readonly string[]): void;
  /** Prints what was added. */
  flush(): void;
}

const GAP = 2;
const LONGEST_CELL = 1024;
/** A column is not made narrower than this, which shows a CVE whole: the last columns are left out instead. */
const NARROWEST = 14;
/** Lines that the widths come from. */
const FIRST_LINES = 500;

const RESET = "\x1b[0m";
const COLORS: Readonly<Record<string, string>> = {
  CRITICAL: "\x1b[1;31m",
  HIGH: "\x1b[31m",
  MEDIUM: "\x1b[33m",
  LOW: "\x1b[36m",
};

/** Starts a table. The header is printed with the first line. */
export function createTable(titles: readonly string[], { print, terminal }: TableTarget): Table {
  const { colors = false } = terminal ?? {};
  const width = terminal?.width || undefined;
  let widths: readonly number[] | undefined;
  let lines: string[][] = [];
  const table: Table = {
    add(cells) {
      lines.push(cells.map((cell) => clean(cell, LONGEST_CELL)));
      if (lines.length >= FIRST_LINES) table.flush();
    },
    flush() {
      if (lines.length === 0) return;
      const shown = widths === undefined ? [[...titles], ...lines] : lines;
      widths ??= fit(widest(shown), width);
      const known = widths;
      print(shown.map((line) => renderLine(line, { widths: known, width, colors })).join(""));
      lines = [];
    },
  };
  return table;
}

function widest(lines: readonly (readonly string[])[]): number[] {
  const widths: number[] = [];
  for (const line of lines) {
    for (const [index, cell] of line.entries()) widths[index] = Math.max(widths[index] ?? 0, widthOf(cell));
  }
  return widths;
}

/** The widths of the columns that fit. They are made narrower beginning with the last: the first ones tell lines apart. */
function fit(widths: readonly number[], width: number | undefined): number[] {
  if (width === undefined) return [...widths];
  const needed = (shown: readonly number[]) => shown.reduce((sum, each) => sum + each + GAP, -GAP);
  let count = widths.length;
  const narrow = widths.map((each) => Math.min(each, NARROWEST));
  while (count > 1 && needed(narrow.slice(0, count)) > width) count--;
  const fitting = widths.slice(0, count);
  let excess = needed(fitting) - width;
  return fitting.toReversed().map((each) => {
    const less = Math.max(0, Math.min(excess, each - NARROWEST));
    excess -= less;
    return each - less;
  }).reverse();
}

interface LineOptions {
  readonly widths: readonly number[];
  readonly width: number | undefined;
  readonly colors: boolean;
}

function renderLine(cells: readonly string[], { widths, width, colors }: LineOptions): string {
  let line = "";
  let used = 0;
  for (const [index, cell] of cells.entries()) {
    const isLast = index === widths.length - 1;
    const room = width === undefined ? Infinity : Math.min(widths[index] ?? 0, width - used);
    if (room <= 0) break;
    const text = shorten(cell, room);
    const color = colors ? COLORS[cell] : undefined;
    line += color === undefined ? text : `${color}${text}${RESET}`;
    if (isLast) break;
    const padding = Math.max(0, (widths[index] ?? 0) - widthOf(text)) + GAP;
    line += " ".repeat(padding);
    used += widthOf(text) + padding;
  }
  return `${line.trimEnd()}\n`;
}

/** Cuts a text to as many columns of a terminal, with … for what is left out. */
function shorten(text: string, columns: number): string {
  if (text.length * 2 <= columns || widthOf(text) <= columns) return text;
  let short = "";
  let used = 1;
  for (const character of text) {
    used += widthOf(character);
    if (used > columns) break;
    short += character;
  }
  return `${short}…`;
}

function widthOf(text: string): number {
  return /^[\x20-\x7e]*$/.test(text) ? text.length : stringWidth(text);
}
