/** The last good one stays in force: a bad text changes nothing but what is said about it. */
import type { Problem } from "../text/problem.ts";

/** How a text was taken. */
export type Applied =
  | { readonly kind: "loaded" }
  /** The text in force, or the text refused last, once more: nothing to do and nothing to say. */
  | { readonly kind: "unchanged" }
  | { readonly kind: "rejected"; readonly problems: readonly Problem[] };

/** What a text was read as. */
export type Read<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** A value that only a good text can replace. */
export class LastGood<T> {
  #value: T | undefined;
  /** The text applied last, good or not. */
  #lastText: string | undefined;

  /** The value in force; undefined while there was no good one. */
  get value(): T | undefined {
    return this.#value;
  }

  /** Puts `text` in force if it is good; `read` is not called for the text applied last. */
  apply(text: string, read: () => Read<T>): Applied {
    if (text === this.#lastText) return { kind: "unchanged" };
    this.#lastText = text;
    const parsed = read();
    if (!parsed.ok) return { kind: "rejected", problems: parsed.problems };
    this.#value = parsed.value;
    return { kind: "loaded" };
  }

  /** Puts a value in force that an earlier run read, where there is none yet. */
  restore(value: T): void {
    this.#value ??= value;
  }

  /** There is no text any more: the value stays, and whatever text comes next is news. */
  missing(): void {
    this.#lastText = undefined;
  }
}
