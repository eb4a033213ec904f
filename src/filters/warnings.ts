/**
 * Warnings on filter documents that are valid but probably mistaken: an unknown source, a category that a source never
 * reports, or a tenant's document that can drop nothing. Pure.
 */
import type { Category } from "../model/observation.ts";
import { compileGlob } from "./checks.ts";
import type { FilterDocument } from "./filter.ts";
import { didYouMean } from "../text/problem.ts";

/** The fields of a source that warnings need. */
export interface KnownSource {
  readonly name: string;
  /** The categories of its events; absent: any. */
  readonly categories?: readonly Category[];
  readonly eventTypes?: readonly string[];
  /** Set if no filter of a tenant may drop its events. */
  readonly neverDroppedByTenants?: true;
}

/** The warnings on a document. `definedBy` names, for the message, where sources that are not built in come from. */
export function warningsOf(
  document: FilterDocument,
  { known, definedBy }: { readonly known: readonly KnownSource[]; readonly definedBy: string },
): string[] {
  const { source, block } = document;
  if (source === "*") return tenantWarnings(document, undefined);
  const found = known.find(({ name }) => name === source);
  if (!found) {
    const hint = hintOf(source, known.map(({ name }) => name));
    return [`no source "${source}" is built in or defined by ${definedBy}${hint}`];
  }
  const { categories, eventTypes } = found;
  return [
    ...tenantWarnings(document, found),
    ...unknownOf([...block.includeCategories ?? [], ...block.excludeCategories ?? []], categories)
      .map((value) => `${source} reports nothing of the category "${value}"${hintOf(value, categories)}`),
    ...unknownOf([...block.includeEventTypes ?? [], ...block.excludeEventTypes ?? []], eventTypes)
      .map((value) => `${source} reports no event type "${value}"${hintOf(value, eventTypes)}`),
  ];
}

/** Warns of what a tenant's document cannot drop. */
function tenantWarnings(
  { tenantNamespace, block }: FilterDocument,
  source: KnownSource | undefined,
): string[] {
  if (tenantNamespace === undefined) return [];
  if (source?.neverDroppedByTenants) return [`a tenant's filter never drops ${source.name}`];
  const { excludeSeverity = [], excludeNamespaces = [] } = block;
  const isElsewhere = excludeNamespaces.length > 0 &&
    !excludeNamespaces.some((glob) => compileGlob(glob)(tenantNamespace));
  return [
    ...(excludeSeverity.includes("CRITICAL") ? ["a tenant's filter never drops CRITICAL"] : []),
    ...(isElsewhere
      ? [
        `excludeNamespaces drops nothing: a tenant's filter acts on its own namespace, ${tenantNamespace}, alone`,
      ]
      : []),
  ];
}

function unknownOf<T extends string>(values: readonly T[], known: readonly T[] | undefined): readonly T[] {
  return known ? [...new Set(values)].filter((value) => !known.includes(value)) : [];
}

function hintOf(word: string, known: readonly string[] = []): string {
  const guess = didYouMean(word, known);
  return guess === undefined ? "" : `; did you mean "${guess}"?`;
}
