/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** One finding: what it says, where, since when, what became of it, and what else its workload has. */
import type { FindingDetail, FindingRow } from "../protocol.ts";
import { useAnswer } from "./answers.ts";
import { FindingTable } from "./findings.tsx";
import { state } from "./live.ts";
import { CommandPair, Copyable, Empty, Panel, ProblemNote, ViewHead } from "./parts.tsx";
import { hrefOf, oneValue, route } from "./route.ts";
import { CountLink, LinkedText, numberText, PhaseWord, SeverityWord, Time } from "./words.tsx";

const MOST_DETAILS = 200;
const DEEPEST = 6;

/** See the file. */
export function FindingView() {
  const { extra } = route.value;
  const path = `/api/findings/${encodeURIComponent(extra.in ?? "")}/${encodeURIComponent(extra.name ?? "")}`;
  const { data, error, loading } = useAnswer<FindingDetail>(extra.in && extra.name ? path : undefined);
  const detail = data?.row.name === extra.name && data?.row.storedIn === extra.in ? data : undefined;
  if (!extra.in || !extra.name) return <Empty title="The address names no finding" />;
  return (
    <article>
      <ViewHead title={detail ? <Title row={detail.row} /> : "Finding"}>
        {detail && <Actions row={detail.row} />}
      </ViewHead>
      {error !== undefined && <ProblemNote text={error} />}
      {detail ? <Detail detail={detail} /> : loading && <p class="wait">Loading…</p>}
    </article>
  );
}

function Title({ row }: { readonly row: FindingRow }) {
  return (
    <>
      <SeverityWord severity={row.severity} /> <span class="break">{row.rule || row.eventType}</span>
    </>
  );
}

function Actions({ row }: { readonly row: FindingRow }) {
  return (
    <>
      {row.phase !== "Active" && <PhaseWord phase={row.phase} />}
      <AcceptFinding row={row} />
      <button type="button" onClick={() => print()}>Print</button>
    </>
  );
}

function Detail({ detail }: { readonly detail: FindingDetail }) {
  const { row, yaml, kubectl, zen, related, relatedTotal, relatedFilter } = detail;
  const details = field(field(detail.observation, "spec"), "details");
  return (
    <>
      <p class="lead">{row.message}</p>
      <div class="columns finding">
        <div class="stack">
          <Panel title="What and where">
            <Facts row={row} />
          </Panel>
          <Panel title="Details">
            <Details details={details} />
          </Panel>
        </div>
        <div class="stack">
          <Panel title="Times">
            <Times detail={detail} />
          </Panel>
          <Panel title="As a command" class="no-print">
            <CommandPair kubectl={kubectl} zen={zen} />
          </Panel>
          <Panel title="Stored as" class="no-print">
            <p class="break">{row.storedIn}/{row.name}</p>
            <details>
              <summary>YAML</summary>
              <YamlText text={yaml} />
            </details>
          </Panel>
        </div>
      </div>
      {relatedTotal > 0 && (
        <Panel
          title={`The rest of ${row.workload || row.resource || "its workload"}`}
          aside={
            <CountLink count={relatedTotal} filter={relatedFilter}>
              All {numberText(relatedTotal)}
            </CountLink>
          }
        >
          <FindingTable rows={related} />
        </Panel>
      )}
    </>
  );
}

function YamlText({ text }: { readonly text: string }) {
  return (
    <>
      <pre class="yaml" tabIndex={0}>{text}</pre>
      <div class="hidden-text">
        <Copyable label="the YAML" text={text} />
      </div>
    </>
  );
}

/** Leads to the form that accepts this finding, where an exception can name it and the user may write one. */
function AcceptFinding({ row }: { readonly row: FindingRow }) {
  const { rule, workload, source, kind, resource } = row;
  const canBeNamed = rule !== "" || (kind !== "" && resource !== "");
  if (row.phase !== "Active" || row.type === "occurrence" || !canBeNamed) return null;
  if (!mayAccept(row.namespace || row.storedIn)) return null;
  const filter = {
    namespace: oneValue(row.namespace || row.storedIn),
    ...(rule && { rule: oneValue(rule) }),
    ...(workload && { workload: oneValue(workload) }),
    ...(source && { source }),
    ...(kind && resource && { resource: oneValue(`${kind}/${resource}`) }),
  };
  return <a class="button" href={hrefOf("accept", filter)}>Accept this risk…</a>;
}

function mayAccept(namespace: string): boolean {
  const namespaces = state.value?.mayAccept ?? [];
  return namespaces.includes("*") || namespaces.includes(namespace);
}

function Facts({ row }: { readonly row: FindingRow }) {
  const filter = { ...(row.namespace && { namespace: row.namespace }) };
  return (
    <dl class="facts">
      <Fact name="Rule">
        {row.rule
          ? (
            <a href={hrefOf("findings", { rule: oneValue(row.rule) })} title="Every finding of this rule">
              {row.rule}
            </a>
          )
          : "–"}
      </Fact>
      <Fact name="Resource">{[row.kind, row.resource].filter((part) => part !== "").join(" ") || "–"}</Fact>
      <Fact name="Namespace">
        {row.namespace ? <a href={hrefOf("findings", { namespace: row.namespace })}>{row.namespace}</a> : "–"}
      </Fact>
      <Fact name="Workload">
        {row.workload
          ? <a href={hrefOf("findings", { ...filter, workload: oneValue(row.workload) })}>{row.workload}</a>
          : "–"}
      </Fact>
      {row.image && (
        <Fact name="Image">
          <a href={hrefOf("findings", { image: oneValue(row.image) })}>{row.image}</a>
        </Fact>
      )}
      <Fact name="Source">
        <a href={hrefOf("findings", { source: row.source })}>{row.source}</a>
      </Fact>
      <Fact name="Type">{row.eventType}</Fact>
    </dl>
  );
}

function Fact({ name, children }: { readonly name: string; readonly children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Times({ detail }: { readonly detail: FindingDetail }) {
  const { row, exception } = detail;
  const status = field(detail.observation, "status");
  const reopenedAt = textOf(field(status, "reopenedAt"));
  const reason = textOf(field(status, "resolvedReason"));
  return (
    <dl class="facts">
      <Fact name="Phase">
        <PhaseWord phase={row.phase} />
      </Fact>
      <Fact name="First seen">
        <Time at={row.firstSeenAt} as="both" />
      </Fact>
      <Fact name="Last seen">
        <Time at={row.lastSeenAt} as="both" />
      </Fact>
      <Fact name="Occurrences">{numberText(row.occurrences)}</Fact>
      {reopenedAt && (
        <Fact name="Reopened">
          <Time at={reopenedAt} as="both" />
        </Fact>
      )}
      {row.resolvedAt && (
        <Fact name="Resolved">
          <Time at={row.resolvedAt} as="both" />
          {reason && <span class="faint">{REASONS[reason] ?? reason}</span>}
        </Fact>
      )}
      {exception && (
        <Fact name="Accepted by">
          <a href={hrefOf("exceptions", {}, { in: exception.namespace, name: exception.name })}>
            {exception.namespace}/{exception.name}
          </a>
          <span class="faint">
            since <Time at={exception.since} as="date" />, until <Time at={exception.expiresAt} as="date" />
          </span>
        </Fact>
      )}
    </dl>
  );
}

const REASONS: Readonly<Record<string, string>> = {
  NotReported: "its report no longer has it",
  ReportGone: "its report is gone, which does not say that it is fixed",
  SaidResolved: "the tool said so",
};

function Details({ details }: { readonly details: unknown }) {
  const lines = [...flatten(details, "", 0)].slice(0, MOST_DETAILS);
  if (lines.length === 0) return <p class="faint">The tool gave none.</p>;
  return (
    <table class="plain details">
      <thead class="unseen">
        <tr>
          <th scope="col">Field</th>
          <th scope="col">Value</th>
        </tr>
      </thead>
      <tbody>
        {lines.map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="break">
              <LinkedText text={value} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Each value of nested details with its path. */
function* flatten(value: unknown, path: string, depth: number): Generator<[string, string]> {
  if (value === undefined || value === null) return;
  if (typeof value !== "object" || depth >= DEEPEST) {
    yield [path, typeof value === "object" ? JSON.stringify(value) : String(value)];
    return;
  }
  if (Array.isArray(value)) {
    const plain = value.every((item) => typeof item !== "object" && !/^https?:/.test(String(item)));
    if (plain) yield [path, value.join(", ")];
    else for (const [index, item] of value.entries()) yield* flatten(item, `${path}[${index}]`, depth + 1);
    return;
  }
  for (const [key, item] of Object.entries(value)) {
    yield* flatten(item, path === "" ? key : `${path}.${key}`, depth + 1);
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
