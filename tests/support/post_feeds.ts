/** Post feeds over an intake that the test writes. */
import { systemClock } from "../../src/model/time.ts";
import type { PayloadError } from "../../src/model/outcome.ts";
import type { Intake, IntakeResult } from "../../src/pipeline/intake.ts";
import { readSettings } from "../../src/settings.ts";
import { PostFeeds } from "../../src/http/app.ts";
import type { PostFeed, Source } from "../../src/sources/source.ts";
import { SourceStates } from "../../src/sources/status.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";

/** One event, created. */
export const ONE_CREATED: IntakeResult = {
  received: 1,
  created: 1,
  deduped: 0,
  filtered: 0,
  failed: 0,
  undecided: 0,
  byReason: { filtered: {}, failed: {} },
  payloadErrors: [],
  payloadErrorCount: 0,
  fingerprints: [],
  filteredFingerprints: [],
};

/** A source that is posted to. It draws nothing: the intake of a test does not ask it to. */
export function postedSource(name: string, feed: Partial<PostFeed> = {}): Source {
  return {
    name,
    kind: "occurrence",
    summary: "",
    eventTypes: {},
    feeds: [{ type: "post", path: `/${name}/webhook`, ...feed }],
    draw: () => [],
  };
}

/** The feeds of these sources. */
export function postFeeds(
  sources: readonly Source[],
  { take, payloadError = () => {}, states = new SourceStates(createMetrics(), systemClock) }: {
    readonly take: Intake["take"];
    readonly states?: SourceStates;
    readonly payloadError?: (source: string, error: PayloadError) => void;
  },
): PostFeeds {
  const settings = readSettings(() => undefined);
  const posts = new PostFeeds({
    intake: { take },
    settings,
    ackTimeoutMs: settings.webhookAckTimeoutMs,
    states,
    payloadError,
    noteEvents: () => {},
  });
  posts.set(sources);
  return posts;
}
