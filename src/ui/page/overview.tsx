/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The first view: how much is open, where, since when, and what changed. */
import { SEVERITIES } from "../../model/terms.ts";
import type { FindingFilter, GroupRow, Overview } from "../protocol.ts";
import { useAnswer } from "./answers.ts";
import { AgesChart, dayAgo, DaysChart, SeverityBar, SeverityLegend } from "./charts.tsx";
import { state } from "./live.ts";
import { Empty, Loaded, Panel, ViewHead } from "./parts.tsx";
import { hrefOf } from "./route.ts";
import { CountLink, countText, numberText, SeverityWord, sumOf, Time } from "./words.tsx";

/** See the file. */
export function OverviewView() {
  const answer = useAnswer<Overview>("/api/overview");
  return (
    <>
      <ViewHead title="Overview" />
      <Loaded answer={answer}>
        {(overview) =>
          overview.total > 0 ? <Panels overview={overview} /> : (
            <>
              <NothingStored />
              <NewestReports />
            </>
          )}
      </Loaded>
    </>
  );
}

/** Says why there is nothing, as far as the page knows. */
export function NothingStored() {
  if (state.value && !state.value.listed.done) {
    return <Empty title="Reading the first findings…">They appear here as the API server sends them.</Empty>;
  }
  return (
    <Empty title="No findings are stored">
      Either no tool has reported anything yet, or you may not read it. <code>zen-watcher coverage</code>{" "}
      says which tools report.
    </Empty>
  );
}

function Panels({ overview }: { readonly overview: Overview }) {
  return (
    <>
      <Figures overview={overview} />
      <div class="columns">
        <div class="stack">
          <SourcesPanel overview={overview} />
          <WorstPanel rows={overview.worstWorkloads} />
        </div>
        <div class="stack">
          <Panel title="New and resolved, 30 days">
            <DaysChart perDay={overview.perDay} heldSince={overview.heldSince} />
          </Panel>
          <ChangedPanel overview={overview} />
          <Panel title="Age of open findings">
            <AgesChart ages={overview.ages} />
          </Panel>
        </div>
      </div>
    </>
  );
}

function Figures({ overview }: { readonly overview: Overview }) {
  const { phases, bySource } = overview;
  return (
    <ul class="figures" aria-label="Findings in figures">
      <li class="figure all">
        <a href={hrefOf("findings")}>
          <b>{numberText(phases.Active)}</b> <span>open</span>
        </a>
      </li>
      {SEVERITIES.map((severity) => {
        const count = bySource.reduce((sum, { counts }) => sum + counts[severity], 0);
        return (
          <li key={severity} class={`figure ${severity.toLowerCase()}`}>
            <a href={hrefOf("findings", { severity })}>
              <b>{numberText(count)}</b> <span>{severity.toLowerCase()}</span>
            </a>
          </li>
        );
      })}
      <li class="figure quiet">
        <a href={hrefOf("findings", { phase: "Accepted" })}>
          <b>{numberText(phases.Accepted)}</b> <span>accepted</span>
        </a>
      </li>
      <li class="figure quiet">
        <a href={hrefOf("findings", { phase: "Resolved" })}>
          <b>{numberText(phases.Resolved)}</b> <span>resolved</span>
        </a>
      </li>
    </ul>
  );
}

function SourcesPanel({ overview }: { readonly overview: Overview }) {
  const { bySource } = overview;
  const most = Math.max(0, ...bySource.map(({ counts }) => sumOf(counts)));
  return (
    <Panel title="Open by severity and source" aside={<SeverityLegend />}>
      <table class="bars">
        <thead>
          <tr>
            <th scope="col">Source</th>
            <th scope="col">Severities</th>
            {SEVERITIES.map((severity) => (
              <th key={severity} scope="col" class="right figure-column">
                <abbr title={severity}>{severity.slice(0, 1)}</abbr>
              </th>
            ))}
            <th scope="col" class="right">Open</th>
            <th scope="col" class="right">Last spoke</th>
          </tr>
        </thead>
        <tbody>
          {bySource.map(({ source, counts, lastSeenAt }) => (
            <tr key={source}>
              <th scope="row">
                <a href={hrefOf("findings", { source })}>{source}</a>
              </th>
              <td class="bar">
                <SeverityBar counts={counts} most={most} label={source} />
              </td>
              {SEVERITIES.map((severity) => (
                <td key={severity} class="right figure-column">
                  <CountLink
                    count={counts[severity]}
                    filter={{ source, severity }}
                    label={`${severity.toLowerCase()} of ${source}`}
                  />
                </td>
              ))}
              <td class="right">
                <CountLink count={sumOf(counts)} filter={{ source }} label={`open of ${source}`} />
              </td>
              <td class="right nowrap">
                <Time at={lastSeenAt} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <NewestReports />
    </Panel>
  );
}

/** When each source made its newest report; its line is there before the times are, so that nothing moves. */
function NewestReports() {
  const reports = state.value?.reports;
  if (!reports) return null;
  const { newest, read, readAt, missing, cut, problem } = reports;
  const times = Object.entries(newest).sort(([, one], [, other]) => one < other ? 1 : -1);
  return (
    <p class="note">
      Newest reports: {times.map(([source, at], index) => (
        <span key={source}>
          {index > 0 && ", "}
          {source} <Time at={at} />
        </span>
      ))}
      {readAt !== "" ? times.length === 0 && "none" : ` reading, ${numberText(read)} so far`}.
      {problem && ` ${problem}.`}
      {cut.length > 0 && ` Of ${cut.join(" and ")} not all reports are read.`}
      {missing.length > 0 && (
        <span title={missing.join(", ")}>
          {` You may not ${missing[0]}${missing.length > 1 ? `, and ${missing.length - 1} more` : ""}.`}
        </span>
      )}
    </p>
  );
}

function WorstPanel({ rows }: { readonly rows: readonly GroupRow[] }) {
  const most = Math.max(0, ...rows.map(({ counts }) => sumOf(counts)));
  return (
    <Panel title="Worst workloads" aside={<a href={hrefOf("workloads")}>All workloads</a>}>
      {rows.length === 0 ? <p class="faint">No open finding names a workload.</p> : (
        <table class="bars">
          <thead>
            <tr>
              <th scope="col">Workload</th>
              <th scope="col">Severities</th>
              <th scope="col" class="right">Tools</th>
              <th scope="col" class="right">Open</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.name}>
                <th scope="row" class="cut">
                  <span>
                    <a href={hrefOf("findings", row.filter)} title={row.name}>{row.name}</a>
                    {row.runtimeAndWeakness && <RuntimeMark />}
                  </span>
                </th>
                <td class="bar">
                  <SeverityBar counts={row.counts} most={most} label={row.name} />
                </td>
                <td class="right">
                  <a
                    class="number"
                    href={hrefOf("workloads", row.filter, { by: "sources" })}
                    aria-label={`${countText(Object.keys(row.tools).length, "tool")} of ${row.name}`}
                  >
                    {Object.keys(row.tools).length}
                  </a>
                </td>
                <td class="right">
                  <CountLink count={sumOf(row.counts)} filter={row.filter} label={`open of ${row.name}`} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

/** Marks a workload that has a runtime alert beside a weakness. */
export function RuntimeMark() {
  return (
    <span class="mark" title="A runtime alert and a vulnerability or misconfiguration of the same workload">
      alert + weakness
    </span>
  );
}

function ChangedPanel({ overview }: { readonly overview: Overview }) {
  const { changed, expiringExceptions } = overview;
  const since = dayAgo();
  const lists: Readonly<Record<keyof Overview["changed"], FindingFilter>> = {
    new: { phase: "all", since },
    resolved: { phase: "Resolved", resolvedSince: since },
    reopened: { phase: "all", reopenedSince: since },
    accepted: { phase: "Accepted", acceptedSince: since },
  };
  return (
    <Panel title="Since yesterday">
      <dl class="changed">
        {Object.entries(lists).map(([what, filter]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>
              <CountLink
                count={changed[what as keyof typeof lists]}
                filter={filter}
                label={`${what} since yesterday`}
              />
            </dd>
          </div>
        ))}
      </dl>
      {expiringExceptions > 0 && (
        <p class="note">
          <a href={hrefOf("exceptions")}>{countText(expiringExceptions, "exception")}</a> will expire soon.
        </p>
      )}
    </Panel>
  );
}

/** The severities of a row as words and numbers, for narrow lists. */
export function SeverityCounts({ counts }: { readonly counts: GroupRow["counts"] }) {
  return (
    <span class="severity-counts">
      {SEVERITIES.filter((severity) => counts[severity] > 0).map((severity) => (
        <span key={severity}>
          <SeverityWord severity={severity} /> {numberText(counts[severity])}
        </span>
      ))}
    </span>
  );
}
