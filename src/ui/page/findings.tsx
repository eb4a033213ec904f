/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The list of findings: only the rows that are on the screen are elements, whatever the length. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { SEVERITIES } from "../../model/terms.ts";
import type { FindingFilter, FindingPage, FindingRow } from "../protocol.ts";
import { FilterBar } from "./filter_bar.tsx";
import { state } from "./live.ts";
import { NothingStored } from "./overview.tsx";
import { announcement, CommandsMenu, Empty, ProblemNote, ViewHead } from "./parts.tsx";
import { findingHref, go, hrefOf, queryOf, restoreScroll, route } from "./route.ts";
import { useRows } from "./rows.ts";
import { messageOf, request } from "./session.ts";
import { countText, localText, numberText, PhaseWord, SeverityWord, Time } from "./words.tsx";

const DEFAULT_SORT = "severity";
/** Rows beyond the screen that are there already when it scrolls. */
const SPARE = 12;
const PRINT_MOST = 5_000;
const PRINT_CHUNK = 200;

interface Column {
  readonly key: string;
  readonly label: string;
  readonly sort?: string;
}
const COLUMNS: readonly Column[] = [
  { key: "severity", label: "Severity", sort: "severity" },
  { key: "rule", label: "Rule", sort: "rule" },
  { key: "where", label: "Where", sort: "workload" },
  { key: "message", label: "Message" },
  { key: "source", label: "Source", sort: "source" },
  { key: "count", label: "Seen", sort: "occurrences" },
  { key: "first", label: "First seen", sort: "firstSeenAt" },
  { key: "last", label: "Last seen", sort: "lastSeenAt" },
];

/** See the file. */
export function FindingsView() {
  const { filter, extra } = route.value;
  const sort = extra.sort ?? DEFAULT_SORT;
  const order = extra.order ?? defaultOrder(sort);
  const query = queryOf(filter, { sort, order });
  const { rows, show } = useRows(query);
  const [printing, setPrinting] = useState(false);
  const { total, counts, error } = rows;
  useEffect(() => {
    if (total !== undefined) announcement.value = countText(total, "finding");
  }, [total]);
  return (
    <>
      <ViewHead title={<>Findings {total !== undefined && <span class="total">{numberText(total)}</span>}</>}>
        <AcceptLink filter={filter} />
        <button type="button" disabled={!total || printing} onClick={() => setPrinting(true)}>
          {printing ? "Preparing…" : "Print"}
        </button>
        <CommandsMenu filter={filter} />
      </ViewHead>
      <FilterBar />
      {error !== undefined && <ProblemNote text={error} />}
      {total === 0 && rows.query === query ? <NoMatch filter={filter} /> : (
        <Grid
          query={query}
          total={total ?? 0}
          ready={total !== undefined}
          old={rows.query !== query}
          sort={sort}
          order={order}
          rowAt={(index) => rows.rowAt(index)}
          show={show}
        />
      )}
      {printing && <PrintList query={query} counts={counts} done={() => setPrinting(false)} />}
    </>
  );
}

/** Offers to accept a rule or workload that the list is restricted to. */
function AcceptLink({ filter }: { readonly filter: FindingFilter }) {
  const { rule, workload, source, namespace } = filter;
  if (!rule || !state.value?.mayAccept.length) return null;
  const scope = {
    rule,
    ...(workload && { workload }),
    ...(source && { source }),
    ...(namespace && { namespace }),
  };
  return <a class="button" href={hrefOf("accept", scope)}>Accept this risk…</a>;
}

function NoMatch({ filter }: { readonly filter: FindingFilter }) {
  if (Object.keys(filter).length === 0 && state.value?.listed.done === false) return <NothingStored />;
  const others = { ...filter, phase: "all" };
  return (
    <Empty title="No finding matches">
      {(filter.phase ?? "Active") !== "all" && (
        <>
          Only {(filter.phase ?? "Active") === "Active" ? "open" : "some"} findings are listed:{" "}
          <a href={hrefOf("findings", others)}>look in every phase</a>, or{" "}
        </>
      )}
      <a href={hrefOf("findings")}>list all that is open</a>.
    </Empty>
  );
}

function defaultOrder(sort: string): "asc" | "desc" {
  return ["rule", "workload", "source", "namespace"].includes(sort) ? "asc" : "desc";
}

interface GridProps {
  readonly query: string;
  readonly total: number;
  readonly ready: boolean;
  readonly old: boolean;
  readonly sort: string;
  readonly order: string;
  readonly rowAt: (index: number) => FindingRow | undefined;
  readonly show: (first: number, last: number) => void;
}

function Grid({ query, total, ready, old, sort, order, rowAt, show }: GridProps) {
  const body = useRef<HTMLDivElement>(null);
  const probe = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState({ first: 0, last: 30 });
  const [cursor, setCursor] = useState(0);
  // The row of the last key, which may not be drawn yet.
  const pointed = useRef(0);
  const [rowHeight, setRowHeight] = useState(36);

  useLayoutEffect(() => {
    const element = probe.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setRowHeight(element.offsetHeight || 36));
    observer.observe(element);
    setRowHeight(element.offsetHeight || 36);
    return () => observer.disconnect();
  }, []);
  // Before the browser paints, so that it takes back no key that follows at once.
  useLayoutEffect(() => {
    point(0);
  }, [query]);
  useEffect(() => {
    let frame = 0;
    function measure() {
      frame = 0;
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(0, Math.floor(-top / rowHeight) - SPARE);
      const last = Math.max(0, Math.min(total - 1, Math.ceil((innerHeight - top) / rowHeight) + SPARE));
      setRange((range) =>
        range.first === first && range.last === last ? range : { first: Math.min(first, last), last }
      );
    }
    function later() {
      frame ||= requestAnimationFrame(measure);
    }
    measure();
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later, { passive: true });
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", later);
      removeEventListener("resize", later);
    };
  }, [total, rowHeight]);
  useEffect(() => show(range.first, range.last), [query, range.first, range.last]);
  useEffect(() => {
    if (ready) restoreScroll();
  }, [ready, rowHeight]);

  const lastRow = Math.max(0, total - 1);
  function point(index: number) {
    pointed.current = index;
    setCursor(index);
  }
  function move(next: number) {
    const index = Math.max(0, Math.min(lastRow, next));
    point(index);
    reveal(body.current, index, rowHeight);
  }
  function keys(event: KeyboardEvent) {
    if (event.target !== event.currentTarget || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(innerHeight / rowHeight) - 4);
    const at = Math.min(pointed.current, lastRow);
    const next = nextIndex(event.key, { at, page, total });
    const row = rowAt(at);
    if (next !== undefined) move(next);
    else if (event.key === "Enter" && row) go(findingHref(row));
    else return;
    event.preventDefault();
  }

  const at = Math.min(cursor, lastRow);
  // A row that leaves the screen on one side is the element of the one that comes on the other.
  const slots = Math.ceil(innerHeight / rowHeight) + 2 * SPARE + 2;
  const shown: number[] = [];
  for (let index = range.first; index <= Math.min(range.last, total - 1); index++) shown.push(index);
  return (
    <div
      class={`grid ${old ? "old" : ""}`}
      role="grid"
      aria-label="Findings"
      aria-rowcount={total + 1}
      aria-busy={old || !ready}
      tabIndex={0}
      aria-activedescendant={at >= range.first && at <= range.last && total > 0 ? `row-${at}` : undefined}
      onKeyDown={keys}
    >
      <div class="grid-head" role="rowgroup">
        <div class="grid-row" role="row" aria-rowindex={1}>
          {COLUMNS.map((column) => <HeadCell key={column.key} column={column} sort={sort} order={order} />)}
        </div>
      </div>
      <div class="grid-body" role="rowgroup" ref={body} style={{ height: `${total * rowHeight}px` }}>
        <div class="grid-row probe" ref={probe} aria-hidden="true" />
        <div
          class="window"
          role="presentation"
          style={{ transform: `translateY(${range.first * rowHeight}px)` }}
        >
          {shown.map((index) => (
            <Row
              key={index % slots}
              index={index}
              row={rowAt(index)}
              active={index === at}
              point={() => point(index)}
            />
          ))}
        </div>
      </div>
      {!ready && <p class="wait">Loading…</p>}
    </div>
  );
}

function nextIndex(
  key: string,
  { at, page, total }: { readonly at: number; readonly page: number; readonly total: number },
): number | undefined {
  switch (key) {
    case "ArrowDown":
    case "j":
      return at + 1;
    case "ArrowUp":
    case "k":
      return at - 1;
    case "PageDown":
      return at + page;
    case "PageUp":
      return at - page;
    case "Home":
      return 0;
    case "End":
      return total - 1;
  }
  return undefined;
}

/** Scrolls so that a row is on the screen, under the head that stays at its top. */
function reveal(body: HTMLElement | null, index: number, rowHeight: number): void {
  if (!body) return;
  const head = body.previousElementSibling instanceof HTMLElement
    ? body.previousElementSibling.offsetHeight
    : 0;
  const bar = document.querySelector<HTMLElement>(".status-bar")?.offsetHeight ?? 0;
  const top = body.getBoundingClientRect().top + index * rowHeight;
  if (top < head) scrollBy(0, top - head);
  else if (top + rowHeight > innerHeight - bar) scrollBy(0, top + rowHeight - innerHeight + bar);
}

function HeadCell(
  { column, sort, order }: { readonly column: Column; readonly sort: string; readonly order: string },
) {
  const { key, label } = column;
  if (column.sort === undefined) return <div class={`cell ${key}`} role="columnheader">{label}</div>;
  const on = column.sort === sort;
  const natural = defaultOrder(column.sort);
  const next = on ? (order === "asc" ? "desc" : "asc") : natural;
  const { filter } = route.value;
  const href = hrefOf("findings", filter, {
    ...(column.sort === DEFAULT_SORT ? {} : { sort: column.sort }),
    ...(next === natural ? {} : { order: next }),
  });
  return (
    <div
      class={`cell ${key}`}
      role="columnheader"
      aria-sort={on ? (order === "asc" ? "ascending" : "descending") : "none"}
    >
      <button type="button" onClick={() => go(href, { replace: true })}>
        {label}
        {on && <span aria-hidden="true">{order === "asc" ? "↑" : "↓"}</span>}
      </button>
    </div>
  );
}

interface RowProps {
  readonly index: number;
  readonly row: FindingRow | undefined;
  readonly active: boolean;
  readonly point: () => void;
}

function Row({ index, row, active, point }: RowProps) {
  const place = { id: `row-${index}`, "aria-rowindex": index + 2, "aria-selected": active };
  if (!row) {
    return (
      <div class="grid-row empty-row" role="row" {...place}>
        <div class="cell message" role="gridcell">…</div>
      </div>
    );
  }
  const { severity, rule, message, source, occurrences, firstSeenAt, lastSeenAt, phase } = row;
  return (
    <div class={`grid-row ${active ? "active" : ""}`} role="row" onPointerDown={point} {...place}>
      <div class="cell severity" role="gridcell">
        <SeverityWord severity={severity} />
      </div>
      <div class="cell rule" role="gridcell">
        <a href={findingHref(row)} tabIndex={-1} title={rule || row.eventType}>{rule || row.eventType}</a>
        {phase !== "Active" && <PhaseWord phase={phase} />}
      </div>
      <div class="cell where" role="gridcell" title={whereText(row)}>
        {row.namespace && <span class="faint">{row.namespace}/</span>}
        <span>{row.workload || row.resource || "–"}</span>
      </div>
      <div class="cell message" role="gridcell" title={message}>{message}</div>
      <div class="cell source" role="gridcell">{source}</div>
      <div class="cell count" role="gridcell">{occurrences > 1 ? `${numberText(occurrences)}×` : ""}</div>
      <div class="cell first" role="gridcell">
        <Time at={firstSeenAt} />
      </div>
      <div class="cell last" role="gridcell">
        <Time at={lastSeenAt} />
      </div>
    </div>
  );
}

/** Kind, namespace and name of what is affected. */
function whereText({ kind, namespace, resource, image }: FindingRow): string {
  const place = [namespace, resource].filter((part) => part !== "").join("/");
  return [kind, place, image].filter((part) => part !== "").join(" · ");
}

/** A short list of findings without a filter, as a plain table. */
export function FindingTable({ rows }: { readonly rows: readonly FindingRow[] }) {
  return (
    <table class="plain findings">
      <thead>
        <tr>
          <th scope="col">Severity</th>
          <th scope="col">Rule</th>
          <th scope="col" class="wide-only">Message</th>
          <th scope="col">Source</th>
          <th scope="col">Phase</th>
          <th scope="col" class="wide-only right">Last seen</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={`${row.storedIn}/${row.name}`}>
            <td>
              <SeverityWord severity={row.severity} />
            </td>
            <td class="break">
              <a href={findingHref(row)}>{row.rule || row.eventType}</a>
            </td>
            <td class="wide-only break">{row.message}</td>
            <td>{row.source}</td>
            <td>
              <PhaseWord phase={row.phase} />
            </td>
            <td class="wide-only right nowrap">
              <Time at={row.lastSeenAt} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** All rows of a list on paper: fetches them, prints, and goes away. */
function PrintList(
  { query, counts, done }: {
    readonly query: string;
    readonly counts: FindingPage["counts"] | undefined;
    readonly done: () => void;
  },
) {
  const [rows, setRows] = useState<readonly FindingRow[]>();
  const [problem, setProblem] = useState("");
  const total = useRef(0);
  useEffect(() => {
    const controller = new AbortController();
    async function load() {
      const loaded: FindingRow[] = [];
      for (let more = true; more && loaded.length < PRINT_MOST;) {
        const path = `/api/findings?${query}&offset=${loaded.length}&limit=${PRINT_CHUNK}`;
        const page = await request<FindingPage>(path, controller);
        loaded.push(...page.rows);
        total.current = page.total;
        more = page.rows.length > 0 && loaded.length < page.total;
      }
      setRows(loaded);
    }
    load().catch((error) => controller.signal.aborted || setProblem(messageOf(error)));
    return () => controller.abort();
  }, [query]);
  useEffect(() => {
    if (!rows) return;
    addEventListener("afterprint", done, { once: true });
    requestAnimationFrame(() => print());
    return () => removeEventListener("afterprint", done);
  }, [rows]);
  if (problem) return <ProblemNote text={problem} />;
  if (!rows) return <p class="wait">Reading the rows to print…</p>;
  return (
    <section class="paper" aria-label="List to print">
      <p>
        {countText(total.current, "finding")}
        {counts && ` (${SEVERITIES.map((severity) => `${counts[severity]} ${severity}`).join(", ")})`},{" "}
        {localText(Date.now())} (times in {Intl.DateTimeFormat().resolvedOptions().timeZone}),{" "}
        {state.value?.context ?? ""} {state.value?.server ?? ""}. Filter: {queryText()}.
        {rows.length < total.current &&
          ` The first ${numberText(rows.length)} are printed: \`kubectl zen export\` writes them all.`}
      </p>
      <table class="plain">
        <thead>
          <tr>
            {["Severity", "Rule", "Where", "Message", "Source", "Seen", "First seen", "Last seen", "Phase"]
              .map((label) => <th key={label} scope="col">{label}</th>)}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={`${row.storedIn}/${row.name}`}>
              <td>{row.severity}</td>
              <td>{row.rule || row.eventType}</td>
              <td>{whereText(row)}</td>
              <td>{row.message}</td>
              <td>{row.source}</td>
              <td>{row.occurrences}</td>
              <td>
                <Time at={row.firstSeenAt} as="date" />
              </td>
              <td>
                <Time at={row.lastSeenAt} as="date" />
              </td>
              <td>{row.phase}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function queryText(): string {
  const { filter } = route.value;
  const parts = Object.entries({ phase: "Active", ...filter }).map(([key, value]) => `${key}=${value}`);
  return parts.join(", ");
}
