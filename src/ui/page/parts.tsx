/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Small parts that several views share. */
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Commands, FindingFilter } from "../protocol.ts";
import { type Answer, useAnswer } from "./answers.ts";
import { queryOf } from "./route.ts";

/** What screen readers announce: results of filters, copies and writes. */
export const announcement = signal("");

/** A framed part of a view with its heading. */
export function Panel(
  { title, aside, children, class: name = "" }: {
    readonly title: string;
    readonly aside?: ComponentChildren;
    readonly children: ComponentChildren;
    readonly class?: string;
  },
) {
  const id = useId();
  return (
    <section class={`panel ${name}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {aside && <div class="aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}

/** The heading of a view; takes the focus when a link led here. */
export function ViewHead(
  { title, children }: { readonly title: ComponentChildren; readonly children?: ComponentChildren },
) {
  return (
    <div class="view-head">
      <h1 id="view-title" tabIndex={-1}>{title}</h1>
      <div class="actions">{children}</div>
    </div>
  );
}

/** Says that there is nothing to show and what to do about it. */
export function Empty(
  { title, children }: { readonly title: string; readonly children?: ComponentChildren },
) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <p>{children}</p>}
    </div>
  );
}

/** An error where it belongs. */
export function ProblemNote({ text }: { readonly text: string }) {
  return <p class="problem" role="alert">{text}</p>;
}

/** What is there of an answer, its error, or that it is loading. */
export function Loaded<T>(
  { answer, children }: { readonly answer: Answer<T>; readonly children: (data: T) => ComponentChildren },
) {
  return (
    <>
      {answer.error !== undefined && <ProblemNote text={answer.error} />}
      {answer.data !== undefined
        ? <div class={answer.loading ? "old" : undefined}>{children(answer.data)}</div>
        : answer.loading && <p class="wait">Loading…</p>}
    </>
  );
}

/** A button that opens a panel; Esc or a click elsewhere closes it. */
export function Menu(
  { label, children, class: name = "", disabled = false }: {
    readonly label: ComponentChildren;
    readonly children: (close: () => void) => ComponentChildren;
    readonly class?: string;
    readonly disabled?: boolean;
  },
) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    if (!open) return;
    function outside(event: Event) {
      if (event.target instanceof Node && !box.current?.contains(event.target)) setOpen(false);
    }
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);
  function close() {
    setOpen(false);
    button.current?.focus();
  }
  return (
    <div
      class={`menu ${name}`}
      ref={box}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !open) return;
        event.stopPropagation();
        close();
      }}
    >
      <button
        type="button"
        ref={button}
        aria-expanded={open}
        aria-controls={id}
        disabled={disabled}
        onClick={() => setOpen(!open)}
      >
        {label}
        <span class="caret" aria-hidden="true">▾</span>
      </button>
      <div id={id} class="menu-panel" hidden={!open}>{open && children(close)}</div>
    </div>
  );
}

/** A line of code with a button that copies it; where the browser refuses, it selects the text. */
export function Copyable({ label, text }: { readonly label: string; readonly text: string }) {
  const [result, setResult] = useState("Copy");
  const code = useRef<HTMLElement>(null);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setResult("Copied");
      announcement.value = `Copied ${label}`;
    } catch {
      if (code.current) getSelection()?.selectAllChildren(code.current);
      setResult("Press Ctrl+C");
      announcement.value = "The browser does not let the page copy. The text is selected: copy it by Ctrl+C.";
    }
  }
  return (
    <div class="copyable">
      <code ref={code} tabIndex={0}>{text}</code>
      <button
        type="button"
        aria-label={`Copy ${label}`}
        onClick={() => void copy()}
        onBlur={() => setResult("Copy")}
      >
        {result}
      </button>
    </div>
  );
}

/** The list of a filter as commands. */
export function CommandsMenu({ filter }: { readonly filter: FindingFilter }) {
  return (
    <Menu label="Copy as command" class="right wide">
      {() => <CommandLines filter={filter} />}
    </Menu>
  );
}

function CommandLines({ filter }: { readonly filter: FindingFilter }) {
  const answer = useAnswer<Commands>(`/api/commands?${queryOf(filter)}`);
  return (
    <Loaded answer={answer}>
      {({ kubectl, zen }) => <CommandPair kubectl={kubectl} zen={zen} />}
    </Loaded>
  );
}

/** kubectl's line and our own. */
export function CommandPair({ kubectl, zen }: Commands) {
  return (
    <>
      <p class="caption">kubectl</p>
      <Copyable label="as kubectl" text={kubectl} />
      <p class="caption">kubectl zen</p>
      <Copyable label="as kubectl zen" text={zen} />
    </>
  );
}

/** Links to the pages of a list; shows nothing where one page holds all. */
export function Pages(
  { offset, limit, total, hrefAt }: {
    readonly offset: number;
    readonly limit: number;
    readonly total: number;
    readonly hrefAt: (offset: number) => string;
  },
) {
  if (total <= limit && offset === 0) return null;
  return (
    <nav class="pages" aria-label="Pages">
      {offset > 0
        ? <a href={hrefAt(Math.max(0, offset - limit))}>← Previous</a>
        : <span class="faint">← Previous</span>}
      <span>{offset + 1}–{Math.min(total, offset + limit)} of {total}</span>
      {offset + limit < total
        ? <a href={hrefAt(offset + limit)}>Next →</a>
        : <span class="faint">Next →</span>}
    </nav>
  );
}
