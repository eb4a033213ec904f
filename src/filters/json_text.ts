/** Parses JSON text and finds the line and column of every part of the value. Much faster than the YAML parser. */
import { type JsonError, scanJson } from "../text/json.ts";
import { literalEnd, numberEnd, stringEnd } from "../text/json_bounds.ts";
import { formatPath, type Path, type Position, type Problem, type TextDocument } from "../text/problem.ts";

/** The result of a text that begins like JSON: a document, or its problems. */
export interface JsonTextResult {
  readonly documents: readonly TextDocument[];
  readonly problems: readonly Problem[];
  /** False if it is not one JSON document: YAML can begin like JSON. */
  readonly isJson: boolean;
}

/** Most values of a configuration text. */
const MAX_VALUES = 50_000;
const QUOTE = 34, COMMA = 44, MINUS = 45, NINE = 57, COLON = 58, LINE_FEED = 10;
const OPEN_ARRAY = 91, CLOSE_ARRAY = 93, OPEN_OBJECT = 123, CLOSE_OBJECT = 125;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Reads a text that is one JSON object or list; undefined if it does not begin like one. */
export function readJsonText(text: string): JsonTextResult | undefined {
  const first = text.trimStart()[0];
  if (first !== "{" && first !== "[") return undefined;
  const bytes = new TextEncoder().encode(text);
  const { parts: [part, second], errors: [error] } = scanJson(bytes, { maxValues: MAX_VALUES });
  if (error) return { documents: [], problems: [problemOf(error)], isJson: error.reason !== "unreadable" };
  if (!part || second) return { documents: [], problems: [], isJson: false };
  const root = new Nodes(bytes).read();
  const places = new Places(bytes);
  const problems = [...duplicateKeys(root, places)];
  if (problems.length > 0) return { documents: [], problems, isJson: true };
  return { documents: [documentOf(part.read(), { root, places })], problems: [], isJson: true };
}

function problemOf({ message, line, column }: JsonError): Problem {
  return { path: "", message, position: { line, column } };
}

/** The bytes of a value in the text. */
interface Node {
  readonly start: number;
  readonly end: number;
  readonly members?: readonly Member[];
  readonly items?: readonly Node[];
}

interface Member {
  readonly name: string;
  readonly keyStart: number;
  readonly value: Node;
}

/** Reads the nodes of a text whose grammar has been checked. */
class Nodes {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  read(): Node {
    const start = this.#next();
    const byte = this.#bytes[start] ?? 0;
    if (byte === OPEN_OBJECT) {
      const members = this.#members();
      return { start, end: this.#at, members };
    }
    if (byte === OPEN_ARRAY) {
      const items = this.#items();
      return { start, end: this.#at, items };
    }
    const end = byte === QUOTE ? stringEnd : byte === MINUS || byte <= NINE ? numberEnd : literalEnd;
    this.#at = end(this.#bytes, start);
    return { start, end: this.#at };
  }

  #members(): Member[] {
    const members: Member[] = [];
    this.#at++;
    while (this.#bytes[this.#next()] !== CLOSE_OBJECT) {
      const keyStart = this.#at;
      this.#at = stringEnd(this.#bytes, keyStart);
      const name: string = JSON.parse(decoder.decode(this.#bytes.subarray(keyStart, this.#at)));
      members.push({ name, keyStart, value: this.read() });
    }
    this.#at++;
    return members;
  }

  #items(): Node[] {
    const items: Node[] = [];
    this.#at++;
    while (this.#bytes[this.#next()] !== CLOSE_ARRAY) items.push(this.read());
    this.#at++;
    return items;
  }

  /** The next byte that is not white space, a separator or a mark. */
  #next(): number {
    for (;; this.#at++) {
      const byte = this.#bytes[this.#at] ?? 0;
      if (byte > 32 && byte < 0x80 && byte !== COMMA && byte !== COLON) return this.#at;
    }
  }
}

/** Lines and columns of bytes. */
class Places {
  readonly #bytes: Uint8Array;
  readonly #lineStarts: number[] = [0];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    for (let at = bytes.indexOf(LINE_FEED); at >= 0; at = bytes.indexOf(LINE_FEED, at + 1)) {
      this.#lineStarts.push(at + 1);
    }
  }

  of(at: number): Position {
    let low = 0, high = this.#lineStarts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#lineStarts[middle] ?? 0) <= at) low = middle;
      else high = middle;
    }
    return { line: low + 1, column: this.text(this.#lineStarts[low] ?? 0, at).length + 1 };
  }

  text(start: number, end: number): string {
    return decoder.decode(this.#bytes.subarray(start, end));
  }
}

/** Duplicate keys of an object: in the value only the last one would be left. */
function* duplicateKeys(
  { items = [], members = [] }: Node,
  places: Places,
  path: Path = [],
): Generator<Problem> {
  for (const [index, item] of items.entries()) yield* duplicateKeys(item, places, [...path, index]);
  const lines = new Map<string, number>();
  for (const { name, keyStart, value } of members) {
    const first = lines.get(name);
    if (first === undefined) lines.set(name, keyStart);
    else {
      const message = `duplicate key, the first is on line ${places.of(first).line}`;
      yield { path: formatPath([...path, name]), message, position: places.of(keyStart) };
    }
    yield* duplicateKeys(value, places, [...path, name]);
  }
}

interface Source {
  readonly root: Node;
  readonly places: Places;
}

function documentOf(value: unknown, { root, places }: Source): TextDocument {
  return {
    value,
    locate: (path, at = "value") => places.of(find(root, path, at).start),
    place: ({ path, message, at, offset }) => {
      const { start, end } = find(root, path, at ?? "value");
      const { line, column } = places.of(start);
      return {
        path: formatPath(path),
        message,
        position: { line, column: column + inside(places.text(start, end), offset) },
      };
    },
  };
}

/** The place of a path; that of the nearest ancestor if the path does not exist. */
function find(root: Node, path: Path, at: "key" | "value"): { readonly start: number; readonly end: number } {
  let node = root;
  for (const [index, step] of path.entries()) {
    const member = membersOf(node).get(String(step));
    const next = member?.value ?? (typeof step === "number" ? node.items?.[step] : undefined);
    if (!next) break;
    if (member && at === "key" && index === path.length - 1) {
      return { start: member.keyStart, end: member.keyStart };
    }
    node = next;
  }
  return node;
}

/** Members by name, cached, because thousands of mistakes may have to be located among thousands of keys. */
const named = new WeakMap<Node, ReadonlyMap<string, Member>>();

function membersOf(node: Node): ReadonlyMap<string, Member> {
  let members = named.get(node);
  if (!members) {
    members = new Map(node.members?.map((member) => [member.name, member]));
    named.set(node, members);
  }
  return members;
}

/** Columns from the beginning of a string to an offset in it; 0 where escapes lie between. */
function inside(literal: string, offset: number | undefined): number {
  return offset === undefined || literal[0] !== '"' || literal.includes("\\") ? 0 : offset + 1;
}
