/** Keeps Observations and exceptions in view with the user's rights, and says how far and how well. */
import { OBSERVATION_EXCEPTIONS } from "../exceptions/kind.ts";
import { OBSERVATION_FILTERS } from "../filters/observation_filters.ts";
import { type KubeObject, resourceName } from "../kube/api.ts";
import { readyOf } from "../kube/conditions.ts";
import { every } from "../kube/retry.ts";
import { watch, type WatchEvent, type WatchState, type WatchTuning } from "../kube/watch.ts";
import { ChangeSignal } from "../model/change_signal.ts";
import { errorMessage } from "../model/error_message.ts";
import { formatTime } from "../model/time.ts";
import type { ReadApi } from "../read/pages.ts";
import { subjectNamespaceOf } from "../read/row.ts";
import { OBSERVATIONS, type StoredObservation } from "../store/observations.ts";
import { KeptExceptions } from "./exceptions.ts";
import type { SettingValues } from "../text/setting.ts";
import type { State } from "./protocol.ts";
import { ReportTimes } from "./report_times.ts";
import { Rights } from "./rights.ts";
import { KeptRows, MAX_ROWS } from "./rows.ts";

/** Small pages: the first rows are there at once, and little is held beside the rows. */
const PAGE_SIZE = 250;
/** KeptRows of one page are taken in without a pause; then requests get their turn. */
const TICK_MS = 2_000;
/** The wall clock went on this much more than the process: the machine slept, and the watch may be dead without knowing. */
const SLEPT_MS = 20_000;

export interface LiveOptions {
  readonly api: ReadApi;
  readonly settings: SettingValues;
  /** The name of the kubeconfig's context, or where the cluster was found. */
  readonly context: string;
  /** The API server's address. */
  readonly server: string;
  /** `-n`: what belongs to this namespace alone, wherever it is stored. */
  readonly namespace?: string | undefined;
  /** Shown where there is no `-n` and the user may not list all namespaces. */
  readonly fallbackNamespace: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly tuning?: WatchTuning;
}

/** Filters that are not in force are counted up to this. */
const MAX_FAILING = 1_000;

type Live = State["live"];

/** What the page shows, kept up to date. */
export class LiveView {
  readonly rows = new KeptRows();
  readonly exceptions = new KeptExceptions();
  /** Raised at each change of `state`. */
  readonly changed = new ChangeSignal();
  readonly rights: Rights;
  readonly reports: ReportTimes;
  readonly #options: LiveOptions;
  /** By what they are about; see `#note`. */
  readonly #notes = new Map<string, string>();
  #namespace: string | undefined;
  #listed: State["listed"] = { done: false, read: 0 };
  #live: Live;
  #relist: () => void = () => {};
  /** Changes of exceptions, and of what the user may do with them. */
  #otherChanges = 0;

  constructor(options: LiveOptions) {
    this.#options = options;
    this.#namespace = options.namespace;
    this.rights = new Rights(options.api);
    this.reports = new ReportTimes({ ...options, changed: this.changed });
    this.#live = { connected: true, since: formatTime(options.now()) };
  }

  /** The one namespace whose findings are shown; undefined: all. */
  get namespace(): string | undefined {
    return this.#namespace;
  }

  state(): State {
    const { context, server } = this.#options;
    return {
      context,
      server,
      ...(this.#namespace !== undefined && { onlyNamespace: this.#namespace }),
      notes: [...this.#notes.values()],
      listed: this.#listed,
      live: this.#live,
      revision: this.rows.revision + this.#otherChanges,
      mayAccept: this.rights.mayCreate,
      reports: this.reports.known,
    };
  }

  /** Lists and watches until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let lastMs = this.#options.now();
    const ticking = every(TICK_MS, () => {
      const nowMs = this.#options.now();
      if (nowMs - lastMs > SLEPT_MS) this.#relist();
      lastMs = nowMs;
      if (this.rows.endExceptions(nowMs)) this.changed.raise();
      this.#askRights(signal);
      // After the first list, which comes first.
      if (this.#listed.done) void this.reports.refresh(this.#namespace, signal);
    }, { signal });
    await Promise.all([ticking, this.#follow(signal)]);
  }

  /** Findings of one namespace may be stored in others: all are read. Where that is forbidden at the start, only that one is. */
  async #follow(signal: AbortSignal): Promise<void> {
    const isAllowed = await this.#followIn(undefined, signal);
    if (isAllowed || signal.aborted) return;
    const { namespace, fallbackNamespace } = this.#options;
    this.#namespace = namespace ?? fallbackNamespace;
    this.#note(
      "namespace",
      `Only what is stored in the namespace "${this.#namespace}" is shown: you may not list ${
        resourceName(OBSERVATIONS)
      } in all namespaces.${
        namespace === undefined ? " To see another one: zen-watcher ui -n NAMESPACE" : ""
      }`,
    );
    await this.#followIn(this.#namespace, signal);
  }

  /** Resolves with false where `storedIn` is all namespaces and that is forbidden, before anything was listed. */
  async #followIn(storedIn: string | undefined, signal: AbortSignal): Promise<boolean> {
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const others = Promise.all([this.#watchExceptions(both), this.#watchFilters(both)]);
    let isAllowed = true;
    const events = watch<StoredObservation>(this.#options.api, OBSERVATIONS, {
      ...this.#watchOptions(storedIn, both),
      onPage: ({ read, remaining }) => {
        if (this.#listed.done) return;
        this.#listed = { done: false, read, ...(remaining !== undefined && { remaining }) };
        this.changed.raise();
      },
      onState: (state) => this.#observed(state),
    });
    this.#relist = () => events.relist();
    for await (const event of events) {
      this.#take(event);
      if (event.type !== "error") continue;
      if (event.state === "forbidden" && storedIn === undefined && !this.#listed.done) {
        isAllowed = false;
        break;
      }
    }
    stop.abort();
    await others;
    return isAllowed;
  }

  #watchOptions(namespace: string | undefined, signal: AbortSignal) {
    return {
      pageSize: PAGE_SIZE,
      ...this.#options.tuning,
      signal,
      ...(namespace !== undefined && { namespace }),
    };
  }

  #isShown(observation: StoredObservation): boolean {
    return this.#namespace === undefined || subjectNamespaceOf(observation) === this.#namespace;
  }

  #take(event: WatchEvent<StoredObservation>): void {
    switch (event.type) {
      case "init":
        return this.rows.beginList();
      case "apply":
        if (!this.#isShown(event.object)) return;
        this.rows.apply(event.object);
        break;
      case "delete":
        this.rows.delete(event.object);
        break;
      case "synced":
        this.rows.endList();
        this.#listed = { done: true, read: this.rows.size };
        this.#note(
          "full",
          this.rows.isFull
            ? `Only the first ${MAX_ROWS.toLocaleString("en")} Observations are shown: there are more`
            : undefined,
        );
        break;
      case "error":
        this.#live = {
          connected: false,
          since: this.#live.connected ? formatTime(this.#options.now()) : this.#live.since,
          error: errorMessage(event.error),
        };
    }
    this.changed.raise();
  }

  /** The watch says so when it is listed or connected again. */
  #observed(state: WatchState): void {
    if (state !== "synced" || this.#live.connected) return;
    this.#live = { connected: true, since: formatTime(this.#options.now()) };
    this.changed.raise();
  }

  async #watchExceptions(signal: AbortSignal): Promise<void> {
    const what = resourceName(OBSERVATION_EXCEPTIONS);
    for await (
      const event of watch<KubeObject>(
        this.#options.api,
        OBSERVATION_EXCEPTIONS,
        this.#watchOptions(this.#namespace, signal),
      )
    ) {
      if (event.type === "init") this.exceptions.beginList();
      else if (event.type === "apply") this.exceptions.apply(event.object);
      else if (event.type === "delete") this.exceptions.delete(event.object);
      else if (event.type === "synced") {
        this.exceptions.endList();
        this.#note("exceptions", undefined);
        this.#askRights(signal);
      } else if (event.state !== "failing") {
        this.exceptions.clear();
        this.rights.forget();
        this.#note(
          "exceptions",
          event.state === "absent"
            ? `Exceptions are not shown: this cluster does not serve ${what}`
            : `Exceptions are not shown: you may not list ${what}`,
        );
      }
      this.#otherChanges++;
      this.changed.raise();
    }
  }

  /** Tells of filters that are not in force; silent where they cannot be read. */
  async #watchFilters(signal: AbortSignal): Promise<void> {
    const failing = new Map<string, string>();
    for await (
      const event of watch<KubeObject>(
        this.#options.api,
        OBSERVATION_FILTERS,
        this.#watchOptions(this.#namespace, signal),
      )
    ) {
      if (event.type === "init") failing.clear();
      else if (event.type === "apply" || event.type === "delete") {
        const { metadata: { namespace = "", name = "" } } = event.object;
        const problem = event.type === "delete" ? undefined : problemOf(event.object);
        if (problem === undefined) failing.delete(`${namespace}/${name}`);
        else if (failing.size < MAX_FAILING) failing.set(`${namespace}/${name}`, problem);
      } else continue;
      const [first] = failing;
      const others = failing.size > 1 ? ` (and ${failing.size - 1} more)` : "";
      this.#note(
        "filters",
        first &&
          `ObservationFilter "${first[0]}" is not in force: ${
            first[1]
          }${others}. Look with: kubectl get observationfilters -A`,
      );
      this.changed.raise();
    }
  }

  #note(about: string, note: string | undefined): void {
    if (note === undefined) this.#notes.delete(about);
    else this.#notes.set(about, note);
  }

  /** In the background; what fails is asked again later. */
  #askRights(signal: AbortSignal): void {
    if (!this.exceptions.served) return;
    this.rights.refresh(this.#namespaces(), signal).then((isChanged) => {
      if (!isChanged) return;
      this.#otherChanges++;
      this.changed.raise();
    }).catch(() => {});
  }

  /** Those with the most findings first. */
  #namespaces(): string[] {
    if (this.#namespace !== undefined) return [this.#namespace];
    const counts = new Map<string, number>();
    for (const { namespace } of this.rows.all()) counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
    for (const namespace of this.exceptions.namespaces()) {
      if (!counts.has(namespace)) counts.set(namespace, 0);
    }
    return [...counts].sort(([, one], [, other]) => other - one).map(([namespace]) => namespace);
  }
}

/** Why a filter is not in force; undefined where it is. */
function problemOf(filter: KubeObject): string | undefined {
  const ready = readyOf(filter);
  return ready?.["status"] === "False" ? String(ready["message"] ?? "") : undefined;
}
