/** What the page shows, kept in the URL's query: the view, the filter, the order and the object. */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
import { signal } from "@preact/signals";
import type { FindingFilter } from "../protocol.ts";

/** The views, in the order of the navigation; `finding` and `accept` are reached by links alone. */
export const VIEWS = [
  "overview",
  "workloads",
  "rules",
  "findings",
  "exceptions",
  "finding",
  "accept",
] as const;
export type View = typeof VIEWS[number];

/** The keys of a filter, in the order in which the URL has them. */
const FILTER_KEYS = [
  "severity",
  "source",
  "namespace",
  "workload",
  "rule",
  "image",
  "category",
  "kind",
  "resource",
  "type",
  "exception",
  "phase",
  "text",
  "since",
  "until",
  "resolvedSince",
  "resolvedUntil",
  "reopenedSince",
  "acceptedSince",
] as const satisfies readonly (keyof FindingFilter)[];

/** What the URL says beside view and filter. */
export interface Extra {
  readonly sort?: string;
  readonly order?: string;
  readonly by?: string;
  readonly offset?: string;
  /** The namespace that a finding is stored in, and its name. */
  readonly in?: string;
  readonly name?: string;
}
const EXTRA_KEYS = [
  "sort",
  "order",
  "by",
  "offset",
  "in",
  "name",
] as const satisfies readonly (keyof Extra)[];

/** A place in the page. */
export interface Route {
  readonly view: View;
  readonly filter: FindingFilter;
  readonly extra: Extra;
}

/** The place that the address bar shows. */
export const route = signal<Route>(read(location.search));
/** Each navigation by link or history: its number, and the id of the element that takes the focus. */
export const visit = signal({ count: 0, focus: "view-title" });

/** The scroll position to restore when the list of a visited place is there again. */
let scrollWanted: number | undefined;

function read(search: string): Route {
  const query = new URLSearchParams(search);
  const asked = query.get("view");
  return {
    view: VIEWS.find((view) => view === asked) ?? "overview",
    filter: pick(query, FILTER_KEYS),
    extra: pick(query, EXTRA_KEYS),
  };
}

function pick<K extends string>(query: URLSearchParams, keys: readonly K[]): Partial<Record<K, string>> {
  const found: Partial<Record<K, string>> = {};
  for (const key of keys) {
    const value = query.get(key);
    if (value) found[key] = value;
  }
  return found;
}

/** A filter and what is beside it as a query, without `?`. */
export function queryOf(
  filter: FindingFilter,
  extra: Readonly<Record<string, string | number | undefined>> = {},
): string {
  const query = new URLSearchParams();
  for (const key of FILTER_KEYS) {
    if (filter[key]) query.set(key, filter[key]);
  }
  for (const [key, value] of Object.entries(extra)) {
    if (value !== undefined && value !== "") query.set(key, String(value));
  }
  return query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%2F", "/");
}

/** The address of a place. */
export function hrefOf(view: View, filter: FindingFilter = {}, extra: Extra = {}): string {
  const query = queryOf(filter, { ...extra });
  if (view === "overview") return query ? `/?${query}` : "/";
  return `/?view=${view}${query ? `&${query}` : ""}`;
}

/** A value escaped for a filter's key, so that a comma in it separates nothing. */
export function oneValue(value: string): string {
  return value.replace(/[\\,]/g, "\\$&");
}

/** The values that a filter's key joins. */
export function valuesOf(joined: string | undefined): string[] {
  return Array.from((joined ?? "").matchAll(/(?:\\.|[^\\,])+/gs), ([part]) => part.replace(/\\(.)/gs, "$1"));
}

/** The address of one finding. */
export function findingHref(finding: { readonly storedIn: string; readonly name: string }): string {
  return hrefOf("finding", {}, { in: finding.storedIn, name: finding.name });
}

/** Goes to an address of the page; `replace` leaves no entry in the history and the focus where it is. */
export function go(href: string, { replace = false, focus = "view-title" } = {}): void {
  if (replace) {
    history.replaceState(history.state, "", href);
    route.value = read(location.search);
    return;
  }
  rememberScroll();
  history.pushState({}, "", href);
  arrive(0, focus);
}

/** Changes the filter of the list that is shown; `undefined` takes a key away. */
export function refine(
  change: { readonly [K in keyof FindingFilter]?: string | undefined },
  { replace = false } = {},
): void {
  const { view, filter, extra } = route.value;
  const next = Object.fromEntries(Object.entries({ ...filter, ...change }).filter(([, value]) => value));
  const { offset: _, ...rest } = extra;
  const href = hrefOf(view, next, rest);
  if (replace) return go(href, { replace: true });
  rememberScroll();
  history.pushState({}, "", href);
  route.value = read(location.search);
}

function rememberScroll(): void {
  history.replaceState({ scroll: scrollY }, "");
}

function arrive(scroll: number, focus = "view-title"): void {
  scrollWanted = scroll;
  route.value = read(location.search);
  visit.value = { count: visit.value.count + 1, focus };
}

/** Scrolls to the saved position once the view is high enough for it. Views call it when their data has loaded. */
export function restoreScroll(): void {
  if (scrollWanted === undefined) return;
  const top = scrollWanted;
  if (document.documentElement.scrollHeight < top + innerHeight && top > 0) return;
  scrollWanted = undefined;
  scrollTo(0, top);
}

/** Follows links within the page, and the browser's back and forward. */
export function followLinks(): void {
  history.scrollRestoration = "manual";
  addEventListener("popstate", ({ state }) => arrive(Number(state?.scroll ?? 0)));
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const href = link?.getAttribute("href");
    if (!link || !href || link.target || !(href === "/" || href.startsWith("/?"))) return;
    event.preventDefault();
    go(href);
  });
}
