/** When each source made its newest report, as the reports say: read in the background, with the user's rights. */
import type { ChangeSignal } from "../model/change_signal.ts";
import { errorMessage } from "../model/error_message.ts";
import { formatTime } from "../model/time.ts";
import type { ReadApi } from "../read/pages.ts";
import { madeAt, placeRight, readReports, reportPlaces } from "../read/reports.ts";
import { SOURCES } from "../sources/registry.ts";
import type { SettingValues } from "../text/setting.ts";
import type { State } from "./protocol.ts";

/** Most reports of a kind that are read: a cluster may hold gigabytes of them. */
const MAX_REPORTS = 2_000;
/** The age at which they are read again. */
const MAX_AGE_MS = 3_600_000;
/** How long a page counts as showing them after it fetched the overview. */
const SHOWN_MS = 600_000;
/** The pause after an error. */
const RETRY_MS = 60_000;
/** How many reports are read between two messages of progress. */
const STEP = 100;

export interface ReportTimesOptions {
  readonly api: ReadApi;
  /** The namespaces of the ConfigMaps that some sources report in. */
  readonly settings: SettingValues;
  /** Raised at each change of `known`. */
  readonly changed: ChangeSignal;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic?: () => number;
}

/** Reads the times while a page shows them, and keeps them. */
export class ReportTimes {
  readonly #options: ReportTimesOptions;
  readonly #monotonic: () => number;
  #known: State["reports"] = { newest: {}, read: 0, readAt: "", missing: [], cut: [] };
  #shownAt = -Infinity;
  #dueAt = -Infinity;

  constructor(options: ReportTimesOptions) {
    this.#options = options;
    this.#monotonic = options.monotonic ?? (() => performance.now());
  }

  get known(): State["reports"] {
    return this.#known;
  }

  /** Notes that a page shows them. */
  shown(): void {
    this.#shownAt = this.#monotonic();
  }

  /** Reads those of one namespace or of all, where a page shows them and they are missing or old. */
  async refresh(namespace: string | undefined, signal: AbortSignal): Promise<void> {
    const nowMs = this.#monotonic();
    if (nowMs - this.#shownAt > SHOWN_MS || nowMs < this.#dueAt) return;
    // Not before this reading is over.
    this.#dueAt = Infinity;
    let pauseMs = MAX_AGE_MS;
    try {
      await this.#read(namespace, signal);
    } catch (error) {
      if (signal.aborted) return;
      pauseMs = RETRY_MS;
      this.#tell({ ...this.#known, problem: errorMessage(error) });
    } finally {
      this.#dueAt = this.#monotonic() + pauseMs;
    }
  }

  async #read(namespace: string | undefined, signal: AbortSignal): Promise<void> {
    const { api, settings, now } = this.#options;
    const newest: Record<string, string> = {};
    const missing: string[] = [];
    const cut = new Set<string>();
    let read = 0;
    for (const place of SOURCES.flatMap((source) => reportPlaces(source, { namespace, settings }))) {
      const { source: { name } } = place;
      let count = 0;
      const state = await readReports(api, place, {
        signal,
        take: (report) => {
          if (++count > MAX_REPORTS) {
            cut.add(name);
            return true;
          }
          const made = madeAt(report);
          if (made > (newest[name] ?? "")) newest[name] = made;
          if (++read % STEP === 0 && this.#known.readAt === "") this.#tell({ ...this.#known, newest, read });
          return false;
        },
      });
      if (state === "forbidden") missing.push(placeRight(place));
    }
    this.#tell({ newest, read, readAt: formatTime(now()), missing, cut: [...cut] });
  }

  #tell(known: State["reports"]): void {
    this.#known = known;
    this.#options.changed.raise();
  }
}
