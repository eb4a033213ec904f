import type { ReportedFindings, ViewKey, Views } from "../../src/model/view.ts";

/** The documents of one view, as the leader's findings know them. */
export class KnownDocuments implements Views {
  readonly #documents = new Map<string, { round: number; readable: boolean }>();
  #round = 0;
  #completed = 0;

  begin(): void {
    this.#round++;
  }

  report(_view: ViewKey, { key, readable }: ReportedFindings): void {
    this.#documents.set(key, { round: this.#round, readable });
  }

  gone(_view: ViewKey, key: string): void {
    this.#documents.delete(key);
  }

  complete(): void {
    this.#completed++;
    for (const [key, { round }] of this.#documents) if (round !== this.#round) this.#documents.delete(key);
  }

  lost(): void {}

  /** Full lists that were evaluated to their end. */
  get completed(): number {
    return this.#completed;
  }

  /** Keys of the documents that count as reporting. */
  get reporting(): string[] {
    return [...this.#documents.keys()].sort();
  }

  /** Keys of those of which it is not known what they report. */
  get unread(): string[] {
    return [...this.#documents].filter(([, { readable }]) => !readable).map(([key]) => key).sort();
  }
}
