/** Files as people have them: JSON, YAML, NDJSON, several documents, values one after another, typed lists. */
import {
  readDocuments,
  readEachDocument,
  type TextBounds,
  type TextDocument,
  type TextResult,
} from "../../filters/config_text.ts";
import type { Problem } from "../../text/problem.ts";
import { isObject, type JsonObject } from "../../model/json.ts";
import { parseJson } from "../../text/json.ts";

/** Longest text that is read as YAML, in UTF-16 units: the parser takes half a second and 65 MiB for each million. */
export const MAX_YAML_LENGTH = 16 * 2 ** 20;
/** A user's own file may take its time. */
const FILE_BOUNDS: TextBounds = { maxLength: MAX_YAML_LENGTH, maxMarks: Infinity };

/** The documents of a configuration file that can be read, and what is wrong with the others. NDJSON too. */
export function readConfig(
  text: string,
): { readonly documents: readonly TextDocument[]; readonly problems: readonly Problem[] } {
  const isLines = text.length <= MAX_YAML_LENGTH && beginsWithJsonLine(text);
  const { documents, problems } = isLines ? readLines(text) : readEachDocument(text, FILE_BOUNDS);
  return { documents: documents.filter(({ value }) => value !== null), problems };
}

/** NDJSON: each line is a text of its own, and so are its mistakes. */
function readLines(text: string): { readonly documents: TextDocument[]; readonly problems: Problem[] } {
  const documents: TextDocument[] = [];
  const problems: Problem[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const onLine = ({ position, ...problem }: Problem): Problem => ({
      ...problem,
      ...(position && { position: { ...position, line: index + position.line } }),
    });
    const read = readEachDocument(line, FILE_BOUNDS);
    problems.push(...read.problems.map(onLine));
    documents.push(...read.documents.map((document): TextDocument => ({
      value: document.value,
      locate: (...place) => {
        const position = document.locate(...place);
        return { ...position, line: index + position.line };
      },
      place: (issue) => onLine(document.place(issue)),
    })));
  }
  return { documents, problems };
}

/** True where the first line holds a whole JSON object or list, as the lines of NDJSON do. */
export function beginsWithJsonLine(text: string): boolean {
  const [first = ""] = text.trimStart().split("\n", 1);
  const parsed = parseJson(first);
  return parsed.ok && typeof parsed.value === "object";
}

/** Longest text in the flow style of YAML, `{a: b}`: longer ones are JSON with a mistake in it. */
const MAX_FLOW_LENGTH = 64 * 2 ** 10;
/** Where a document shows that it is YAML: its first key or item. */
const YAML_HEAD_LENGTH = 4 * 2 ** 10;

/**
 * True where a text that is not JSON may be YAML. The parser takes seconds for each MiB, so logs, binaries and broken JSON are
 * recognized by how they begin.
 */
export function mayBeYaml(text: string): boolean {
  const head = text.slice(0, YAML_HEAD_LENGTH);
  if (/^\ufeff?\s*[{["]/.test(head)) return text.length <= MAX_FLOW_LENGTH;
  return /^\s*(- )?["']?[A-Za-z_][\w./-]*["']?:(\s|$)/m.test(head);
}

/** Text that is moved and read again, in all: text folded over more lines than this allows is not a tool's. */
const MAX_REPAIRED_LENGTH = 2 * MAX_YAML_LENGTH;
const MAX_REPAIRS = 20;
/** Deeper than any object of Kubernetes is indented. */
const DEEPER = " ".repeat(120);

/**
 * YAML as kubectl takes it: a quoted text may go on at its key's own indentation, where the standard wants it deeper. White
 * space before such a line is not part of the text.
 */
export function readYaml(text: string): TextResult {
  let read = readDocuments(text, FILE_BOUNDS);
  const lines = text.split("\n");
  const rounds = Math.min(MAX_REPAIRS, MAX_REPAIRED_LENGTH / Math.max(1, text.length));
  for (let round = 0; round < rounds && !read.ok; round++) {
    const shallow = read.problems.filter(({ message }) => message.startsWith("missing closing"));
    if (shallow.length === 0) break;
    for (const { position } of shallow) {
      const next = position?.line ?? lines.length;
      if (next < lines.length) lines[next] = DEEPER + lines[next];
    }
    const again = readDocuments(lines.join("\n"), { ...FILE_BOUNDS, maxLength: 2 * MAX_YAML_LENGTH });
    if (again.ok) return again;
    read = again;
  }
  return read;
}

/** What the items of a typed list lack: their own kind. */
export function itemType({ kind, apiVersion }: JsonObject): JsonObject {
  if (typeof kind !== "string" || !kind.endsWith("List") || kind === "List") return {};
  return { kind: kind.slice(0, -"List".length), ...(typeof apiVersion === "string" && { apiVersion }) };
}

/** The members of a List or a typed list, else the document itself; `path` is where each is. */
export function itemsOf(
  value: unknown,
): readonly { readonly item: unknown; readonly path: readonly (string | number)[] }[] {
  const isList = isObject(value) && typeof value.kind === "string" && Array.isArray(value.items);
  if (!isList || !Array.isArray(value.items)) return [{ item: value, path: [] }];
  const type = itemType(value);
  return value.items.map((item, index) => ({
    item: isObject(item) ? { ...type, ...item } : item,
    path: ["items", index],
  }));
}
