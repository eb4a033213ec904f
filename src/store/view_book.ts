/**
 * Which documents (reports, ConfigMaps) report which findings now: keys and 64 bits of each fingerprint, never a
 * document. A finding's 64 bits are kept by each document that reports it (8 bytes) and by its source (18 to 36 bytes):
 * 0.26 to 0.44 MB per 10,000 findings, and a key per document.
 */
import { type ReportedFindings, viewId, type ViewKey } from "../model/view.ts";
import { FingerprintTable, hexWords, packed, union, word } from "./fingerprint_table.ts";
import {
  type Asked,
  type SeenView,
  type Standing,
  standingOfUnheard,
  type UnheardOptions,
  type ViewState,
} from "./standing.ts";

export type { Asked, Standing } from "./standing.ts";

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

interface ViewOfDocuments extends SeenView {
  state: ViewState;
  round: number;
  readonly documents: Map<string, Document>;
  readonly blind: Set<string>;
  /** Documents gone of late: an API server deletes every object of a CRD before it stops serving the resource. */
  readonly removed: Map<string, Removed>;
}

interface SourceBook {
  /** By their ids. */
  readonly views: Map<string, ViewOfDocuments>;
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
  begin(key: ViewKey): void {
    const view = this.#view(key);
    this.#revive(view);
    view.round++;
    if (view.state !== "complete") view.state = "pending";
  }

  /** A document replaces what it reported before. */
  report(of: ViewKey, { key, fingerprints, readable }: ReportedFindings): void {
    const view = this.#view(of);
    const before = view.documents.get(key);
    const said = packed(fingerprints);
    const now = readable || !before ? said : union(before.fingerprints, said);
    const blind = !readable && (before?.blind ?? true);
    view.documents.set(key, { fingerprints: now, round: view.round, blind });
    view.removed.delete(key);
    if (blind) view.blind.add(key);
    else view.blind.delete(key);
    const absent = view.state === "absent";
    this.#count(of.source, now, { by: 1, absent });
    if (before) this.#count(of.source, before.fingerprints, { by: -1, absent });
  }

  /** A document was deleted. */
  gone(view: ViewKey, key: string): void {
    this.#forget(this.#view(view), key);
  }

  /** The full list is in and evaluated. */
  complete(key: ViewKey): void {
    const view = this.#view(key);
    this.#revive(view);
    for (const [document, { round }] of view.documents) {
      if (round !== view.round) this.#forget(view, document);
    }
    view.state = "complete";
  }

  /** The resource cannot be seen: it counts as still reporting. `absent`: it is not served any more. */
  lost(key: ViewKey, why: "absent" | "unreadable"): void {
    const view = this.#view(key);
    if (why === "unreadable") this.#revive(view);
    else if (view.state !== "absent") {
      for (const { fingerprints } of view.documents.values()) {
        this.#count(key.source, fingerprints, { by: 1, absent: true });
        this.#count(key.source, fingerprints, { by: -1, absent: false });
      }
      this.#restore(view);
    }
    view.state = why;
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
    return { kind: standingOfUnheard(book.views.values(), { eventType, namespace }, this.#options) };
  }

  /** Drops ends older than this: whatever was stored of them is settled. */
  forgetEndedBefore(seconds: number): void {
    for (const { ended, views } of this.#sources.values()) {
      ended.keep((at) => at >= seconds);
      for (const { removed } of views.values()) {
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
    for (const { views } of this.#sources.values()) {
      for (const { documents } of views.values()) sum += documents.size;
    }
    return sum;
  }

  /** Bytes of fingerprints held, less the documents' keys. */
  get byteLength(): number {
    let sum = 0;
    for (const { views, reporters, absent, ended } of this.#sources.values()) {
      sum += reporters.byteLength + absent.byteLength + ended.byteLength;
      for (const { documents, removed } of views.values()) {
        for (const { fingerprints } of documents.values()) sum += fingerprints.byteLength;
        for (const { document } of removed.values()) sum += document.fingerprints.byteLength;
      }
    }
    return sum;
  }

  /** What a resource that was absent reported counts again. */
  #revive(view: ViewOfDocuments): void {
    if (view.state !== "absent") return;
    view.state = "pending";
    for (const { fingerprints } of view.documents.values()) {
      this.#count(view.key.source, fingerprints, { by: 1, absent: false });
      this.#count(view.key.source, fingerprints, { by: -1, absent: true });
    }
  }

  #forget(view: ViewOfDocuments, key: string): void {
    const document = view.documents.get(key);
    view.documents.delete(key);
    view.blind.delete(key);
    if (!document) return;
    this.#count(view.key.source, document.fingerprints, { by: -1, absent: view.state === "absent" });
    if (view.state !== "absent") view.removed.set(key, { document, atSeconds: this.#options.seconds() });
  }

  /** What went just before its resource did was not ended by its tool. */
  #restore(view: ViewOfDocuments): void {
    const { ended } = this.#source(view.key.source);
    for (const [key, { document }] of view.removed) {
      view.documents.set(key, document);
      const { fingerprints } = document;
      this.#count(view.key.source, fingerprints, { by: 1, absent: true });
      for (let at = 0; at < fingerprints.length; at += 2) {
        ended.delete(fingerprints[at] ?? 0, fingerprints[at + 1] ?? 0);
      }
    }
    view.removed.clear();
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
        views: new Map(),
        reporters: new FingerprintTable(),
        absent: new FingerprintTable(),
        ended: new FingerprintTable(),
      };
      this.#sources.set(source, book);
    }
    return book;
  }

  #view(key: ViewKey): ViewOfDocuments {
    const { views } = this.#source(key.source);
    const id = viewId(key);
    let view = views.get(id);
    if (!view) {
      view = { key, state: "pending", round: 0, documents: new Map(), blind: new Set(), removed: new Map() };
      views.set(id, view);
    }
    return view;
  }
}
