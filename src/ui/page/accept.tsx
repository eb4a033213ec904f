/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The form that accepts a risk: what, why and until when; it counts what it would accept before anything is written. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { DAY_MS } from "../../model/time.ts";
import type { ComponentChildren } from "preact";
import type { ExceptionDraft, ExceptionMatch, ExceptionPreview, ExceptionRow } from "../protocol.ts";
import { FindingTable } from "./findings.tsx";
import { SeverityCounts } from "./overview.tsx";
import { REASON_WORDS } from "./exceptions.tsx";
import { state } from "./live.ts";
import { announcement, Panel, ProblemNote, ViewHead } from "./parts.tsx";
import { go, hrefOf, type Route, route, valuesOf } from "./route.ts";
import { messageOf, request } from "./session.ts";
import { countText } from "./words.tsx";

const PREVIEW_PAUSE_MS = 300;
const MOST_DAYS = 365;
const DEFAULT_DAYS = 90;
const QUICK_DAYS = [30, 90, 180] as const;

interface Fields {
  readonly namespace: string;
  readonly rules: string;
  readonly workloads: string;
  readonly sources: string;
  readonly severities: string;
  readonly kind: string;
  readonly resource: string;
  readonly reason: string;
  readonly justification: string;
  /** `2026-01-31`: the exception ends with this UTC day. */
  readonly day: string;
  readonly ticket: string;
  readonly onlyWhileNoFix: boolean;
}
type Problems = Partial<Record<keyof Fields | "all", string>>;

/** See the file. */
export function AcceptView() {
  const { current: place } = useRef(route.value);
  const [fields, setFields] = useState<Fields>(() => fieldsOf(place));
  const [problems, setProblems] = useState<Problems>({});
  const [busy, setBusy] = useState(false);
  const [refusals, setRefusals] = useState(0);
  const form = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => {
    form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [refusals]);
  function refuse(found: Problems) {
    setProblems(found);
    setRefusals((count) => count + 1);
  }
  function set<K extends keyof Fields>(key: K, value: Fields[K]) {
    setFields({ ...fields, [key]: value });
    const { [key]: _, all: __, ...others } = problems;
    setProblems(others);
  }
  async function write(event: Event) {
    event.preventDefault();
    const found = problemsOf(fields);
    if (Object.keys(found).length > 0) return refuse(found);
    setProblems({});
    setBusy(true);
    try {
      const created = await request<Partial<ExceptionRow>>("/api/exceptions", {
        method: "POST",
        body: draftOf(fields),
      });
      announcement.value = "The exception is written.";
      const name = created?.name;
      go(hrefOf("exceptions", {}, name ? { in: fields.namespace, name } : {}));
    } catch (error) {
      refuse(placed(messageOf(error)));
      setBusy(false);
    }
  }
  const text = (key: "rules" | "workloads" | "sources" | "severities" | "kind" | "resource" | "ticket") => ({
    value: fields[key],
    onInput: (event: { readonly currentTarget: HTMLInputElement }) => set(key, event.currentTarget.value),
    autocomplete: "off",
    spellcheck: false,
  });
  return (
    <>
      <ViewHead title="Accept a risk" />
      <form ref={form} class="accept" noValidate onSubmit={(event) => void write(event)}>
        <div class="columns">
          <div class="stack">
            <Panel title="What">
              <Field
                label="Namespace"
                hint="whose findings it accepts"
                name="namespace"
                problem={problems.namespace}
              >
                {(props) => (
                  <NamespaceInput
                    {...props}
                    value={fields.namespace}
                    set={(value) => set("namespace", value)}
                  />
                )}
              </Field>
              <Field label="Rules" hint="exact ids, joined by commas" name="rules" problem={problems.rules}>
                {(props) => <input {...props} {...text("rules")} />}
              </Field>
              <Field
                label="Workloads"
                hint="empty: all of the namespace"
                name="workloads"
                problem={problems.workloads}
              >
                {(props) => <input {...props} {...text("workloads")} />}
              </Field>
              <div class="pair">
                <Field label="Resource kind" hint="such as Deployment" name="kind" problem={problems.kind}>
                  {(props) => <input {...props} {...text("kind")} />}
                </Field>
                <Field label="Resource name" hint="exact" name="resource" problem={problems.resource}>
                  {(props) => <input {...props} {...text("resource")} />}
                </Field>
              </div>
              <div class="pair">
                <Field label="Sources" hint="empty: every tool" name="sources" problem={problems.sources}>
                  {(props) => <input {...props} {...text("sources")} />}
                </Field>
                <Field
                  label="Severities"
                  hint="empty: every severity"
                  name="severities"
                  problem={problems.severities}
                >
                  {(props) => <input {...props} {...text("severities")} />}
                </Field>
              </div>
              <label class="check">
                <input
                  type="checkbox"
                  checked={fields.onlyWhileNoFix}
                  onChange={(event) => set("onlyWhileNoFix", event.currentTarget.checked)}
                />
                Only while there is no fix
              </label>
            </Panel>
          </div>
          <div class="stack">
            <Panel title="Why and until when">
              <Field label="Reason" hint="the kind of decision" name="reason" problem={problems.reason}>
                {(props) => (
                  <select
                    {...props}
                    value={fields.reason}
                    onChange={(event) => set("reason", event.currentTarget.value)}
                  >
                    <option value="">Choose…</option>
                    {Object.entries(REASON_WORDS).map(([value, words]) => (
                      <option key={value} value={value}>{words}</option>
                    ))}
                  </select>
                )}
              </Field>
              <Field
                label="Justification"
                hint="what an auditor needs to agree"
                name="justification"
                problem={problems.justification}
              >
                {(props) => (
                  <textarea
                    {...props}
                    rows={4}
                    value={fields.justification}
                    onInput={(event) => set("justification", event.currentTarget.value)}
                  />
                )}
              </Field>
              <Field
                label="Until the end of (UTC day)"
                hint={`at most ${MOST_DAYS} days`}
                name="day"
                problem={problems.day}
              >
                {(props) => (
                  <input
                    {...props}
                    type="date"
                    value={fields.day}
                    onInput={(event) => set("day", event.currentTarget.value)}
                  />
                )}
              </Field>
              <div class="quick" role="group" aria-label="Until">
                {QUICK_DAYS.map((days) => (
                  <button
                    key={days}
                    type="button"
                    onClick={() => set("day", dayIn(days))}
                  >
                    {days} days
                  </button>
                ))}
              </div>
              <Field
                label="Ticket"
                hint="optional: its address or number"
                name="ticket"
                problem={problems.ticket}
              >
                {(props) => <input {...props} {...text("ticket")} />}
              </Field>
            </Panel>
          </div>
        </div>
        <Preview fields={fields} />
        {problems.all && <ProblemNote text={problems.all} />}
        <div class="actions">
          <button type="submit" class="primary" disabled={busy}>
            {busy ? "Writing…" : "Accept until then"}
          </button>
          <button type="button" onClick={() => history.back()}>Cancel</button>
        </div>
      </form>
    </>
  );
}

function fieldsOf({ filter }: Route): Fields {
  const [kind = "", ...name] = valuesOf(filter.resource)[0]?.split("/") ?? [];
  const namespaces = state.value?.mayAccept.filter((namespace) => namespace !== "*") ?? [];
  // A rule is accepted for the whole workload, whose Pods get new names. Without a rule an exception has to name the resource.
  const isWorkloadEnough = Boolean(filter.rule && filter.workload);
  return {
    namespace: filter.namespace ?? (namespaces.length === 1 ? namespaces[0] ?? "" : ""),
    rules: filter.rule ?? "",
    workloads: filter.workload ?? "",
    sources: filter.source ?? "",
    severities: filter.severity ?? "",
    kind: isWorkloadEnough ? "" : kind,
    resource: isWorkloadEnough ? "" : name.join("/"),
    reason: "",
    justification: "",
    day: dayIn(DEFAULT_DAYS),
    ticket: "",
    onlyWhileNoFix: false,
  };
}

function dayIn(days: number): string {
  return new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10);
}

function expiryOf(day: string): string {
  return `${day}T23:59:59Z`;
}

function list(text: string): string[] {
  return valuesOf(text).map((value) => value.trim()).filter((value) => value !== "");
}

function matchOf(fields: Fields): ExceptionMatch {
  const rules = list(fields.rules), workloads = list(fields.workloads);
  const sources = list(fields.sources),
    severities = list(fields.severities).map((word) => word.toUpperCase());
  const kind = fields.kind.trim(), name = fields.resource.trim();
  return {
    ...(rules.length > 0 && { rules }),
    ...(workloads.length > 0 && { workloads }),
    ...(sources.length > 0 && { sources }),
    ...(severities.length > 0 && { severities }),
    ...(kind && name && { resources: [{ kind, name }] }),
  };
}

function draftOf(fields: Fields): ExceptionDraft {
  const ticket = fields.ticket.trim();
  return {
    namespace: fields.namespace,
    match: matchOf(fields),
    reason: fields.reason,
    justification: fields.justification.trim(),
    expiresAt: expiryOf(fields.day),
    ...(ticket && { ticket }),
    ...(fields.onlyWhileNoFix && { onlyWhileNoFix: true }),
  };
}

/** Whether a draft says enough to be counted. */
function countable(fields: Fields): boolean {
  const { rules, resources } = matchOf(fields);
  return fields.namespace !== "" && Boolean(rules?.length || resources?.length);
}

function problemsOf(fields: Fields): Problems {
  const leftMs = Date.parse(expiryOf(fields.day)) - Date.now();
  const { rules, resources } = matchOf(fields);
  return {
    ...(fields.namespace === "" && { namespace: "Choose the namespace whose findings it accepts." }),
    ...(!rules && !resources && { rules: "Name a rule here, or the kind and name of a resource below." }),
    ...((fields.kind.trim() === "") !== (fields.resource.trim() === "") &&
      { resource: "Name both kind and name, or neither." }),
    ...(fields.reason === "" && { reason: "Choose the reason." }),
    ...(fields.justification.trim() === "" && { justification: "Say why the risk is acceptable." }),
    ...(!Number.isFinite(leftMs) && { day: "Choose the last day." }),
    ...(leftMs <= 0 && { day: "Choose a day that is not over." }),
    ...(leftMs > MOST_DAYS * DAY_MS && { day: `Choose a day within ${MOST_DAYS} days.` }),
  };
}

/** Which field a server's sentence is about. */
const PLACES: readonly (readonly [RegExp, keyof Fields])[] = [
  [/expiresAt|expires/i, "day"],
  [/justification/i, "justification"],
  [/\breason\b/i, "reason"],
  [/ticket/i, "ticket"],
  [/match\.rules|\brules\b/i, "rules"],
  [/workloads/i, "workloads"],
  [/sources/i, "sources"],
  [/severities/i, "severities"],
  [/resources/i, "resource"],
];

function placed(sentence: string): Problems {
  const place = PLACES.find(([words]) => words.test(sentence))?.[1];
  return { [place ?? "all"]: sentence };
}

interface InputProps {
  readonly id: string;
  readonly name: string;
  readonly "aria-invalid": boolean;
  readonly "aria-describedby": string;
}

function Field(
  { label, hint, name, problem, children }: {
    readonly label: string;
    readonly hint?: string;
    readonly name: string;
    readonly problem: string | undefined;
    readonly children: (props: InputProps) => ComponentChildren;
  },
) {
  const about = `accept-${name}-about`;
  const id = `accept-${name}`;
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, name, "aria-invalid": problem !== undefined, "aria-describedby": about })}
      <span id={about} class={problem === undefined ? "hint" : "problem"}>{problem ?? hint ?? ""}</span>
    </div>
  );
}

function NamespaceInput(
  { value, set, ...props }: InputProps & { readonly value: string; readonly set: (value: string) => void },
) {
  const allowed = state.value?.mayAccept ?? [];
  if (allowed.includes("*")) {
    return (
      <input
        {...props}
        value={value}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => set(event.currentTarget.value)}
      />
    );
  }
  const choices = [...new Set([...allowed, ...(value ? [value] : [])])];
  return (
    <select {...props} value={value} onChange={(event) => set(event.currentTarget.value)}>
      <option value="">Choose…</option>
      {choices.map((namespace) => <option key={namespace} value={namespace}>{namespace}</option>)}
    </select>
  );
}

/** Counts what the draft would accept, a moment after each change. */
function Preview({ fields }: { readonly fields: Fields }) {
  const { namespace, onlyWhileNoFix, day } = fields;
  const match = matchOf(fields);
  const key = JSON.stringify({ namespace, match, onlyWhileNoFix });
  const [preview, setPreview] = useState<ExceptionPreview>();
  const [problem, setProblem] = useState("");
  const ready = countable(fields);
  useEffect(() => {
    setProblem("");
    if (!ready) {
      setPreview(undefined);
      return;
    }
    const controller = new AbortController();
    const timer = setTimeout(async () => {
      const draft: ExceptionDraft = {
        ...draftOf(fields),
        reason: fields.reason || "accepted_risk",
        justification: fields.justification.trim() || "preview",
        expiresAt: expiryOf(day || dayIn(DEFAULT_DAYS)),
      };
      try {
        const options = { method: "POST", body: draft, signal: controller.signal } as const;
        setPreview(await request<ExceptionPreview>("/api/exceptions?preview=true", options));
      } catch (error) {
        if (controller.signal.aborted) return;
        setPreview(undefined);
        setProblem(messageOf(error));
      }
    }, PREVIEW_PAUSE_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key]);
  return (
    <Panel title="What it would accept" class="preview">
      <div role="status">
        {!ready && <p class="faint">Name a namespace, and a rule or a resource.</p>}
        {problem && <ProblemNote text={problem} />}
        {preview && (
          <p>
            <b>{countText(preview.total, "open finding")}</b> <SeverityCounts counts={preview.counts} />
          </p>
        )}
      </div>
      {preview && preview.sample.length > 0 && <FindingTable rows={preview.sample} />}
    </Panel>
  );
}
