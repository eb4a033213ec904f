/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** What is accepted: by whom, why, until when, how many findings it matches; and the way back. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { DAY_MS } from "../../model/time.ts";
import type { ExceptionList, ExceptionMatch, ExceptionRow } from "../protocol.ts";
import { useAnswer } from "./answers.ts";
import { state } from "./live.ts";
import { announcement, Empty, Loaded, ProblemNote, ViewHead } from "./parts.tsx";
import { hrefOf, oneValue, route } from "./route.ts";
import { messageOf, request } from "./session.ts";
import { CountLink, countText, LinkedText, numberText, Time } from "./words.tsx";

const SOON_MS = 14 * DAY_MS;

/** Reasons as the API has them, and as sentences. */
export const REASON_WORDS: Readonly<Record<string, string>> = {
  accepted_risk: "Accepted risk",
  false_positive: "False positive",
  mitigated: "Mitigated otherwise",
  not_affected: "Not affected",
  fix_planned: "Fix is planned",
};

/** See the file. */
export function ExceptionsView() {
  const answer = useAnswer<ExceptionList>("/api/exceptions");
  const [undone, setUndone] = useState<ReadonlySet<string>>(new Set());
  return (
    <>
      <ViewHead
        title={
          <>Exceptions {answer.data && <span class="total">{numberText(answer.data.rows.length)}</span>}</>
        }
      >
        {state.value?.mayAccept.length ? <a class="button" href={hrefOf("accept")}>Accept a risk…</a> : null}
      </ViewHead>
      <Loaded answer={answer}>
        {({ served, rows }) => {
          const left = rows.filter((row) => !undone.has(keyOf(row)));
          if (!served) {
            return (
              <Empty title="Exceptions cannot be read here">
                The cluster does not serve ObservationException, or you may not list it. The notes at the top
                say which.
              </Empty>
            );
          }
          if (left.length === 0) {
            return (
              <Empty title="Nothing is accepted">
                An exception keeps a finding out of the open ones until a day you name.
              </Empty>
            );
          }
          return <ExceptionTable rows={left} undo={(row) => setUndone(new Set([...undone, keyOf(row)]))} />;
        }}
      </Loaded>
    </>
  );
}

function keyOf({ namespace, name, createdAt }: ExceptionRow): string {
  return `${namespace}/${name}/${createdAt}`;
}

function ExceptionTable(
  { rows, undo }: { readonly rows: readonly ExceptionRow[]; readonly undo: (row: ExceptionRow) => void },
) {
  return (
    <table class="groups exceptions">
      <thead>
        <tr>
          <th scope="col">Until</th>
          <th scope="col">Exception</th>
          <th scope="col">Accepts</th>
          <th scope="col">Why</th>
          <th scope="col" class="right">Matched</th>
          <th scope="col">Ready</th>
          <th scope="col">
            <span class="unseen">Undo</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => <ExceptionLine key={keyOf(row)} row={row} undo={undo} />)}
      </tbody>
    </table>
  );
}

function ExceptionLine(
  { row, undo }: { readonly row: ExceptionRow; readonly undo: (row: ExceptionRow) => void },
) {
  const { extra } = route.value;
  const line = useRef<HTMLTableRowElement>(null);
  const named = extra.in === row.namespace && extra.name === row.name;
  useEffect(() => {
    if (named) line.current?.scrollIntoView({ block: "nearest" });
  }, [named]);
  const leftMs = Date.parse(row.expiresAt) - Date.now();
  return (
    <tr ref={line} class={named ? "stands-out" : undefined}>
      <td class={`nowrap ${leftMs < 0 ? "over" : leftMs < SOON_MS ? "soon" : ""}`}>
        <Time at={row.expiresAt} as="date" />
        <span class="under">
          <Time at={row.expiresAt} />
        </span>
      </td>
      <th scope="row" class="break">
        {row.name}
        <span class="under">{row.namespace}</span>
      </th>
      <td class="break">
        <MatchWords match={row.match} onlyWhileNoFix={row.onlyWhileNoFix} />
      </td>
      <td class="break why">
        <b>{REASON_WORDS[row.reason] ?? row.reason}</b>
        <span class="justification">{row.justification}</span>
        <span class="under">
          {row.acceptedBy && <>accepted by {row.acceptedBy}{" "}</>}
          {row.ticket && (
            <>
              ticket <LinkedText text={row.ticket} />
            </>
          )}
        </span>
      </td>
      <td class="right" data-label="matched">
        <CountLink
          count={row.matched}
          filter={{ phase: "Accepted", exception: oneValue(`${row.namespace}/${row.name}`) }}
          label={`accepted by ${row.name}`}
        />
      </td>
      <td class="break" data-label="ready">
        {row.ready === "True"
          ? <span class="ok">Yes</span>
          : row.ready === "False"
          ? <span class="over">No</span>
          : <span class="soon nowrap">Not yet</span>}
        {row.ready !== "True" && row.readyMessage && <span class="under">{row.readyMessage}</span>}
      </td>
      <td class="right">{row.mayDelete && <Undo row={row} done={() => undo(row)} />}</td>
    </tr>
  );
}

/** What an exception matches, in words. */
function MatchWords(
  { match, onlyWhileNoFix }: { readonly match: ExceptionMatch; readonly onlyWhileNoFix: boolean },
) {
  const parts: (readonly [string, readonly string[] | undefined])[] = [
    ["rule", match.rules],
    ["workload", match.workloads],
    ["resource", match.resources?.map(({ kind, name }) => `${kind} ${name}`)],
    ["source", match.sources],
    ["severity", match.severities],
  ];
  return (
    <>
      {parts.map(([name, values]) =>
        values?.length
          ? (
            <span key={name} class="match">
              <span class="faint">{name}</span> {values.join(", ")}
            </span>
          )
          : null
      )}
      {onlyWhileNoFix && <span class="match faint">only while there is no fix</span>}
    </>
  );
}

function Undo({ row, done }: { readonly row: ExceptionRow; readonly done: () => void }) {
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const asked = useRef(false);
  const opener = useRef<HTMLButtonElement>(null);
  const first = useRef<HTMLButtonElement>(null);
  // Before the browser paints: the next key belongs to what the page shows, however fast it follows.
  useLayoutEffect(() => {
    if (asking) first.current?.focus();
    else if (asked.current) opener.current?.focus();
    asked.current = asking;
  }, [asking]);
  async function remove() {
    setBusy(true);
    try {
      await request(`/api/exceptions/${encodeURIComponent(row.namespace)}/${encodeURIComponent(row.name)}`, {
        method: "DELETE",
      });
      announcement.value = `The exception ${row.name} is deleted.`;
      done();
    } catch (error) {
      setProblem(messageOf(error));
      setBusy(false);
    }
  }
  if (!asking) {
    return (
      <button
        type="button"
        ref={opener}
        aria-label={`Undo ${row.name}…`}
        onClick={() => setAsking(true)}
      >
        Undo…
      </button>
    );
  }
  return (
    <div
      class="confirm"
      role="group"
      aria-label={`Undo ${row.name}`}
      onKeyDown={(event) => {
        if (event.key === "Escape") setAsking(false);
      }}
    >
      <p>
        {row.matched === 0 ? "No finding opens again." : `${countText(row.matched, "finding")} open again.`}
      </p>
      {problem && <ProblemNote text={problem} />}
      <button type="button" ref={first} class="danger" disabled={busy} onClick={() => void remove()}>
        Delete the exception
      </button>
      <button type="button" onClick={() => setAsking(false)}>Keep it</button>
    </div>
  );
}
