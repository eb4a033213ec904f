/**
 * Reads a list item by item, as its text comes or as they are asked for: the longest item decides how much memory it takes
 * parsed, not the list.
 */
import { isObject, type JsonObject } from "../model/json.ts";
import {
  bodyTooLarge,
  garbled,
  isKubeObject,
  type KubeList,
  type KubeObject,
  type KubePage,
  type ListOptions,
  resourceName,
  type ResourceType,
} from "./api.ts";

/** The part of a client that this takes. */
export interface ListBytes {
  /** The body of a list in pieces; each is valid until the next one is asked for. */
  listBytes(type: ResourceType, options?: ListOptions): AsyncIterable<Uint8Array>;
}

/** Items of a list that came together; the last ones, or none, with the list's metadata. */
export interface ListPiece<T> {
  readonly items: readonly T[];
  readonly metadata?: KubeList["metadata"];
}

/** The items of a list in its order. Leaving the loop cancels the request. */
export async function* listItems<T extends KubeObject>(
  api: ListBytes,
  type: ResourceType,
  options: ListOptions = {},
): AsyncGenerator<ListPiece<T>> {
  const doing = `list ${resourceName(type)}`;
  const text = new ListText(parsedItem);
  for await (const bytes of api.listBytes(type, options)) {
    const items = readable(doing, () => text.add(bytes));
    if (items.length > 0) yield { items: items as readonly T[] };
  }
  yield readable(doing, () => text.end()) as ListPiece<T>;
}

/** Reads a page, whose items it keeps as bytes until each is its turn. */
export async function readPage<T extends KubeObject>(
  pieces: AsyncIterable<Uint8Array>,
  { doing, maxBytes }: { readonly doing: string; readonly maxBytes: number },
): Promise<KubePage<T>> {
  const text = new ListText((item) => item.slice());
  const items: (Uint8Array | undefined)[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > maxBytes) throw bodyTooLarge(maxBytes);
    items.push(...readable(doing, () => text.add(piece)));
  }
  const { items: last, metadata } = readable(doing, () => text.end());
  items.push(...last);
  return {
    metadata,
    bytes,
    items: {
      length: items.length,
      *[Symbol.iterator]() {
        for (const [index, item] of items.entries()) {
          items[index] = undefined;
          if (item) yield readable(doing, () => parsedItem(item)) as T;
        }
      },
    },
  };
}

/** What `read` returns; its error is that of an answer that cannot be read. */
function readable<R>(doing: string, read: () => R): R {
  try {
    return read();
  } catch (cause) {
    throw garbled(doing, "the answer is no list of objects", cause);
  }
}

const decoder = new TextDecoder();
const QUOTE = 0x22,
  BACKSLASH = 0x5c,
  OPEN_ARRAY = 0x5b,
  CLOSE_ARRAY = 0x5d,
  OPEN_OBJECT = 0x7b,
  CLOSE_OBJECT = 0x7d;
const ITEMS = '"items"';
/** Text that is gathered before it is looked at. */
const PIECE_BYTES = 256 * 1024;
/** Longest item: more than twice what etcd stores. */
const MAX_ITEM_BYTES = 4 * 1024 * 1024;

/**
 * The text of a list. It is cut at the items of its array `items` by counting brackets outside of strings; `JSON.parse` checks
 * what is around them, and each item where it is parsed.
 */
export class ListText<T> {
  /** Called with the bytes of each item; they are overwritten afterwards. */
  readonly #read: (item: Uint8Array) => T;
  /** Text that is not cut yet: an unfinished item, or what is around the items. */
  #bytes = new Uint8Array(2 * PIECE_BYTES);
  #length = 0;
  /** Up to here brackets are counted. */
  #at = 0;
  #depth = 0;
  #around = "";
  #isItemsKey = false;
  #isInItems = false;

  constructor(read: (item: Uint8Array) => T) {
    this.#read = read;
  }

  /** Takes the next piece, and returns the items that are complete. */
  add(piece: Uint8Array): readonly T[] {
    const length = this.#length + piece.length;
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(2 * length);
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(piece, this.#length);
    this.#length = length;
    return length - this.#at < PIECE_BYTES ? [] : this.#cut();
  }

  /** The rest of the items, and the list's metadata. */
  end(): Required<ListPiece<T>> {
    const items = this.#cut();
    const list: unknown = JSON.parse(this.#around + this.#text(0, this.#length));
    if (!isObject(list) || (list.items != null && !Array.isArray(list.items))) throw new Error("no list");
    const { metadata = {} } = list;
    if (!isObject(metadata)) throw new Error("no metadata");
    return { items, metadata: metadata as JsonObject & KubeList["metadata"] };
  }

  #cut(): T[] {
    const items: T[] = [];
    const bytes = this.#bytes;
    const end = this.#length;
    let from = 0;
    let at = this.#at;
    while (at < end) {
      const byte = bytes[at];
      if (byte === QUOTE) {
        const close = stringEnd(bytes, at + 1, end);
        if (close < 0) break;
        if (this.#depth === 1) this.#isItemsKey = this.#text(at, Math.min(close, at + 16)) === ITEMS;
        at = close;
        continue;
      }
      at++;
      if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        if (this.#isInItems && this.#depth === 2) from = at - 1;
        else if (this.#depth === 1 && this.#isItemsKey && byte === OPEN_ARRAY) {
          this.#around += this.#text(from, at);
          from = at;
          this.#isInItems = true;
        }
        this.#depth++;
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
        this.#depth--;
        if (!this.#isInItems) continue;
        if (this.#depth === 2) {
          items.push(this.#read(bytes.subarray(from, at)));
          from = at;
        } else if (this.#depth === 1) {
          from = at - 1;
          this.#isInItems = false;
          this.#isItemsKey = false;
        }
      }
    }
    bytes.copyWithin(0, from, end);
    this.#at = at - from;
    this.#length = end - from;
    if (this.#length > MAX_ITEM_BYTES) throw new Error(`an item is over ${MAX_ITEM_BYTES} bytes`);
    return items;
  }

  #text(from: number, to: number): string {
    return decoder.decode(this.#bytes.subarray(from, to));
  }
}

/** The position behind a string that begins before `at`; -1 where it has not ended by `end`. */
function stringEnd(bytes: Uint8Array, at: number, end: number): number {
  while (at < end) {
    const byte = bytes[at++];
    if (byte === QUOTE) return at;
    if (byte === BACKSLASH) at++;
  }
  return -1;
}

/** An item of a list by its bytes. */
export function parsedItem(bytes: Uint8Array): KubeObject {
  const value: unknown = JSON.parse(decoder.decode(bytes));
  if (isKubeObject(value)) return value;
  throw new Error("an item is no object");
}
