/** The last good one stays in force: a bad text changes nothing but what is said about it. */
import type { Problem } from "./problem.ts";

/** How a text was taken. */
export type Applied =
  | { readonly kind: "loaded" }
  /** The text in force, or the text refused last, once more: nothing to do and nothing to say. */
  | { readonly kind: "unchanged" }
  | { readonly kind: "rejected"; readonly problems: readonly Problem[] };

/** Reads a text. */
export type Parse<T> = (
  text: string,
) => { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problems: readonly Problem[] };

/** A value that only a good text can replace. */
export class LastGood<T> {
  readonly #parse: Parse<T>;
  #value: T | undefined;
  /** The text applied last, good or not. */
  #lastText: string | undefined;

  constructor(parse: Parse<T>) {
    this.#parse = parse;
  }

  /** The value in force; undefined while there was no good one. */
  get value(): T | undefined {
    return this.#value;
  }

  /** Puts `text` in force if it is good. */
  apply(text: string): Applied {
    if (text === this.#lastText) return { kind: "unchanged" };
    this.#lastText = text;
    const parsed = this.#parse(text);
    if (!parsed.ok) return { kind: "rejected", problems: parsed.problems };
    this.#value = parsed.value;
    return { kind: "loaded" };
  }

  /** There is no text any more: the value stays, and whatever text comes next is news. */
  missing(): void {
    this.#lastText = undefined;
  }
}
