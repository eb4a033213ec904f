/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Times, numbers, severities and texts of findings as readers see them. */
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { SEVERITIES, type Severity } from "../../model/terms.ts";
import { DAY_MS } from "../../model/time.ts";
import type { FindingFilter } from "../protocol.ts";
import { hrefOf } from "./route.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Ticks so that ages grow while the page is open. */
const now = signal(Date.now());
setInterval(() => now.value = Date.now(), MINUTE_MS / 2);

const NUMBERS = new Intl.NumberFormat("en");

/** `12,345`. */
export function numberText(value: number): string {
  return NUMBERS.format(value);
}

/** `1 finding`, `12 findings`. */
export function countText(count: number, noun: string): string {
  return `${numberText(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Date and minute in the reader's zone: `2026-01-31 14:05`. */
export function localText(ms: number): string {
  const date = new Date(ms);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** The distance of two times in one unit: `3 min`, `5 h`, `12 d`. */
function spanText(ms: number): string {
  const span = Math.abs(ms);
  if (span < MINUTE_MS) return "1 min";
  if (span < HOUR_MS) return `${Math.floor(span / MINUTE_MS)} min`;
  if (span < 2 * DAY_MS) return `${Math.floor(span / HOUR_MS)} h`;
  return `${numberText(Math.floor(span / DAY_MS))} d`;
}

/** A time: its age or its date in the reader's zone, with the exact UTC in the title. */
export function Time({ at, as = "age" }: { readonly at: string; readonly as?: "age" | "date" | "both" }) {
  const ms = Date.parse(at);
  if (!Number.isFinite(ms)) return <span class="faint">–</span>;
  const passed = now.value - ms;
  const age = passed < -MINUTE_MS
    ? `in ${spanText(passed)}`
    : passed < MINUTE_MS
    ? "just now"
    : `${spanText(passed)} ago`;
  const exact = new Date(ms).toISOString().replace("T", " ").replace(".000Z", " UTC").replace("Z", " UTC");
  return (
    <time dateTime={at} title={exact}>
      {as === "age" ? age : localText(ms)}
      {as === "both" && <span class="faint">· {age}</span>}
    </time>
  );
}

/** A severity by colour and word. */
export function SeverityWord({ severity }: { readonly severity: Severity }) {
  return <span class={`severity ${severity.toLowerCase()}`}>{severity}</span>;
}

/** A phase by its word, and its colour where it is not open. */
export function PhaseWord({ phase }: { readonly phase: string }) {
  return <span class={`phase ${phase.toLowerCase()}`}>{phase === "Active" ? "Open" : phase}</span>;
}

/** A number that leads to the list behind it; 0 is no link. */
export function CountLink(
  { count, filter, label, children }: {
    readonly count: number;
    readonly filter: FindingFilter;
    readonly label?: string;
    readonly children?: ComponentChildren;
  },
) {
  const text = children ?? numberText(count);
  if (count === 0) return <span class="number zero">{text}</span>;
  return (
    <a
      class="number"
      href={hrefOf("findings", filter)}
      {...(label ? { "aria-label": `${numberText(count)} ${label}` } : {})}
    >
      {text}
    </a>
  );
}

/** How many of all severities. */
export function sumOf(counts: Readonly<Record<Severity, number>>): number {
  return SEVERITIES.reduce((sum, severity) => sum + (counts[severity] ?? 0), 0);
}

/** `3 critical, 12 high`: what a bar shows, in words. */
export function countsText(counts: Readonly<Record<Severity, number>>): string {
  const parts = SEVERITIES.filter((severity) => counts[severity] > 0)
    .map((severity) => `${numberText(counts[severity])} ${severity.toLowerCase()}`);
  return parts.length === 0 ? "none" : parts.join(", ");
}

/** Text of a finding; an http or https address becomes a link, nothing else does. */
export function LinkedText({ text }: { readonly text: string }) {
  const href = webAddress(text);
  if (!href) return <>{text}</>;
  return <a href={href} target="_blank" rel="noopener noreferrer">{text}</a>;
}

/** The address that a text is, where it is an http or https one. */
function webAddress(text: string): string | undefined {
  if (!/^https?:\/\/[^\s"'<>]+$/i.test(text) || !URL.canParse(text)) return undefined;
  const { protocol, href, username, password } = new URL(text);
  return (protocol === "https:" || protocol === "http:") && username === "" && password === ""
    ? href
    : undefined;
}
