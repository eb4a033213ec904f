/** Lists Observations by pages with the user's own rights, and says in a sentence why that fails. */
import { hasStatus, type KubeApi, NetworkError, resourceName } from "../kube/api.ts";
import { errorMessage } from "../model/error_message.ts";
import { OBSERVATIONS, type StoredObservation } from "../store/observations.ts";
import { pagesOf, type Progress, type ReadApi, type ReadCounter } from "./pages.ts";
import { subjectNamespaceOf } from "./row.ts";
import { fieldSelectorOf, isSelected, labelSelectorOf, type Selection } from "./selection.ts";

/** How a list is read. */
export interface ReadOptions {
  readonly signal?: AbortSignal;
  /** Observations on a page; by default what suits the API server. */
  readonly pageSize?: number;
  /** Called as Observations come. */
  readonly onPage?: (progress: Progress) => void;
  /** Takes what is left out of the answer, as a sentence. */
  readonly onNote?: (note: string) => void;
}

/** Why Observations cannot be read, with what mends it. */
class ReadError extends Error {
  override readonly name = "ReadError";
}

const LIST_RIGHT = `list ${resourceName(OBSERVATIONS)}`;

/**
 * The chosen Observations, page by page. With a namespace these are the ones stored in it and those that belong to it and
 * are stored elsewhere, which takes the right to list all namespaces: `onNote` says where they are left out.
 */
export async function* readObservations(
  api: ReadApi,
  selection: Selection,
  options: ReadOptions = {},
): AsyncGenerator<readonly StoredObservation[]> {
  const { namespace } = selection;
  const counter: ReadCounter = { read: 0 };
  const stored = pages(api, selection, { ...options, counter, ...(namespace && { storedIn: namespace }) });
  yield* chosen(stored, selection);
  if (namespace === undefined) return;
  const elsewhere = pages(api, selection, { ...options, counter, fields: fieldsElsewhere(namespace) });
  try {
    for await (const page of chosen(elsewhere, selection)) {
      yield page.filter(({ metadata }) => metadata.namespace !== namespace);
    }
  } catch (error) {
    if (!(error instanceof ReadError) || !hasStatus(error.cause, 403)) throw error;
    options.onNote?.(elsewhereLeftOut(namespace, "list"));
  }
}

/** The field selector of what belongs to a namespace and is stored in another one. */
export function fieldsElsewhere(namespace: string): string {
  return `spec.resource.namespace=${namespace},metadata.namespace!=${namespace}`;
}

/** The note where the user may not read all namespaces. */
export function elsewhereLeftOut(namespace: string, verb: "list" | "watch"): string {
  return `Findings of "${namespace}" that are stored in another namespace are left out: ` +
    `you may not ${verb} ${resourceName(OBSERVATIONS)} in all namespaces`;
}

async function* chosen(
  pages: AsyncIterable<readonly StoredObservation[]>,
  selection: Selection,
): AsyncGenerator<readonly StoredObservation[]> {
  for await (const page of pages) yield page.filter((observation) => isSelected(observation, selection));
}

interface Place {
  readonly counter: ReadCounter;
  /** The namespace of the request; absent: all. */
  readonly storedIn?: string;
  /** Further field selector. */
  readonly fields?: string;
}

async function* pages(
  api: ReadApi,
  selection: Selection,
  { storedIn, fields, onNote: _, ...options }: ReadOptions & Place,
): AsyncGenerator<readonly StoredObservation[]> {
  try {
    yield* pagesOf<StoredObservation>(api, OBSERVATIONS, {
      ...options,
      ...(storedIn !== undefined && { namespace: storedIn }),
      labelSelector: labelSelectorOf(selection),
      fieldSelector: [fieldSelectorOf(selection), fields].filter(Boolean).join(","),
    });
  } catch (error) {
    throw options.signal?.aborted ? error : readError(error, storedIn);
  }
}

/**
 * One Observation by its name: with a namespace the one stored in it, else the one that belongs to it and is stored elsewhere,
 * which takes the right to list all namespaces.
 */
export async function readObservation(
  api: KubeApi,
  name: string,
  { namespace, onNote }: Pick<ReadOptions, "onNote"> & { readonly namespace?: string | undefined } = {},
): Promise<StoredObservation | undefined> {
  try {
    if (namespace !== undefined) return await api.get<StoredObservation>(OBSERVATIONS, name, { namespace });
  } catch (error) {
    if (!hasStatus(error, 404) || error.body.details?.name !== name) throw readError(error, namespace);
  }
  try {
    const { items } = await api.list<StoredObservation>(OBSERVATIONS, {
      fieldSelector: `metadata.name=${name}`,
    });
    return items.find((item) => namespace === undefined || subjectNamespaceOf(item) === namespace);
  } catch (error) {
    if (namespace === undefined || !hasStatus(error, 403)) throw readError(error);
    onNote?.(elsewhereLeftOut(namespace, "list"));
    return undefined;
  }
}

/** An error of the API server as a sentence that says what mends it. */
export function readError(error: unknown, namespace?: string): ReadError {
  return new ReadError(`Cannot read Observations${inNamespace(namespace)}: ${reasonOf(error, namespace)}`, {
    cause: error,
  });
}

function reasonOf(error: unknown, namespace: string | undefined): string {
  if (hasStatus(error, 401)) {
    return "the API server refuses the credentials of this context. Log in again, or name another with --context";
  }
  if (hasStatus(error, 403)) {
    const where = namespace === undefined ? "in all namespaces" : `in the namespace "${namespace}"`;
    const mend = namespace === undefined ? "Name a namespace with -n, or ask" : "Ask";
    return `you may not ${LIST_RIGHT} ${where}. ${mend} for the right to get and list them`;
  }
  if (hasStatus(error, 404)) {
    return "this cluster does not serve them. Install zen-watcher in it, or name another with --context";
  }
  if (hasStatus(error, 410)) {
    return "the list expires again before its next page. Try again when the API server is less busy";
  }
  if (error instanceof NetworkError) {
    return `${errorMessage(error)}. Check that the cluster of this context is the right one and that it runs`;
  }
  return errorMessage(error);
}

function inNamespace(namespace: string | undefined): string {
  return namespace === undefined ? "" : ` of "${namespace}"`;
}
