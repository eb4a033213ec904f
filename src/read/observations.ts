/** Lists Observations by pages with the user's own rights, and says in a sentence why that fails. */
import { hasStatus, type KubeApi, namespacedName, NetworkError, resourceName } from "../kube/api.ts";
import { errorMessage } from "../model/error_message.ts";
import { OBSERVATIONS, type StoredObservation } from "../store/observations.ts";
import { fieldSelectorOf, isSelected, labelSelectorOf, type Selection } from "./selection.ts";

/** How a list is read. */
export interface ReadOptions {
  readonly signal?: AbortSignal;
  /** Observations on a page. */
  readonly pageSize?: number;
  /** Called after each page. */
  readonly onPage?: (progress: Progress) => void;
  /** Takes what is left out of the answer, as a sentence. */
  readonly onNote?: (note: string) => void;
}

/** How far a list is. */
export interface Progress {
  readonly read: number;
  /** What the API server says is still to come; undefined where it does not say. */
  readonly remaining: number | undefined;
}

/** Why Observations cannot be read, with what mends it. */
class ReadError extends Error {
  override readonly name = "ReadError";
}

/** With 500 the commands that keep rows take more than 200 MiB on 50,000 Observations. */
const PAGE_SIZE = 200;
/** A list is restarted after a 410; after this many restarts in a row without a new object it fails. */
const MAX_FRUITLESS_RESTARTS = 3;
const LIST_RIGHT = `list ${resourceName(OBSERVATIONS)}`;

/**
 * The chosen Observations, page by page. With a namespace these are the ones stored in it and those that belong to it and
 * are stored elsewhere, which takes the right to list all namespaces: `onNote` says where they are left out.
 */
export async function* readObservations(
  api: KubeApi,
  selection: Selection,
  options: ReadOptions = {},
): AsyncGenerator<readonly StoredObservation[]> {
  const { namespace } = selection;
  const counter: Counter = { read: 0 };
  yield* chosen(
    pages(api, selection, { ...options, counter, ...(namespace && { storedIn: namespace }) }),
    selection,
  );
  if (namespace === undefined) return;
  const fields = `spec.resource.namespace=${namespace}`;
  const elsewhere = pages(api, selection, { ...options, counter, fields });
  try {
    for await (const page of chosen(elsewhere, selection)) {
      yield page.filter(({ metadata }) => metadata.namespace !== namespace);
    }
  } catch (error) {
    if (!(error instanceof ReadError) || !hasStatus(error.cause, 403)) throw error;
    options.onNote?.(
      `Findings of "${namespace}" that are stored in another namespace are left out: ` +
        `you may not ${LIST_RIGHT} in all namespaces`,
    );
  }
}

interface Counter {
  read: number;
}

async function* chosen(
  pages: AsyncIterable<readonly StoredObservation[]>,
  selection: Selection,
): AsyncGenerator<readonly StoredObservation[]> {
  for await (const page of pages) yield page.filter((observation) => isSelected(observation, selection));
}

interface PagesOptions extends ReadOptions {
  readonly counter: Counter;
  /** The namespace of the request; absent: all. */
  readonly storedIn?: string;
  /** Further field selector. */
  readonly fields?: string;
}

async function* pages(
  api: KubeApi,
  selection: Selection,
  { signal, pageSize = PAGE_SIZE, onPage, counter, storedIn, fields }: PagesOptions,
): AsyncGenerator<readonly StoredObservation[]> {
  const labelSelector = labelSelectorOf(selection);
  let fieldSelector = [fieldSelectorOf(selection), fields].filter(Boolean).join(",");
  let token = "";
  /** Key of the last object yielded. If the list has to restart, objects up to this key are skipped: lists are sorted by key. */
  let last = "";
  let fruitless = 0;
  for (;;) {
    try {
      const { metadata, items } = await api.list<StoredObservation>(OBSERVATIONS, {
        limit: pageSize,
        ...(storedIn === undefined ? {} : { namespace: storedIn }),
        ...(labelSelector && { labelSelector }),
        ...(fieldSelector && { fieldSelector }),
        ...(token && { continue: token }),
        ...(signal && { signal }),
      });
      const fresh = last === "" ? items : items.filter((item) => namespacedName(item) > last);
      if (fresh.length > 0) {
        fruitless = 0;
        last = namespacedName(fresh.at(-1)!);
        counter.read += fresh.length;
      }
      onPage?.({ read: counter.read, remaining: metadata.remainingItemCount });
      if (fresh.length > 0) yield fresh;
      token = metadata.continue ?? "";
      if (token === "") return;
    } catch (error) {
      if (hasStatus(error, 410) && fruitless++ < MAX_FRUITLESS_RESTARTS) {
        token = "";
      } else if (hasStatus(error, 400) && fieldSelector !== "" && /field label/.test(error.message)) {
        // API servers before 1.31 do not support these field selectors: isSelected() selects instead.
        fieldSelector = "";
      } else throw signal?.aborted ? error : readError(error, storedIn);
    }
  }
}

/** One Observation by its name. Without a namespace it is looked for in all of them. */
export async function readObservation(
  api: KubeApi,
  name: string,
  { namespace }: { readonly namespace?: string | undefined } = {},
): Promise<StoredObservation | undefined> {
  try {
    if (namespace !== undefined) return await api.get<StoredObservation>(OBSERVATIONS, name, { namespace });
    const fieldSelector = `metadata.name=${name}`;
    return (await api.list<StoredObservation>(OBSERVATIONS, { fieldSelector, limit: 2 })).items[0];
  } catch (error) {
    if (hasStatus(error, 404) && error.body.details?.name === name) return undefined;
    throw readError(error, namespace);
  }
}

/** An error of the API server as a sentence that says what mends it. */
function readError(error: unknown, namespace?: string): ReadError {
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
