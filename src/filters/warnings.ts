/** Warnings on filter documents that are valid but probably mistaken: an unknown source, or a category that a source never reports. Pure. */
import type { Category } from "../model/observation.ts";
import type { FilterDocument } from "./filter.ts";
import { didYouMean } from "../text/problem.ts";

/** The fields of a source that warnings need. */
export interface KnownSource {
  readonly name: string;
  /** The categories of its events; absent: any. */
  readonly categories?: readonly Category[];
  readonly eventTypes?: readonly string[];
}

/** The warnings on a document. `definedBy` names, for the message, where sources that are not built in come from. */
export function warningsOf(
  { source, block }: FilterDocument,
  { known, definedBy }: { readonly known: readonly KnownSource[]; readonly definedBy: string },
): string[] {
  if (source === "*") return [];
  const found = known.find(({ name }) => name === source);
  if (!found) {
    const hint = hintOf(source, known.map(({ name }) => name));
    return [`no source "${source}" is built in or defined by ${definedBy}${hint}`];
  }
  const { categories, eventTypes } = found;
  return [
    ...unknownOf([...block.includeCategories ?? [], ...block.excludeCategories ?? []], categories)
      .map((value) => `${source} reports nothing of the category "${value}"${hintOf(value, categories)}`),
    ...unknownOf([...block.includeEventTypes ?? [], ...block.excludeEventTypes ?? []], eventTypes)
      .map((value) => `${source} reports no event type "${value}"${hintOf(value, eventTypes)}`),
  ];
}

function unknownOf<T extends string>(values: readonly T[], known: readonly T[] | undefined): readonly T[] {
  return known ? [...new Set(values)].filter((value) => !known.includes(value)) : [];
}

function hintOf(word: string, known: readonly string[] = []): string {
  const guess = didYouMean(word, known);
  return guess === undefined ? "" : `; did you mean "${guess}"?`;
}
