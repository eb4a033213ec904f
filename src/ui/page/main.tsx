/** @jsxRuntime automatic */
/** @jsxImportSource preact */
/// <reference no-default-lib="true" />
/// <reference lib="esnext" />
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The page: its frame, its navigation, and the view that the URL asks for. */
import { signal } from "@preact/signals";
import { render } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { AcceptView } from "./accept.tsx";
import { ExceptionsView } from "./exceptions.tsx";
import { FindingView } from "./finding.tsx";
import { FindingsView } from "./findings.tsx";
import { RulesView, WorkloadsView } from "./groups.tsx";
import { cutOff, keepStream, state } from "./live.ts";
import { OverviewView } from "./overview.tsx";
import { announcement } from "./parts.tsx";
import { followLinks, go, hrefOf, restoreScroll, route, type View, visit } from "./route.ts";
import { openSession, session } from "./session.ts";
import { numberText, Time } from "./words.tsx";

const SHOWN: Readonly<Record<View, () => preact.JSX.Element>> = {
  overview: OverviewView,
  workloads: WorkloadsView,
  rules: RulesView,
  findings: FindingsView,
  exceptions: ExceptionsView,
  finding: FindingView,
  accept: AcceptView,
};
const TABS: readonly (readonly [View, string])[] = [
  ["overview", "Overview"],
  ["workloads", "Workloads"],
  ["rules", "Rules"],
  ["findings", "Findings"],
  ["exceptions", "Exceptions"],
];
/** The tab that a view without one of its own belongs to. */
const TAB_OF: Partial<Record<View, View>> = { finding: "findings", accept: "exceptions" };

const THEME_KEY = "zen-watcher-theme";
const THEMES = ["system", "light", "dark"] as const;
type Theme = typeof THEMES[number];
const theme = signal<Theme>(THEMES.find((name) => name === localStorage.getItem(THEME_KEY)) ?? "system");

function Page() {
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        Skip to content
      </a>
      <Top />
      <main id="main" tabIndex={-1}>
        <Content />
      </main>
      <StatusBar />
      <p class="unseen" role="status">{announcement.value}</p>
    </>
  );
}

function Top() {
  const { view } = route.value;
  const current = TAB_OF[view] ?? view;
  return (
    <header class="top">
      <a class="brand" href="/">zen-watcher</a>
      <nav aria-label="Views">
        {TABS.map(([name, label]) => (
          <a key={name} href={hrefOf(name)} aria-current={name === current ? "page" : undefined}>{label}</a>
        ))}
      </nav>
      <p class="cluster" title={state.value?.server}>
        {state.value?.context ?? ""}
        {state.value?.onlyNamespace && <>· namespace {state.value.onlyNamespace}</>}
      </p>
      <ThemeSwitch />
    </header>
  );
}

function ThemeSwitch() {
  const next = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? "system";
  return (
    <button
      type="button"
      class="theme"
      aria-label={`Theme: ${theme.value}. Change to ${next}`}
      onClick={() => {
        theme.value = next;
        localStorage.setItem(THEME_KEY, next);
        applyTheme();
      }}
    >
      <span aria-hidden="true">◐</span> {theme.value}
    </button>
  );
}

function applyTheme(): void {
  if (theme.value === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
}

function Content() {
  const { view } = route.value;
  const { count, focus } = visit.value;
  // Before the browser paints: a key that follows at once goes to the view that is shown.
  useLayoutEffect(() => {
    document.title = `${
      TABS.find(([name]) => name === (TAB_OF[view] ?? view))?.[1] ?? "Findings"
    } · zen-watcher`;
    if (count > 0) document.getElementById(focus)?.focus({ preventScroll: true });
    restoreScroll();
  }, [view, count]);
  const open = session.value;
  if (open.state === "lost") return <SessionLost why={open.why} />;
  if (!state.value) {
    return (
      <p class="wait">
        {cutOff.value ? cutOff.value.why : "Connecting to the program that serves this page…"}
      </p>
    );
  }
  const View = SHOWN[view];
  return (
    <>
      <Notes />
      <View key={view} />
    </>
  );
}

function SessionLost({ why }: { readonly why: string }) {
  return (
    <div class="empty lost">
      <h1 id="view-title" tabIndex={-1}>This tab may not read</h1>
      <p>{why}</p>
      <p>
        Go to the terminal where <code>zen-watcher ui</code>{" "}
        runs, press Enter, and open the address that it prints. Where it no longer runs, start it again. Each
        address opens one tab.
      </p>
    </div>
  );
}

/** What the lists leave out. */
function Notes() {
  const current = state.value;
  if (!current || current.notes.length === 0) return null;
  return (
    <ul class="notes" aria-label="What is left out">
      {current.notes.map((note) => <li key={note}>{note}</li>)}
    </ul>
  );
}

function StatusBar() {
  return (
    <footer class="status-bar">
      <div role="status" class="live">
        <LiveText />
      </div>
      <p class="keys" aria-hidden="true">
        <kbd>/</kbd> search <kbd>↑</kbd> <kbd>↓</kbd> rows <kbd>Enter</kbd> open <kbd>Esc</kbd> close
      </p>
    </footer>
  );
}

function LiveText() {
  if (session.value.state !== "open") return null;
  const broken = cutOff.value;
  if (broken) {
    return (
      <span class="cut">
        <span class="dot" /> Cut off since <Time at={broken.since} as="date" />: {broken.why} Trying again.
      </span>
    );
  }
  const current = state.value;
  if (!current) return null;
  const { listed, live } = current;
  if (!live.connected && (listed.done || live.error)) {
    return (
      <span class="cut">
        <span class="dot" /> The cluster is out of reach since <Time at={live.since} as="date" />
        {live.error ? `: ${live.error}` : "."} What you see is of that time. Trying again.
      </span>
    );
  }
  if (!listed.done) {
    const all = listed.remaining === undefined ? undefined : listed.read + listed.remaining;
    return (
      <span class="reading">
        <progress
          aria-label="Findings read"
          {...(all === undefined ? {} : { value: listed.read, max: all })}
        />
        Reading: {numberText(listed.read)}
        {all === undefined ? "" : ` of about ${numberText(all)}`} findings. Numbers still grow.
      </span>
    );
  }
  return (
    <span class="connected">
      <span class="dot" /> Live
    </span>
  );
}

/** `/` focuses the search of a list, from anywhere but a field. */
function searchKey(event: KeyboardEvent): void {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof Element && event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  const search = document.getElementById("search");
  if (search) search.focus();
  else go(hrefOf("findings"), { focus: "search" });
}

async function start(): Promise<void> {
  applyTheme();
  followLinks();
  document.addEventListener("keydown", searchKey);
  const root = document.getElementById("page") ?? document.body;
  render(<Page />, root);
  await open();
  // A new address of the same page changes the fragment alone and loads nothing.
  addEventListener("hashchange", () => void open());
}

async function open(): Promise<void> {
  if (session.value.state === "open" && !location.hash.includes("token=")) return;
  const running = session.value.state === "open";
  await openSession();
  if (!running && session.value.state === "open") void keepStream();
}

void start();
