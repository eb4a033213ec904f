import { type Clock, formatTime } from "../model/time.ts";
import { viewId, type ViewKey, viewName } from "../model/view.ts";
import { type Metrics, OTHER } from "../telemetry/metrics.ts";
import type { Feed, Source } from "./source.ts";

/** The states of a source or of one of its views, worst first. None of them makes the program unready. */
const STATES = [
  "failing",
  "forbidden", // RBAC denies reading it
  "listing",
  "partial", // it is watched, but of some of its documents it is not known all that they report
  "synced",
  "serving", // a webhook takes its events
  "absent", // its resource is not served
  "standby", // another replica reads it
] as const;

/** The state of a view, or of a source: the worst one of its views. */
export type SourceState = typeof STATES[number];

/** States in which a source is read or served. */
const READ: ReadonlySet<SourceState> = new Set(["partial", "synced", "serving"]);

/** What `/tools/status` says of a source. No payload text. */
export interface SourceReport {
  readonly kind: string;
  /** How its payloads arrive: `watch`, `post`, `configmap`. */
  readonly feeds: readonly Feed["type"][];
  readonly state: SourceState;
  readonly resources?: Readonly<Record<string, SourceState>>;
  readonly lastError?: { readonly class: string; readonly at: string };
}

interface Entry {
  source: Source;
  /** By the ids of their views. */
  readonly views: Map<string, { readonly view: ViewKey; readonly state: SourceState }>;
  lastError?: { class: string; atMs: number };
}

/** The states of all sources, set by the feeds. */
export class SourceStates {
  readonly #entries = new Map<string, Entry>();
  readonly #metrics: Metrics;
  readonly #clock: Clock;

  constructor(metrics: Metrics, clock: Clock) {
    this.#metrics = metrics;
    this.#clock = clock;
  }

  /** Adds a source, or replaces the feeds of one. */
  add(source: Source): void {
    const entry = this.#entries.get(source.name);
    if (entry) entry.source = source;
    else this.#entries.set(source.name, { source, views: new Map() });
    this.#publish(source.name);
  }

  remove(source: string): void {
    if (!this.#entries.delete(source)) return;
    const watcher = this.#metrics.sourceLabel(source);
    if (watcher === OTHER) return this.#publish(source);
    this.#metrics.watcherStatus.remove({ watcher });
    for (const state of STATES) this.#metrics.sourceState.remove({ source: watcher, state });
  }

  /** Sets the state of one view or webhook path. */
  set(view: ViewKey, state: SourceState): void {
    this.#entries.get(view.source)?.views.set(viewId(view), { view, state });
    this.#publish(view.source);
  }

  /** Removes a view or webhook path that is no longer active. */
  forget(view: ViewKey): void {
    this.#entries.get(view.source)?.views.delete(viewId(view));
    this.#publish(view.source);
  }

  /** Records an error of a source; `errorClass` is one of a few words. */
  failed(source: string, errorClass: string): void {
    this.#metrics.watcherErrors.inc({ watcher: this.#metrics.sourceLabel(source), error_type: errorClass });
    const entry = this.#entries.get(source);
    if (entry) entry.lastError = { class: errorClass, atMs: this.#clock.now() };
  }

  /** The worst state of a source, or of those of its views that `among` picks. */
  state(source: string, among: (view: ViewKey) => boolean = () => true): SourceState {
    const views = [...this.#entries.get(source)?.views.values() ?? []].filter(({ view }) => among(view));
    return worst(views.map(({ state }) => state));
  }

  report(): Readonly<Record<string, SourceReport>> {
    const sorted = [...this.#entries].sort(([a], [b]) => a < b ? -1 : 1);
    return Object.fromEntries(sorted.map(([source, entry]) => [source, {
      kind: entry.source.kind,
      feeds: [...new Set(entry.source.feeds.map(({ type }) => type))],
      state: this.state(source),
      ...(entry.views.size > 1
        ? {
          resources: Object.fromEntries(
            [...entry.views.values()].map(({ view, state }) => [viewName(view), state]),
          ),
        }
        : {}),
      ...(entry.lastError
        ? { lastError: { class: entry.lastError.class, at: formatTime(entry.lastError.atMs) } }
        : {}),
    }]));
  }

  #publish(source: string): void {
    const watcher = this.#metrics.sourceLabel(source);
    if (watcher !== OTHER && !this.#entries.has(source)) return;
    const named = watcher === OTHER
      ? [...this.#entries.keys()].filter((name) => this.#metrics.sourceLabel(name) === OTHER)
      : [source];
    const states = named.map((name) => this.state(name));
    this.#metrics.watcherStatus.set({ watcher }, states.every((state) => READ.has(state)) ? 1 : 0);
    const shown = worst(states);
    for (const state of STATES) {
      this.#metrics.sourceState.set({ source: watcher, state }, state === shown ? 1 : 0);
    }
  }
}

function worst(states: readonly SourceState[]): SourceState {
  return STATES.find((state) => states.includes(state)) ?? "standby";
}
