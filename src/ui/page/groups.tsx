/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Workloads, images, namespaces, sources or rules, worst first, with the tools that report each side by side. */
import { SEVERITIES } from "../../model/terms.ts";
import type { FindingFilter, GroupPage, GroupRow } from "../protocol.ts";
import { useAnswer } from "./answers.ts";
import { dayAgo, SeverityBar } from "./charts.tsx";
import { FilterBar } from "./filter_bar.tsx";
import { NothingStored, RuntimeMark } from "./overview.tsx";
import { CommandsMenu, Empty, Loaded, Pages, ViewHead } from "./parts.tsx";
import { hrefOf, queryOf, route, type View } from "./route.ts";
import { CountLink, numberText, sumOf, Time } from "./words.tsx";

const LIMIT = 50;
const GROUPINGS = [
  ["workloads", "Workload"],
  ["images", "Image"],
  ["namespaces", "Namespace"],
  ["sources", "Source"],
] as const;

/** Groups by workload, or by what the URL's `by` says. */
export function WorkloadsView() {
  const asked = route.value.extra.by;
  const [by, label] = GROUPINGS.find(([name]) => name === asked) ?? GROUPINGS[0];
  return <GroupsView view="workloads" by={by} label={label} title="Workloads" />;
}

/** Groups by rule: who has it. */
export function RulesView() {
  return <GroupsView view="rules" by="rules" label="Rule" title="Rules" />;
}

interface GroupsProps {
  readonly view: View;
  readonly by: string;
  readonly label: string;
  readonly title: string;
}

function GroupsView({ view, by, label, title }: GroupsProps) {
  const { filter, extra } = route.value;
  const offset = Number(extra.offset ?? 0) || 0;
  const query = queryOf(filter, { by, offset, limit: LIMIT });
  const answer = useAnswer<GroupPage>(`/api/groups?${query}`);
  const by_ = by === "workloads" || by === "rules" ? {} : { by };
  return (
    <>
      <ViewHead
        title={<>{title} {answer.data && <span class="total">{numberText(answer.data.total)}</span>}</>}
      >
        <CommandsMenu filter={filter} />
      </ViewHead>
      {view === "workloads" && (
        <nav class="tabs" aria-label="Group by">
          {GROUPINGS.map(([name, text]) => (
            <a
              key={name}
              href={hrefOf("workloads", filter, name === "workloads" ? {} : { by: name })}
              aria-current={name === by ? "true" : undefined}
            >
              by {text.toLowerCase()}
            </a>
          ))}
        </nav>
      )}
      <FilterBar />
      <Loaded answer={answer}>
        {({ rows, total }) =>
          total === 0
            ? Object.keys(filter).length === 0
              ? <NothingStored />
              : <Empty title={`No ${label.toLowerCase()} has a finding that matches`} />
            : (
              <>
                <GroupTable rows={rows} label={label} of={by} filter={filter} />
                <Pages
                  offset={offset}
                  limit={LIMIT}
                  total={total}
                  hrefAt={(next) =>
                    hrefOf(view, filter, { ...by_, ...(next > 0 ? { offset: String(next) } : {}) })}
                />
              </>
            )}
      </Loaded>
    </>
  );
}

interface TableProps {
  readonly rows: readonly GroupRow[];
  readonly label: string;
  readonly of: string;
  /** What the rows are restricted to, and so the lists behind their numbers. */
  readonly filter: FindingFilter;
}

function GroupTable({ rows, label, of, filter }: TableProps) {
  const most = Math.max(0, ...rows.map(({ counts }) => sumOf(counts)));
  const since = laterOf(filter.since, dayAgo());
  const resolvedSince = laterOf(filter.resolvedSince, dayAgo());
  return (
    <table class="groups">
      <thead>
        <tr>
          <th scope="col">{label}</th>
          <th scope="col" class="bar-column">Severities</th>
          {SEVERITIES.map((severity) => (
            <th key={severity} scope="col" class="right">
              <abbr title={severity}>{severity.slice(0, 1)}</abbr>
            </th>
          ))}
          <th scope="col" class="right">All</th>
          <th scope="col">{of === "sources" ? "Tool" : "Tools"}</th>
          <th scope="col" class="right">New 24 h</th>
          <th scope="col" class="right">Resolved 24 h</th>
          <th scope="col" class="right">Oldest</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => ({ ...row, filter: { ...filter, ...row.filter } })).map((row) => (
          <tr key={row.name} class={row.runtimeAndWeakness ? "stands-out" : undefined}>
            <th scope="row">
              <a class="break" href={hrefOf("findings", row.filter)}>{row.name || "(none)"}</a>
              {row.runtimeAndWeakness && <RuntimeMark />}
            </th>
            <td class="bar-column">
              <SeverityBar counts={row.counts} most={most} label={row.name} />
            </td>
            {SEVERITIES.map((severity) => (
              <td key={severity} class="right" data-label={severity.toLowerCase()}>
                <CountLink
                  count={row.counts[severity]}
                  filter={{ ...row.filter, severity }}
                  label={`${severity.toLowerCase()} of ${row.name}`}
                />
              </td>
            ))}
            <td class="right" data-label="all">
              <CountLink count={sumOf(row.counts)} filter={row.filter} label={`findings of ${row.name}`} />
            </td>
            <td class="tools" data-label="tools">
              {Object.entries(row.tools).map(([tool, count]) => (
                <a key={tool} class="tool" href={hrefOf("findings", { ...row.filter, source: tool })}>
                  {tool} <b>{numberText(count)}</b>
                </a>
              ))}
            </td>
            <td class="right" data-label="new 24 h">
              <CountLink
                count={row.new}
                filter={{ ...row.filter, phase: "all", since }}
                label={`new of ${row.name}`}
              />
            </td>
            <td class="right" data-label="resolved 24 h">
              <CountLink
                count={row.resolved}
                filter={{ ...row.filter, phase: "Resolved", resolvedSince }}
                label={`resolved of ${row.name}`}
              />
            </td>
            <td class="right nowrap" data-label="oldest">
              <Time at={row.oldest} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The later of two times. A length of time such as "7d", by which the server filters no list, counts as none. */
function laterOf(one: string | undefined, other: string): string {
  return one !== undefined && Date.parse(one) > Date.parse(other) ? one : other;
}
