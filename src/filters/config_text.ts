/** Parses JSON or YAML text and finds the line and column of every part of the value. */
import { errorMessage } from "../model/error_message.ts";
import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type YAMLMap,
} from "yaml";
import { formatPath, type Path, type Position, type Problem, type TextDocument } from "../text/problem.ts";
import { readJsonText } from "./json_text.ts";

export type { TextDocument } from "../text/problem.ts";

/** Longest configuration text, in UTF-16 units: half of what a ConfigMap can hold. */
export const MAX_TEXT_LENGTH = 512 * 1024;

/** Bounds of a text. */
export interface TextBounds {
  readonly maxLength: number;
  /** Most lines and marks of YAML (brackets, quotes, commas, colons, dashes): the parser takes up to 8 µs for each. */
  readonly maxMarks: number;
}

/** The bounds of the server. The marks of JSON are not limited: it is read 50 times as fast. */
export const SERVER_BOUNDS: TextBounds = { maxLength: MAX_TEXT_LENGTH, maxMarks: 8_000 };
/** Most anchors, and most aliases, of one text: for each alias the parser searches all anchors. */
export const MAX_ANCHORS = 100;

/** The documents of a text, or why it cannot be read. */
export type TextResult =
  | { readonly ok: true; readonly documents: readonly TextDocument[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads every document of a YAML stream, or one JSON value. Fails if any document cannot be read. */
export function readDocuments(text: string, bounds = SERVER_BOUNDS): TextResult {
  const { documents, problems } = readEachDocument(text, bounds);
  return problems.length > 0 ? { ok: false, problems } : { ok: true, documents };
}

/** Reads the documents that can be read, and reports the problems of the others. */
export function readEachDocument(
  text: string,
  { maxLength, maxMarks }: TextBounds = SERVER_BOUNDS,
): { readonly documents: readonly TextDocument[]; readonly problems: readonly Problem[] } {
  if (text.length > maxLength) {
    return unread(`expected at most ${maxLength} characters, received ${text.length}`);
  }
  const json = readJsonText(text);
  if (json?.isJson) return json;
  const excess = excessOf(text, maxMarks);
  if (excess !== undefined) return json && json.problems.length > 0 ? json : unread(excess);
  const lines = new LineCounter();
  try {
    // The parser would compare each key with all others: the 45,000 that fit into a ConfigMap would block the process for 20 s.
    const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
    const documents: Document[] = Array.isArray(parsed) ? parsed : [];
    const read = documents.map((document) => ({ document, problems: problemsOf(document, lines) }));
    return {
      documents: read.filter(({ problems }) => problems.length === 0)
        .map(({ document }) => toTextDocument(document, lines)),
      problems: read.flatMap(({ problems }) => problems),
    };
  } catch (error) {
    // The parser is recursive: text with thousands of levels and alias bombs fail here.
    return unread(wording(errorMessage(error)));
  }
}

/** Reads a text that must hold exactly one document. */
export function readDocument(
  text: string,
): { readonly ok: true; readonly document: TextDocument } | Extract<TextResult, { ok: false }> {
  const result = readDocuments(text);
  if (!result.ok) return result;
  const [document, second] = result.documents;
  if (!document) return { ok: false, ...unread("expected a document, received nothing") };
  if (second) {
    const position = second.locate([]);
    return {
      ok: false,
      problems: [{ path: "", message: "expected one document, received several", position }],
    };
  }
  return { ok: true, document };
}

/** Characters that are or can be a token, wherever they are. */
const MARKS = new Set("\n[]{},\"'#%!|>@`".split("").map((mark) => mark.charCodeAt(0)));
const DASH = 45, QUESTION = 63, COLON = 58, AMPERSAND = 38, ASTERISK = 42, SPACE = 32;

/** Why the text is too costly for the YAML parser; undefined if it is not. Takes one pass. */
function excessOf(text: string, maxMarks: number): string | undefined {
  let marks = 0, anchors = 0, aliases = 0;
  let before = SPACE;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    const after = text.charCodeAt(index + 1);
    const isBefore = before <= SPACE || MARKS.has(before) || before === DASH || before === COLON;
    if (MARKS.has(code)) marks++;
    else if (code === COLON || code === DASH || code === QUESTION) {
      if (isBefore || !(after > SPACE) || MARKS.has(after)) marks++;
    } else if ((code === AMPERSAND || code === ASTERISK) && isBefore) {
      marks++;
      if (code === AMPERSAND) anchors++;
      else aliases++;
    }
    before = code;
  }
  if (anchors > MAX_ANCHORS || aliases > MAX_ANCHORS) {
    return `expected at most ${MAX_ANCHORS} anchors and aliases, received ${Math.max(anchors, aliases)}`;
  }
  if (marks <= maxMarks) return undefined;
  return `expected at most ${maxMarks} lines, brackets, quotes and other marks in YAML, received ${marks}; write it as JSON`;
}

function problemsOf(document: Document, lines: LineCounter): readonly Problem[] {
  const problems = [...document.errors, ...document.warnings].map((error): Problem => ({
    path: "",
    message: wording(error.message),
    position: positionOf(lines, error.pos[0]),
  }));
  if (problems.length > 0) return firstOfEachPlace(problems);
  return [...duplicateKeys(document.contents as Node | null, lines)];
}

/** Duplicate keys of a map: in the value only the last one would be left. */
function* duplicateKeys(node: unknown, lines: LineCounter, path: Path = []): Generator<Problem> {
  if (isSeq(node)) {
    for (const [index, item] of node.items.entries()) yield* duplicateKeys(item, lines, [...path, index]);
  }
  if (!isMap(node)) return;
  const first = new Map<string, Position>();
  for (const { key, value } of node.items) {
    if (!isScalar(key)) continue;
    const name = String(key.value);
    const position = positionOf(lines, startOf(key) ?? 0);
    const before = first.get(name);
    if (before === undefined) first.set(name, position);
    else {
      const message = `duplicate key, the first is on line ${before.line}`;
      yield { path: formatPath([...path, name]), message, position };
    }
    yield* duplicateKeys(value, lines, [...path, name]);
  }
}

/** The first problem of each place: the parser reports one missing bracket several times. */
function firstOfEachPlace(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  return problems.filter(({ position }) => {
    const place = `${position?.line}:${position?.column}`;
    return !seen.has(place) && seen.add(place);
  });
}

function unread(
  message: string,
): { readonly documents: readonly never[]; readonly problems: readonly Problem[] } {
  return { documents: [], problems: [{ path: "", message, position: { line: 1, column: 1 } }] };
}

function toTextDocument(document: Document, lines: LineCounter): TextDocument {
  const locate = (path: Path, at: "key" | "value" = "value") =>
    positionOf(lines, offsetOf(document.contents as Node | null, path, at) ?? document.range?.[0] ?? 0);
  return {
    value: document.toJS({ maxAliasCount: 100 }) as unknown,
    locate,
    place: ({ path, message, at, offset }) => {
      const { line, column } = locate(path, at);
      const inside = offset === undefined ? 0 : columnsTo(offset, document.getIn(path, true));
      return { path: formatPath(path), message, position: { line, column: column + inside } };
    },
  };
}

function offsetOf(root: Node | null, path: Path, at: "key" | "value"): number | undefined {
  let node: unknown = root;
  let offset = root?.range?.[0];
  for (const [index, step] of path.entries()) {
    const isLast = index === path.length - 1;
    let key: unknown;
    if (isMap(node)) {
      const pair = pairsOf(node).get(String(step));
      if (!pair) return offset;
      key = pair.key;
      node = pair.value;
    } else if (isSeq(node) && typeof step === "number") {
      node = node.items[step];
    } else return offset;
    const target = isLast && at === "key" ? key : node;
    offset = startOf(target) ?? startOf(key) ?? offset;
  }
  return offset;
}

/** Pairs by key, cached, because thousands of mistakes may have to be located among thousands of keys. */
const pairs = new WeakMap<YAMLMap, ReadonlyMap<string, YAMLMap["items"][number]>>();

function pairsOf(map: YAMLMap): ReadonlyMap<string, YAMLMap["items"][number]> {
  let known = pairs.get(map);
  if (!known) {
    known = new Map(map.items.flatMap((pair) => isScalar(pair.key) ? [[String(pair.key.value), pair]] : []));
    pairs.set(map, known);
  }
  return known;
}

/** Columns from the beginning of a scalar to an offset in its value; 0 where folds or escapes lie between. */
function columnsTo(offset: number, node: unknown): number {
  if (!isScalar(node) || typeof node.value !== "string" || !node.range) return 0;
  const quote = node.type === "PLAIN" ? 0 : 1;
  const isOneLine = node.type === "PLAIN" || node.type === "QUOTE_SINGLE" || node.type === "QUOTE_DOUBLE";
  return isOneLine && node.range[1] - node.range[0] === node.value.length + 2 * quote ? quote + offset : 0;
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}

function positionOf(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/** The parser's message in the form of this program's messages. */
function wording(message: string): string {
  // Only the parser's recursion can overflow the stack here.
  if (message.includes("call stack")) return "nested too deeply";
  return message.charAt(0).toLowerCase() + message.slice(1);
}
