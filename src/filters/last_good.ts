/** Keeps the last valid value of a text. An invalid text does not change the value. */
import type { Problem } from "../text/problem.ts";

/** The result of applying a text. */
export type Applied =
  | { readonly kind: "loaded" }
  /** The active text, or the last refused one, again: nothing to do or to report. */
  | { readonly kind: "unchanged" }
  | { readonly kind: "rejected"; readonly problems: readonly Problem[] };

/** The result of reading a text. */
export type Read<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** A value that only a valid text can replace. */
export class LastGood<T> {
  #value: T | undefined;
  /** The text applied last, valid or not. */
  #lastText: string | undefined;

  /** The active value; undefined until there was a valid text. */
  get value(): T | undefined {
    return this.#value;
  }

  /** Activates `text` if it is valid. `read` is not called if it is the text applied last. */
  apply(text: string, read: () => Read<T>): Applied {
    if (text === this.#lastText) return { kind: "unchanged" };
    this.#lastText = text;
    const parsed = read();
    if (!parsed.ok) return { kind: "rejected", problems: parsed.problems };
    this.#value = parsed.value;
    return { kind: "loaded" };
  }

  /** Activates a value that an earlier run read, if there is none yet. */
  restore(value: T): void {
    this.#value ??= value;
  }

  /** Call when the text was removed: the value stays, and the next text is read even if it is the same. */
  missing(): void {
    this.#lastText = undefined;
  }
}
