/**
 * The composition root. Three groups run: caches (what every replica keeps), leader (what one replica does) and serve (HTTP).
 * A part is given only parts that were made before it; what may change decisions raises `evaluateAgain`.
 */
import { createCaches } from "./app/caches.ts";
import { createLeader } from "./app/leader.ts";
import { serve } from "./app/serve.ts";
import { createShared, type SharedOptions } from "./app/shared.ts";
import type { Health } from "./health.ts";
import type { Connection } from "./kube/api.ts";
import { createKubeClient } from "./kube/client.ts";
import { PostFeeds } from "./http/app.ts";
import type { Books, Metrics } from "./telemetry/metrics.ts";
import { logger } from "./telemetry/logging.ts";

export interface AppOptions
  extends Pick<SharedOptions, "settings" | "clock" | "memoryBytes" | "watchTuning"> {
  readonly connection: Connection;
}

/** A running program. */
export interface App {
  readonly url: string;
  readonly metricsUrl: string;
  /** Undefined where no certificate is given. */
  readonly tlsUrl: string | undefined;
  readonly metrics: Metrics;
  readonly books: Books;
  readonly health: Health;
  /** Stops the leader's parts, then HTTP, then the caches; resolves when everything has ended. Safe to call again. */
  stop(): Promise<void>;
}

/** The last status writes may take what finishing the requests left of its time-out, and this long in any case. */
const LEAST_FLUSH_MS = 5_000;

const log = logger("app");

/** Starts the program. Throws where it cannot even start: a bad setting, a port in use, an unreadable token. */
export async function startApp({ connection, ...options }: AppOptions): Promise<App> {
  const recording = new AbortController();
  const shared = createShared({
    ...options,
    connect: (how) => createKubeClient(connection, how),
    recording: recording.signal,
  });
  const { settings, health, metrics, books, states, api } = shared;

  const caches = createCaches(shared);
  const { mapped, sources, filters, filtersWatch, intake, pipeline } = caches;
  const feeding = {
    settings,
    states,
    intake,
    payloadError: books.payloadError,
    noteEvents: (ingester: string, count: number) => mapped.noteEvents(ingester, count),
  };
  const leader = createLeader(shared, { caches, feeding });
  const posts = new PostFeeds({ ...feeding, ackTimeoutMs: settings.webhookAckTimeoutMs });
  const feed = () => {
    posts.set(sources.all);
    leader.pulled.set(sources.all);
  };
  feed();
  mapped.changes.subscribe(() => {
    sources.set(mapped.active);
    const feeds = mapped.active.flatMap((source) => source.feeds);
    filters.replace("ingesters", feeds.flatMap(({ ingester }) => ingester?.filter ?? []));
    filtersWatch.sourcesChanged();
    feed();
  });
  const serving = await serve(shared, { caches, posts });

  caches.group.start();
  leader.group.start();
  health.set("http", true);
  let stopped: Promise<void> | undefined;
  /** In this order every event that was taken in has its outcome at the end, and every count is written. */
  async function stop(): Promise<void> {
    log.info("Stopping");
    health.set("running", false);
    await leader.group.stop();
    const leftMs = await serving.stop();
    await pipeline.store.repeats.flush(AbortSignal.timeout(Math.max(LEAST_FLUSH_MS, Math.floor(leftMs))));
    await caches.group.stop();
    pipeline.transitions.tell({ all: true });
    recording.abort();
    api.close();
    log.info("Stopped");
  }
  return { ...serving.urls, metrics, books, health, stop: () => stopped ??= stop() };
}
