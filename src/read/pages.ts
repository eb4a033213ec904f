/** Lists objects by pages with the user's own rights: piece by piece as they come, each once, whatever happens in the middle. */
import {
  hasStatus,
  type KubeApi,
  type KubeObject,
  namespacedName,
  NetworkError,
  type ResourceType,
} from "../kube/api.ts";
import { type ListBytes, listItems } from "../kube/list_items.ts";

/** What reads lists: a client of the API server. */
export type ReadApi = KubeApi & ListBytes;

/** How far a list is. */
export interface Progress {
  readonly read: number;
  /** What the API server says is still to come; undefined where it does not say. */
  readonly remaining: number | undefined;
}

/** What is listed, and how. */
export interface PagesOptions {
  /** The namespace of the request; absent: all. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly signal?: AbortSignal;
  /** Objects on a page; by default what suits the API server. */
  readonly pageSize?: number;
  /** Called as objects come. */
  readonly onPage?: (progress: Progress) => void;
  /** Adds to the objects of the lists before. */
  readonly counter?: ReadCounter;
}

/** Objects read so far. */
export interface ReadCounter {
  read: number;
}

const PAGE_SIZE = 500;
/** Twice the storage budget of a controller by default. */
const WHOLE_LIST = 100_000;
/** What is known of each API server. */
const pageSizes = new WeakMap<ReadApi, Promise<number>>();
/** Longest wait for the API server's version. */
const VERSION_DEADLINE_MS = 2_000;
/** A list is restarted after a 410; after this many restarts in a row without a new object it fails. */
const MAX_FRUITLESS_RESTARTS = 3;

/**
 * Objects on the first page. From Kubernetes 1.34 on, the API server answers the first page from its memory and sends it
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

function knownPageSize(api: ReadApi): Promise<number> {
  let known = pageSizes.get(api);
  if (!known) pageSizes.set(api, known = pageSizeOf(api));
  return known;
}

/**
 * The objects of a list. It starts again where it expires in its middle (410) or the API server ends a long answer; an API
 * server that does not support the field selector sends everything, which the caller then selects from. Throws the errors of
 * the client.
 */
export async function* pagesOf<T extends KubeObject>(
  api: ReadApi,
  type: ResourceType,
  { namespace, labelSelector, fieldSelector = "", signal, onPage, counter = { read: 0 }, ...options }:
    PagesOptions,
): AsyncGenerator<readonly T[]> {
  const pageSize = options.pageSize ?? await knownPageSize(api);
  let fields = fieldSelector;
  let firstPage = pageSize;
  let token = "";
  /** What there will be in all; undefined where the API server does not say. */
  let total: number | undefined;
  /** Key of the last object yielded. */
  let last = "";
  /** After a restart, objects up to this key are skipped: lists are sorted by key. */
  let known = "";
  let fruitless = 0;
  const where = () => ({
    ...(namespace === undefined ? {} : { namespace }),
    ...(labelSelector && { labelSelector }),
    ...(fields && { fieldSelector: fields }),
    ...(signal && { signal }),
  });
  for (;;) {
    try {
      if (onPage && firstPage > PAGE_SIZE && !labelSelector && fields === "") {
        const { items, metadata } = await api.list(type, { ...where(), limit: 1 });
        total = counter.read + items.length + (metadata.remainingItemCount ?? 0);
      }
      const pieces = listItems<T>(api, type, {
        ...where(),
        limit: token === "" ? firstPage : Math.min(pageSize, PAGE_SIZE),
        ...(token && { continue: token }),
      });
      for await (const { items, metadata } of pieces) {
        const fresh = known === "" ? items : items.filter((item) => namespacedName(item) > known);
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
      } else if (fields !== "" && isUnsupportedField(error)) {
        fields = "";
      } else if (error instanceof NetworkError && firstPage > PAGE_SIZE && last !== "") {
        // The API server ends an answer after a minute. A user who pages through the output takes longer; small pages are read by then.
        firstPage = PAGE_SIZE;
        token = "";
      } else throw error;
      known = last;
    }
  }
}

/** True where the API server does not support a field selector: before 1.31 none on fields of custom resources. */
export function isUnsupportedField(error: unknown): boolean {
  return hasStatus(error, 400) && /field label/.test(error.message);
}
