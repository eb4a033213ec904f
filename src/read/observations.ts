/** Lists Observations by pages with the user's own rights, and says in a sentence why that fails. */
import { hasStatus, type KubeApi, namespacedName, NetworkError, resourceName } from "../kube/api.ts";
import { type ListBytes, listItems } from "../kube/list_items.ts";
import { errorMessage } from "../model/error_message.ts";
import { OBSERVATIONS, type StoredObservation } from "../store/observations.ts";
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

/** What reads Observations: a client of the API server. */
export type ReadApi = KubeApi & ListBytes;

const PAGE_SIZE = 500;
/** Twice the storage budget of a controller by default. */
const WHOLE_LIST = 100_000;
/** What is known of each API server. */
const pageSizes = new WeakMap<ReadApi, Promise<number>>();
/** Longest wait for the API server's version. */
const VERSION_DEADLINE_MS = 2_000;

/**
 * Observations on the first page. From Kubernetes 1.34 on, the API server answers the first page from its memory and sends it
 * piece by piece, so that everything is on it. It reads further pages from etcd, which costs it several times as much, and an
 * older server makes the whole text of a page before it sends it: there pages are small.
 */
async function pageSizeOf(api: ReadApi): Promise<number> {
  try {
    const { major, minor } = await api.getPath("/version", {
      signal: AbortSignal.timeout(VERSION_DEADLINE_MS),
    });
    return Number(major) === 1 && parseInt(String(minor)) >= 34 ? WHOLE_LIST : PAGE_SIZE;
  } catch {
    // The list that follows fails with the reason.
    return PAGE_SIZE;
  }
}
/** A list is restarted after a 410; after this many restarts in a row without a new object it fails. */
const MAX_FRUITLESS_RESTARTS = 3;
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
  const counter: Counter = { read: 0 };
  let { pageSize } = options;
  if (pageSize === undefined) {
    let known = pageSizes.get(api);
    if (!known) pageSizes.set(api, known = pageSizeOf(api));
    pageSize = await known;
  }
  yield* chosen(
    pages(api, selection, { ...options, pageSize, counter, ...(namespace && { storedIn: namespace }) }),
    selection,
  );
  if (namespace === undefined) return;
  const fields = `spec.resource.namespace=${namespace},metadata.namespace!=${namespace}`;
  const elsewhere = pages(api, selection, { ...options, pageSize, counter, fields });
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
  readonly pageSize: number;
  readonly counter: Counter;
  /** The namespace of the request; absent: all. */
  readonly storedIn?: string;
  /** Further field selector. */
  readonly fields?: string;
}

async function* pages(
  api: ReadApi,
  selection: Selection,
  { signal, pageSize, onPage, counter, storedIn, fields }: PagesOptions,
): AsyncGenerator<readonly StoredObservation[]> {
  const labelSelector = labelSelectorOf(selection);
  let fieldSelector = [fieldSelectorOf(selection), fields].filter(Boolean).join(",");
  let firstPage = pageSize;
  let token = "";
  /** What there will be in all; undefined where the API server does not say. */
  let total: number | undefined;
  /** Key of the last object yielded. If the list has to restart, objects up to this key are skipped: lists are sorted by key. */
  let last = "";
  let fruitless = 0;
  const where = () => ({
    ...(storedIn === undefined ? {} : { namespace: storedIn }),
    ...(labelSelector && { labelSelector }),
    ...(fieldSelector && { fieldSelector }),
    ...(signal && { signal }),
  });
  for (;;) {
    try {
      if (onPage && firstPage > PAGE_SIZE && labelSelector === "" && fieldSelector === "") {
        const { items, metadata } = await api.list(OBSERVATIONS, { ...where(), limit: 1 });
        total = counter.read + items.length + (metadata.remainingItemCount ?? 0);
      }
      const pieces = listItems<StoredObservation>(api, OBSERVATIONS, {
        ...where(),
        limit: token === "" ? firstPage : Math.min(pageSize, PAGE_SIZE),
        ...(token && { continue: token }),
      });
      for await (const { items, metadata } of pieces) {
        const fresh = last === "" ? items : items.filter((item) => namespacedName(item) > last);
        if (fresh.length > 0) {
          fruitless = 0;
          last = namespacedName(fresh.at(-1)!);
          counter.read += fresh.length;
        }
        if (metadata?.remainingItemCount !== undefined) total = counter.read + metadata.remainingItemCount;
        const remaining = total === undefined ? undefined : Math.max(0, total - counter.read);
        onPage?.({ read: counter.read, remaining });
        if (fresh.length > 0) yield fresh;
        if (metadata) token = metadata.continue ?? "";
      }
      if (token === "") return;
    } catch (error) {
      if (hasStatus(error, 410) && fruitless++ < MAX_FRUITLESS_RESTARTS) {
        token = "";
      } else if (hasStatus(error, 400) && fieldSelector !== "" && /field label/.test(error.message)) {
        // API servers before 1.31 do not support these field selectors: isSelected() selects instead.
        fieldSelector = "";
      } else if (error instanceof NetworkError && firstPage > PAGE_SIZE && last !== "") {
        // The API server ends an answer after a minute. A user who pages through the output takes longer; small pages are read by then.
        firstPage = PAGE_SIZE;
        token = "";
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
