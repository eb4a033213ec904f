/** What became of the samples: the controller's books, and the Observations that are stored. */
import type { KubeApi } from "../../src/kube/api.ts";
import { OBSERVATIONS } from "../../src/store/observations.ts";
import expected from "../samples/expected.json" with { type: "json" };
import { tally } from "./feed.ts";
import { textTable } from "./table.ts";

const POLL_MS = 250;
const SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN"];

type Counts = Readonly<Record<string, number>>;
type Accounts = Readonly<Record<string, Counts>>;

/** The controller's books and the stored Observations by source. */
export interface FoundCounts {
  readonly accounts: Accounts;
  readonly stored: Accounts;
}

/** Where to look, and how long. */
export interface FoundOptions {
  readonly api: KubeApi;
  /** The controller's. */
  readonly url: string;
  readonly instance: string;
  readonly deadlineMs: number;
}

/** Waits until nothing is in flight and every sample is stored, or the deadline. */
export async function untilStored({ api, url, instance, deadlineMs }: FoundOptions): Promise<FoundCounts> {
  const labelSelector = `zen.kube-zen.io/instance=${instance}`;
  for (const deadline = performance.now() + deadlineMs;;) {
    const accounts: Accounts = (await (await fetch(`${url}/tools/status`)).json()).books;
    const stored = tally((await api.list(OBSERVATIONS, { labelSelector })).items);
    const isMissing = counts(stored).some(({ want, have }) => have < want);
    const found = { accounts, stored };
    if ((bookProblems(found).length === 0 && !isMissing) || performance.now() > deadline) return found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Where the books do not balance. */
export function bookProblems({ accounts }: FoundCounts): string[] {
  return Object.entries(accounts).flatMap(([source, account]) => {
    const { events = 0, created = 0, deduped = 0, filtered = 0, failed = 0, inFlight = 0 } = account;
    const sum = created + deduped + filtered + failed;
    if (inFlight === 0 && events === sum) return [];
    return [
      `the books of ${source} do not balance: ${events} events, ${sum} outcomes, ${inFlight} in flight`,
    ];
  });
}

/** Where other Observations are stored than the samples make. */
export function sampleDifferences({ stored }: FoundCounts): string[] {
  return counts(stored).flatMap(({ source, severity, want, have }) =>
    want === have ? [] : [`${source} ${severity}: expected ${want} Observations, found ${have}`]
  );
}

function counts(stored: Accounts) {
  const wanted: Accounts = expected;
  const sources = new Set([...Object.keys(wanted), ...Object.keys(stored)]);
  return [...sources].flatMap((source) =>
    SEVERITIES.map((severity) => ({
      source,
      severity,
      want: wanted[source]?.[severity] ?? 0,
      have: stored[source]?.[severity] ?? 0,
    }))
  );
}

/** What became of the events of each source. */
export function outcomesTable({ accounts }: FoundCounts): string {
  const outcomes = ["events", "created", "deduped", "filtered", "failed"];
  return textTable(["SOURCE", ...outcomes.map((name) => name.toUpperCase())], rows(accounts, outcomes));
}

/** The Observations of each source by severity. */
export function observationsTable({ stored }: FoundCounts): string {
  return textTable(["OBSERVATIONS", ...SEVERITIES], rows(stored, SEVERITIES));
}

function rows(accounts: Accounts, columns: readonly string[]): string[][] {
  return Object.entries(accounts).sort(([a], [b]) => a < b ? -1 : 1)
    .map(([source, row]) => [source, ...columns.map((column) => String(row[column] ?? 0))]);
}
