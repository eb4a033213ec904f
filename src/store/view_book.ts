/**
 * Which documents (reports, ConfigMaps) report which findings now: keys and 64 bits of each fingerprint, never a
 * document. A finding's 64 bits are kept by each document that reports it (8 bytes) and by its source (18 to 36 bytes):
 * 0.26 to 0.44 MB per 10,000 findings, and a key per document.
 */
import { FingerprintTable, hexWords, packed, union, word } from "./fingerprint_table.ts";
import {
  type Asked,
  type ResourceState,
  type SeenResource,
  type Standing,
  standingOfUnheard,
  type UnheardOptions,
} from "./standing.ts";

export type { Asked, Standing } from "./standing.ts";

/** What a document reports. */
export interface View {
  readonly key: string;
  readonly fingerprints: readonly string[];
  /** False where part of it could not be read: it then only adds, and takes nothing back. */
  readonly readable: boolean;
}

export interface ViewBookOptions extends UnheardOptions {
  /** Seconds on a monotonic clock. */
  readonly seconds: () => number;
  /** Told of each finding that is reported again after its end. */
  readonly onReturn?: (fingerprint: string) => void;
}

interface Document {
  fingerprints: Uint32Array;
  /** The list it was last seen in. */
  round: number;
  /** Never read in full by this book: what it may report is not known. */
  blind: boolean;
}

interface Removed {
  readonly document: Document;
  readonly atSeconds: number;
}

interface ResourceBook extends SeenResource {
  state: ResourceState;
  round: number;
  readonly documents: Map<string, Document>;
  readonly blind: Set<string>;
  /** Documents gone of late: an API server deletes every object of a CRD before it stops serving the resource. */
  readonly removed: Map<string, Removed>;
}

interface SourceBook {
  readonly resources: Map<string, ResourceBook>;
  /** Reporters of each finding. */
  readonly reporters: FingerprintTable;
  /** Reporters of resources that are not served any more. */
  readonly absent: FingerprintTable;
  /** Seconds at which a finding lost its last reporter. */
  readonly ended: FingerprintTable;
}

/** The book of one leader's term. */
export class ViewBook {
  readonly #options: ViewBookOptions;
  readonly #sources = new Map<string, SourceBook>();

  constructor(options: ViewBookOptions) {
    this.#options = options;
  }

  /** A full list begins: what it does not show until `complete` is gone. */
  begin(source: string, resource: string): void {
    const book = this.#resource(source, resource);
    this.#revive(source, book);
    book.round++;
    if (book.state !== "complete") book.state = "pending";
  }

  /** A document replaces what it reported before. */
  view(source: string, resource: string, { key, fingerprints, readable }: View): void {
    const book = this.#resource(source, resource);
    const before = book.documents.get(key);
    const said = packed(fingerprints);
    const now = readable || !before ? said : union(before.fingerprints, said);
    const blind = !readable && (before?.blind ?? true);
    book.documents.set(key, { fingerprints: now, round: book.round, blind });
    book.removed.delete(key);
    if (blind) book.blind.add(key);
    else book.blind.delete(key);
    const absent = book.state === "absent";
    this.#count(source, now, { by: 1, absent });
    if (before) this.#count(source, before.fingerprints, { by: -1, absent });
  }

  /** A document was deleted. */
  gone(source: string, resource: string, key: string): void {
    this.#forget(source, this.#resource(source, resource), key);
  }

  /** The full list is in and evaluated. */
  complete(source: string, resource: string): void {
    const book = this.#resource(source, resource);
    this.#revive(source, book);
    for (const [key, { round }] of book.documents) {
      if (round !== book.round) this.#forget(source, book, key);
    }
    book.state = "complete";
  }

  /** The resource cannot be seen: it counts as still reporting. `absent`: it is not served any more. */
  lost(source: string, resource: string, why: "absent" | "unreadable"): void {
    const book = this.#resource(source, resource);
    if (why === "unreadable") this.#revive(source, book);
    else if (book.state !== "absent") {
      for (const { fingerprints } of book.documents.values()) {
        this.#count(source, fingerprints, { by: 1, absent: true });
        this.#count(source, fingerprints, { by: -1, absent: false });
      }
      this.#restore(source, book);
    }
    book.state = why;
  }

  /** True where a resource that is served reports the finding: the cheap question that most are settled by. */
  reports(source: string, high: number, low: number): boolean {
    return this.#sources.get(source)?.reporters.get(high, low) !== undefined;
  }

  /** How a finding stands with the source whose views would report it. */
  standing({ source, eventType, namespace, fingerprint }: Asked): Standing {
    const book = this.#sources.get(source);
    if (!book) return { kind: "pending" };
    const [high = 0, low = 0] = hexWords(fingerprint, 2);
    if (book.reporters.get(high, low) !== undefined) return { kind: "reported" };
    if (book.absent.get(high, low) !== undefined) return { kind: "absent" };
    const atSeconds = book.ended.get(high, low);
    if (atSeconds !== undefined) return { kind: "ended", atSeconds };
    return { kind: standingOfUnheard(book.resources, { source, eventType, namespace }, this.#options) };
  }

  /** Drops ends older than this: whatever was stored of them is settled. */
  forgetEndedBefore(seconds: number): void {
    for (const { ended, resources } of this.#sources.values()) {
      ended.keep((at) => at >= seconds);
      for (const { removed } of resources.values()) {
        for (const [key, { atSeconds }] of removed) if (atSeconds < seconds) removed.delete(key);
      }
    }
  }

  /** A source is no longer read: what it reported is forgotten. */
  forgetSource(source: string): void {
    this.#sources.delete(source);
  }

  /** Documents known. */
  get documents(): number {
    let sum = 0;
    for (const { resources } of this.#sources.values()) {
      for (const { documents } of resources.values()) sum += documents.size;
    }
    return sum;
  }

  /** Bytes of fingerprints held, less the documents' keys. */
  get byteLength(): number {
    let sum = 0;
    for (const { resources, reporters, absent, ended } of this.#sources.values()) {
      sum += reporters.byteLength + absent.byteLength + ended.byteLength;
      for (const { documents, removed } of resources.values()) {
        for (const { fingerprints } of documents.values()) sum += fingerprints.byteLength;
        for (const { document } of removed.values()) sum += document.fingerprints.byteLength;
      }
    }
    return sum;
  }

  /** What a resource that was absent reported counts again. */
  #revive(source: string, book: ResourceBook): void {
    if (book.state !== "absent") return;
    book.state = "pending";
    for (const { fingerprints } of book.documents.values()) {
      this.#count(source, fingerprints, { by: 1, absent: false });
      this.#count(source, fingerprints, { by: -1, absent: true });
    }
  }

  #forget(source: string, book: ResourceBook, key: string): void {
    const document = book.documents.get(key);
    book.documents.delete(key);
    book.blind.delete(key);
    if (!document) return;
    this.#count(source, document.fingerprints, { by: -1, absent: book.state === "absent" });
    if (book.state !== "absent") book.removed.set(key, { document, atSeconds: this.#options.seconds() });
  }

  /** What went just before its resource did was not ended by its tool. */
  #restore(source: string, book: ResourceBook): void {
    const { ended } = this.#source(source);
    for (const [key, { document }] of book.removed) {
      book.documents.set(key, document);
      const { fingerprints } = document;
      this.#count(source, fingerprints, { by: 1, absent: true });
      for (let at = 0; at < fingerprints.length; at += 2) {
        ended.delete(fingerprints[at] ?? 0, fingerprints[at + 1] ?? 0);
      }
    }
    book.removed.clear();
  }

  #count(source: string, fingerprints: Uint32Array, { by, absent }: { by: 1 | -1; absent: boolean }): void {
    const book = this.#source(source);
    const table = absent ? book.absent : book.reporters;
    for (let at = 0; at < fingerprints.length; at += 2) {
      const high = fingerprints[at] ?? 0, low = fingerprints[at + 1] ?? 0;
      const reporters = (table.get(high, low) ?? 0) + by;
      if (reporters > 0) table.set(high, low, reporters);
      else table.delete(high, low);
      if (absent) continue;
      if (reporters <= 0) this.#end(book, high, low);
      else if (by > 0 && book.ended.size > 0) this.#return(book, high, low);
    }
  }

  #end(book: SourceBook, high: number, low: number): void {
    // Still reported by a resource that is not served: that is no end.
    if (book.absent.get(high, low) === undefined) book.ended.set(high, low, this.#options.seconds());
  }

  #return({ ended }: SourceBook, high: number, low: number): void {
    if (ended.get(high, low) === undefined) return;
    ended.delete(high, low);
    this.#options.onReturn?.(word(high) + word(low));
  }

  #source(source: string): SourceBook {
    let book = this.#sources.get(source);
    if (!book) {
      book = {
        resources: new Map(),
        reporters: new FingerprintTable(),
        absent: new FingerprintTable(),
        ended: new FingerprintTable(),
      };
      this.#sources.set(source, book);
    }
    return book;
  }

  #resource(source: string, resource: string): ResourceBook {
    const { resources } = this.#source(source);
    let book = resources.get(resource);
    if (!book) {
      book = { state: "pending", round: 0, documents: new Map(), blind: new Set(), removed: new Map() };
      resources.set(resource, book);
    }
    return book;
  }
}
