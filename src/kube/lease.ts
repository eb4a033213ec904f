/** Leader election on a Lease, by client-go's rules: the holder renews it, and a holder silent for its duration loses it. */
import type { Beat } from "../model/beat.ts";
import { type Clock, systemClock } from "../model/time.ts";
import { isObject } from "../model/json.ts";
import { type Logger, logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { deadline, hasStatus, type KubeApi, type KubeObject, type ResourceType } from "./api.ts";
import { elapsed, settledWithin, type Sleep, sleep } from "./retry.ts";
import { watch, type WatchEvent } from "./watch.ts";

/** A candidate's lease, work and clocks. */
export interface LeaderElectionOptions {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly name: string;
  /** Unique to the process: see `holderIdentity`. */
  readonly identity: string;
  readonly clock?: Clock;
  readonly sleep?: Sleep;
  readonly random?: () => number;
  readonly leaseDurationMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryMs?: number;
  /** How long a stop may take: up to half of it for the work to end, the rest for the release. */
  readonly stopGraceMs?: number;
  readonly metrics?: Pick<Metrics, "isLeader" | "leaderTransitions">;
  readonly log?: Logger;
}

/** The work of the leader, and callbacks. */
export interface LeaderWork {
  /** The leader's work, until `signal` aborts. If it throws, the lease is released and `run` throws the same. */
  readonly onStarted: (signal: AbortSignal) => void | Promise<void>;
  /** Called before each write of the Lease; the function it returns is called with the resourceVersion of the answer. */
  readonly onSend?: () => (resourceVersion: string | undefined) => void;
  readonly beat?: Beat;
}

/** Takes part in an election. */
export interface LeaderElection {
  /** Competes, leads, competes again, until `signal` aborts; then releases the lease. */
  run(signal: AbortSignal, work: LeaderWork): Promise<void>;
  isLeader(): boolean;
  /** Call this right before each write of the leader. Throws `NotLeaderError` if this process's term is over. */
  assertLeader(): void;
  /** The holder's identity, if known. */
  leader(): string | undefined;
}

/** This process is not the leader, or no longer. */
export class NotLeaderError extends Error {
  override readonly name = "NotLeaderError";
}

/** The time this process may write as leader. */
interface Term {
  /** By the monotonic clock, counted from before the renewal was sent. */
  readonly untilMs: number;
  /** By the wall clock too, because the monotonic clock may stop while the machine is suspended. */
  readonly untilWallMs: number;
}

interface Election {
  readonly options: Required<Omit<LeaderElectionOptions, "metrics">> & LeaderElectionOptions;
  term: Term | undefined;
  /** The Lease as last read or written. */
  lease: KubeObject | undefined;
  /** The last record, and the local time since when it is unchanged. The record's own times are of another clock and are not used. */
  observed: { readonly record: LeaseRecord; readonly text: string; readonly sinceMs: number } | undefined;
  lastHolder: string | undefined;
  work: LeaderWork;
}

/** Longest round of the election (two requests and a pause) before the liveness check fails. The work of an ended term must end within it too. */
const ROUND_MS = 60_000;

/** An identity that no other process has: two processes may be given one Pod name. */
export function holderIdentity(podName: string): string {
  return `${podName}_${crypto.randomUUID()}`;
}

/** A candidate for the lease `namespace`/`name`. */
export function createLeaderElection(options: LeaderElectionOptions): LeaderElection {
  const election: Election = {
    options: {
      clock: systemClock,
      sleep,
      random: Math.random,
      leaseDurationMs: 15_000,
      renewDeadlineMs: 10_000,
      retryMs: 2_000,
      stopGraceMs: 1_000,
      log: logger("lease"),
      ...options,
    },
    term: undefined,
    lease: undefined,
    observed: undefined,
    lastHolder: undefined,
    work: { onStarted: () => {} },
  };
  options.metrics?.isLeader.set(0);
  return {
    async run(signal, work) {
      election.work = work;
      while (!signal.aborted) {
        if (await acquire(election, signal)) await lead(election, signal);
      }
    },
    isLeader: () => holds(election),
    assertLeader() {
      if (!holds(election)) {
        throw new NotLeaderError(`Cannot write as leader: "${options.identity}" does not lead`);
      }
    },
    leader: () => election.observed?.record.holderIdentity || undefined,
  };
}

function holds({ options: { clock }, term }: Election): boolean {
  return term !== undefined && clock.monotonic() < term.untilMs && clock.now() < term.untilWallMs;
}

function msLeft({ options: { clock }, term }: Election): number {
  return term === undefined ? 0 : Math.max(0, term.untilMs - clock.monotonic());
}

/** True once this process holds the lease, false when aborted. */
async function acquire(election: Election, signal: AbortSignal): Promise<boolean> {
  const { namespace, name, retryMs, random, log } = election.options;
  await using follower = followLease(election, signal);
  while (!signal.aborted) {
    election.work.beat?.within(ROUND_MS);
    try {
      if (await tryAcquireOrRenew(election, signal)) return true;
    } catch (error) {
      if (signal.aborted) break;
      log.warn("Cannot try for the lease", { lease: `${namespace}/${name}`, error });
    }
    const freeInMs = freeAtMs(election) - election.options.clock.monotonic();
    const pauseMs = freeInMs > 0 ? Math.min(retryMs, freeInMs) : retryMs;
    await follower.wait(pauseMs + random() * retryMs / 10);
  }
  return false;
}

/** Leads until the lease is lost, the work fails, or `signal` aborts. */
async function lead(election: Election, signal: AbortSignal): Promise<void> {
  const { clock, sleep, metrics, log, namespace, name, identity, stopGraceMs } = election.options;
  const fields = { lease: `${namespace}/${name}`, identity };
  const work = new AbortController();
  const renewing = new AbortController();
  const stopRenewing = () => renewing.abort();
  signal.addEventListener("abort", stopRenewing, { once: true });
  if (signal.aborted) stopRenewing();
  let failure: { readonly error: unknown } | undefined;
  log.info("Leading", fields);
  metrics?.isLeader.set(1);
  const working = (async () => await election.work.onStarted(work.signal))().catch((error: unknown) => {
    failure = { error };
    stopRenewing();
  });
  await renewUntilLost(election, renewing.signal);
  signal.removeEventListener("abort", stopRenewing);
  const stopping = renewing.signal.aborted;
  work.abort(new NotLeaderError(`Cannot go on as leader: ${stopping ? "stopping" : "the lease is lost"}`));
  metrics?.isLeader.set(0);
  // Another term may follow a lost lease: the work of this term has to end first.
  const stoppedMs = clock.monotonic();
  if (stopping) await settledWithin(working, stopGraceMs / 2, { sleep });
  else await working;
  const held = holds(election);
  election.term = undefined;
  log.info("Leading no more", { ...fields, stopping });
  if (stopping && held) await release(election, stoppedMs + stopGraceMs - clock.monotonic());
  if (failure) throw failure.error;
}

async function renewUntilLost(election: Election, signal: AbortSignal): Promise<void> {
  const { retryMs, sleep, log, namespace, name } = election.options;
  while (holds(election)) {
    election.work.beat?.within(ROUND_MS);
    const pauseMs = Math.min(retryMs, msLeft(election));
    if (!await elapsed(pauseMs, { signal, sleep }) || !holds(election)) return;
    try {
      if (!await tryAcquireOrRenew(election, signal)) {
        election.term = undefined;
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      log.warn("Cannot renew the lease", { lease: `${namespace}/${name}`, error });
    }
  }
}

/** True if this process holds the lease afterwards. */
async function tryAcquireOrRenew(election: Election, signal: AbortSignal): Promise<boolean> {
  const { clock, renewDeadlineMs, name, namespace, identity } = election.options;
  const leading = holds(election);
  const limitMs = leading ? Math.min(renewDeadlineMs / 2, msLeft(election)) : renewDeadlineMs / 2;
  using limit = deadline(limitMs, `renew lease "${namespace}/${name}"`, signal);
  try {
    if (leading && election.lease && await write(election, election.lease, limit.signal)) return true;
    const lease = await read(election, limit.signal);
    if (lease === undefined) return await write(election, undefined, limit.signal);
    const { record } = observe(election, lease);
    const free = record.holderIdentity === "" || record.holderIdentity === identity ||
      clock.monotonic() >= freeAtMs(election);
    return free && await write(election, lease, limit.signal);
  } catch (error) {
    throw limit.signal.aborted && !signal.aborted ? limit.signal.reason : error;
  }
}

async function read({ options }: Election, signal: AbortSignal): Promise<KubeObject | undefined> {
  try {
    return await options.api.get(LEASES, options.name, { namespace: options.namespace, signal });
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

/** Writes this process's record into `lease`, or creates it. False if the Lease has changed since it was read. */
async function write(
  election: Election,
  lease: KubeObject | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const { api, clock, namespace, name, identity, leaseDurationMs, renewDeadlineMs } = election.options;
  const sentMs = clock.monotonic();
  const sentWallMs = clock.now();
  const before = lease ? readRecord(lease) : undefined;
  const ours = before?.holderIdentity === identity;
  const record: LeaseRecord = {
    holderIdentity: identity,
    leaseDurationSeconds: Math.ceil(leaseDurationMs / 1_000),
    acquireTime: ours && before?.acquireTime ? before.acquireTime : microTime(sentWallMs),
    renewTime: microTime(sentWallMs),
    leaseTransitions: before ? before.leaseTransitions + (ours ? 0 : 1) : 0,
  };
  const at = { namespace, signal };
  const answered = election.work.onSend?.();
  try {
    const written = lease
      ? await api.replace(LEASES, withRecord(lease, record), at)
      : await api.create(LEASES, withRecord({ metadata: { name, namespace } }, record), at);
    answered?.(written.metadata.resourceVersion);
    observe(election, written);
  } catch (error) {
    if (hasStatus(error, 409) || (lease && hasStatus(error, 404))) return false;
    throw error;
  }
  election.term = { untilMs: sentMs + renewDeadlineMs, untilWallMs: sentWallMs + leaseDurationMs };
  return true;
}

/** Gives the lease back, so that a follower does not wait for it to expire. */
async function release(election: Election, limitMs: number): Promise<void> {
  const { api, clock, namespace, name, identity, log } = election.options;
  using limit = deadline(limitMs, `release lease "${namespace}/${name}"`);
  const { signal } = limit;
  const give = async (lease: KubeObject) => {
    const now = microTime(clock.now());
    const { leaseTransitions } = readRecord(lease);
    const free = {
      holderIdentity: "",
      leaseDurationSeconds: 1,
      acquireTime: now,
      renewTime: now,
      leaseTransitions,
    };
    await api.replace(LEASES, withRecord(lease, free), { namespace, signal });
  };
  try {
    try {
      if (election.lease) return await give(election.lease);
    } catch (error) {
      if (!hasStatus(error, 409)) throw error;
    }
    // The stop interrupted a renewal that was applied nevertheless.
    const lease = await read(election, signal);
    if (lease && readRecord(lease).holderIdentity === identity) await give(lease);
  } catch (error) {
    log.warn("Cannot release the lease", { lease: `${namespace}/${name}`, error });
  }
}

function observe(election: Election, lease: KubeObject): { readonly record: LeaseRecord } {
  const record = readRecord(lease);
  const text = JSON.stringify(record);
  election.lease = lease;
  if (election.observed?.text !== text) {
    election.observed = { record, text, sinceMs: election.options.clock.monotonic() };
  }
  noteHolder(election, record.holderIdentity);
  return { record };
}

/** Counts changes of the leader. The leader found at the start is no change. */
function noteHolder(election: Election, holder: string): void {
  const { identity, metrics } = election.options;
  if (holder === "" || holder === election.lastHolder) return;
  if (election.lastHolder !== undefined || holder === identity) metrics?.leaderTransitions.inc();
  election.lastHolder = holder;
}

/** When the lease counts as abandoned, by the monotonic clock. */
function freeAtMs({ observed, options }: Election): number {
  if (observed === undefined) return -Infinity;
  const { leaseDurationSeconds } = observed.record;
  return observed.sinceMs +
    (leaseDurationSeconds > 0 ? leaseDurationSeconds * 1_000 : options.leaseDurationMs);
}

/** Waits that end early. */
interface LeaseFollower extends AsyncDisposable {
  /** Resolves after `ms`, as soon as the lease is released or deleted, or when the follower is stopped. */
  wait(ms: number): Promise<void>;
}

/** Watches the lease until disposed of or aborted, so that a takeover does not wait for the next try. The lease is read again then. */
function followLease(
  { options: { api, namespace, name, sleep } }: Election,
  signal: AbortSignal,
): LeaseFollower {
  const stop = new AbortController();
  let wake = new AbortController();
  const end = () => {
    stop.abort();
    wake.abort();
  };
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  const following = (async () => {
    const scope = { namespace, fieldSelector: `metadata.name=${name}` };
    for await (const event of watch(api, LEASES, { ...scope, signal: stop.signal })) {
      if (isFreed(event)) wake.abort();
    }
  })();
  return {
    async wait(ms) {
      const woken = !await elapsed(ms, { signal: wake.signal, sleep });
      if (woken && !stop.signal.aborted) wake = new AbortController();
    },
    async [Symbol.asyncDispose]() {
      signal.removeEventListener("abort", end);
      end();
      await following;
    },
  };
}

function isFreed(event: WatchEvent): boolean {
  return event.type === "delete" ||
    (event.type === "apply" && readRecord(event.object).holderIdentity === "");
}

/** The resource of leader election. */
export const LEASES: ResourceType = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};

/** The holder of a Lease and its times. `holderIdentity` is "" after a release. */
export interface LeaseRecord {
  readonly holderIdentity: string;
  readonly leaseDurationSeconds: number;
  readonly acquireTime: string;
  readonly renewTime: string;
  readonly leaseTransitions: number;
}

/** Reads `spec` of a Lease. A field that is missing or of another type reads as released, or as 0. */
export function readRecord(lease: KubeObject): LeaseRecord {
  const spec = isObject(lease["spec"]) ? lease["spec"] : {};
  const text = (value: unknown) => typeof value === "string" ? value : "";
  const count = (value: unknown) => typeof value === "number" && value > 0 ? Math.floor(value) : 0;
  return {
    holderIdentity: text(spec["holderIdentity"]),
    leaseDurationSeconds: count(spec["leaseDurationSeconds"]),
    acquireTime: text(spec["acquireTime"]),
    renewTime: text(spec["renewTime"]),
    leaseTransitions: count(spec["leaseTransitions"]),
  };
}

/** `lease` with another record; everything else, the resourceVersion above all, stays. */
function withRecord(lease: KubeObject, record: LeaseRecord): KubeObject {
  const spec = isObject(lease["spec"]) ? lease["spec"] : {};
  return { ...lease, apiVersion: "coordination.k8s.io/v1", kind: "Lease", spec: { ...spec, ...record } };
}

/** Kubernetes' MicroTime: six digits, always. */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}
