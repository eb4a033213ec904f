/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The filter of a list: search, choices with their counts, and what else the URL restricts. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { PHASES, SEVERITIES } from "../../model/terms.ts";
import type { Facet, Facets, FindingFilter } from "../protocol.ts";
import { useAnswer } from "./answers.ts";
import { Menu } from "./parts.tsx";
import { oneValue, queryOf, refine, route, valuesOf } from "./route.ts";
import { numberText } from "./words.tsx";

const SEARCH_PAUSE_MS = 150;
/** More values than these get a field that narrows them. */
const MANY = 12;

/** What chips call the keys that no control of their own shows. */
const CHIPS: readonly (readonly [keyof FindingFilter, string])[] = [
  ["workload", "workload"],
  ["rule", "rule"],
  ["image", "image"],
  ["kind", "kind"],
  ["resource", "resource"],
  ["type", "only"],
  ["exception", "accepted by"],
  ["since", "first seen from"],
  ["until", "first seen until"],
  ["resolvedSince", "resolved from"],
  ["resolvedUntil", "resolved until"],
  ["reopenedSince", "reopened from"],
  ["acceptedSince", "accepted from"],
];

/** The controls of the filter in the URL. */
export function FilterBar({ phases = true }: { readonly phases?: boolean }) {
  const { filter } = route.value;
  const facets = useAnswer<Facets>(`/api/facets?${queryOf(filter)}`).data;
  return (
    <div class="filter-bar" role="search" aria-label="Filter">
      <SearchField />
      <div class="toggles" role="group" aria-label="Severity">
        {SEVERITIES.map((severity) => (
          <SeverityToggle key={severity} severity={severity} facets={facets?.severity} />
        ))}
      </div>
      <div class="choices">
        <Choice label="Source" name="source" facets={facets?.source} />
        <Choice label="Namespace" name="namespace" facets={facets?.namespace} />
        <Choice label="Category" name="category" facets={facets?.category} />
        {phases && <PhaseChoice facets={facets?.phase} />}
        <MoreFields />
        <button
          type="button"
          class="link"
          disabled={Object.keys(filter).length === 0}
          onClick={() => refine(Object.fromEntries(Object.keys(filter).map((key) => [key, undefined])))}
        >
          Clear all
        </button>
      </div>
      <Chips />
    </div>
  );
}

function SearchField() {
  const text = route.value.filter.text ?? "";
  const field = useRef<HTMLInputElement>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useLayoutEffect(() => {
    if (field.current && field.current !== document.activeElement) field.current.value = text;
  }, [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  function search(value: string) {
    clearTimeout(timer.current);
    timer.current = setTimeout(
      () => refine({ text: value.trim() || undefined }, { replace: true }),
      SEARCH_PAUSE_MS,
    );
  }
  return (
    <input
      id="search"
      ref={field}
      type="search"
      aria-label="Search message, rule, resource and name"
      placeholder="Search message, rule, resource  ( / )"
      autocomplete="off"
      spellcheck={false}
      defaultValue={text}
      onInput={(event) => search(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        if (event.currentTarget.value === "") event.currentTarget.blur();
        event.currentTarget.value = "";
        search("");
      }}
    />
  );
}

function SeverityToggle(
  { severity, facets }: { readonly severity: string; readonly facets: readonly Facet[] | undefined },
) {
  const chosen = valuesOf(route.value.filter.severity);
  const on = chosen.includes(severity);
  const count = facets?.find(({ value }) => value === severity)?.count;
  return (
    <button
      type="button"
      class={`toggle ${severity.toLowerCase()}`}
      aria-pressed={on}
      onClick={() => refine({ severity: toggled(chosen, severity, SEVERITIES) })}
    >
      {severity.toLowerCase()} <span class="count">{count === undefined ? "" : numberText(count)}</span>
    </button>
  );
}

function Choice(
  { label, name, facets }: {
    readonly label: string;
    readonly name: "source" | "namespace" | "category";
    readonly facets: readonly Facet[] | undefined;
  },
) {
  const chosen = valuesOf(route.value.filter[name]);
  const known = facets ?? [];
  const values = [
    ...known,
    ...chosen.filter((value) => !known.some((facet) => facet.value === value)).map(unknownFacet),
  ];
  return (
    <Menu
      label={chosen.length === 0 ? label : (
        <>
          {label}: <b>{chosen.length > 2 ? chosen.length : chosen.join(", ")}</b>
        </>
      )}
    >
      {() => (
        <Values
          label={label}
          values={values}
          chosen={chosen}
          toggle={(value) => refine({ [name]: toggled(chosen, value) })}
        />
      )}
    </Menu>
  );
}

function unknownFacet(value: string): Facet {
  return { value, count: 0 };
}

function Values(
  { label, values, chosen, toggle }: {
    readonly label: string;
    readonly values: readonly Facet[];
    readonly chosen: readonly string[];
    readonly toggle: (value: string) => void;
  },
) {
  const [narrow, setNarrow] = useState("");
  const shown = values.filter(({ value }) => value.toLowerCase().includes(narrow.toLowerCase()));
  return (
    <fieldset class="values">
      <legend>{label}</legend>
      {values.length > MANY && (
        <input
          type="search"
          aria-label={`Narrow ${label.toLowerCase()}`}
          placeholder="Narrow"
          onInput={(event) => setNarrow(event.currentTarget.value)}
        />
      )}
      {shown.map(({ value, count }) => (
        <label key={value}>
          <input type="checkbox" checked={chosen.includes(value)} onChange={() => toggle(value)} />
          <span class="value">{value === "" ? "(none)" : value}</span>
          <span class="count">{numberText(count)}</span>
        </label>
      ))}
      {shown.length === 0 && <p class="faint">Nothing to choose from.</p>}
    </fieldset>
  );
}

function PhaseChoice({ facets }: { readonly facets: readonly Facet[] | undefined }) {
  const phase = route.value.filter.phase ?? "Active";
  const chosen = phase === "all" ? PHASES : valuesOf(phase);
  const values = PHASES.map((value) => ({
    value,
    count: facets?.find((facet) => facet.value === value)?.count ?? 0,
  }));
  function toggle(value: string) {
    const next = toggled(chosen, value, PHASES);
    refine({ phase: next === "Active" ? undefined : next === PHASES.join(",") ? "all" : next });
  }
  return (
    <Menu
      label={
        <>
          Phase: <b>{phase === "all" ? "all" : chosen.map(phaseName).join(", ")}</b>
        </>
      }
    >
      {() => <Values label="Phase" values={values} chosen={chosen} toggle={toggle} />}
    </Menu>
  );
}

function phaseName(phase: string): string {
  return phase === "Active" ? "open" : phase.toLowerCase();
}

const FIELDS: readonly (readonly [keyof FindingFilter, string, "text" | "date"])[] = [
  ["workload", "Workload", "text"],
  ["rule", "Rule", "text"],
  ["image", "Image", "text"],
  ["kind", "Kind of resource", "text"],
  ["since", "First seen from (UTC day)", "date"],
  ["until", "First seen until (UTC day)", "date"],
];

function MoreFields() {
  return (
    <Menu label="More">
      {(close) => (
        <form
          class="more"
          onSubmit={(event) => {
            event.preventDefault();
            const data = new FormData(event.currentTarget);
            const entered = FIELDS.map(([key]) =>
              [key, String(data.get(key) ?? "").trim() || undefined] as const
            );
            close();
            refine(Object.fromEntries(entered));
          }}
        >
          {FIELDS.map(([key, label, type]) => (
            <label key={key}>
              <span>{label}</span>
              {type === "date"
                ? <input name={key} type="date" defaultValue={fieldValue(key, type)} />
                : <input name={key} type="text" autocomplete="off" defaultValue={fieldValue(key, type)} />}
            </label>
          ))}
          <button type="submit" class="primary">Apply</button>
        </form>
      )}
    </Menu>
  );
}

function fieldValue(key: keyof FindingFilter, type: string): string {
  const value = route.value.filter[key] ?? "";
  return type === "date" ? value.slice(0, 10) : value;
}

function Chips() {
  const { filter } = route.value;
  const chips = CHIPS.filter(([key]) => filter[key]);
  if (chips.length === 0) return null;
  return (
    <ul class="chips" aria-label="More restrictions">
      {chips.map(([key, label]) => (
        <li key={key}>
          <button type="button" class="chip" onClick={() => refine({ [key]: undefined })}>
            <span class="faint">{label}</span> <b>{filter[key]}</b>
            <span aria-hidden="true">×</span>
            <span class="unseen">, remove</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function toggled(chosen: readonly string[], value: string, order?: readonly string[]): string | undefined {
  const next = chosen.includes(value) ? chosen.filter((other) => other !== value) : [...chosen, value];
  if (order) next.sort((a, b) => order.indexOf(a) - order.indexOf(b));
  return next.map(oneValue).join(",") || undefined;
}
