/** Leader election on a Lease, by client-go's rules: whoever keeps renewing leads; silence for its duration frees it. */
import { type Clock, systemClock } from "../model/clock.ts";
import { type Logger, logger } from "../telemetry/logging.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import { hasStatus, type KubeApi, type KubeObject } from "./api.ts";
import { followLease } from "./lease_follower.ts";
import { type LeaseRecord, LEASES, microTime, readRecord, withRecord } from "./lease_record.ts";
import { deadline, elapsed, settledWithin, type Sleep, sleep } from "./retry.ts";

export interface LeaderElectionOptions {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly name: string;
  /** Unique among the candidates. The same identity after a restart takes its own lease back at once. */
  readonly identity: string;
  /** The leader's work, until `signal` aborts. If it throws, the lease is released and `run` throws the same. */
  readonly onStarted: (signal: AbortSignal) => void | Promise<void>;
  /** Called once for each `onStarted`, after its work has ended (or, on a stop, had its share of `stopGraceMs`). */
  readonly onStopped?: () => void;
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

/** Takes part in an election. */
export interface LeaderElection {
  /** Competes, leads, competes again, until `signal` aborts; then releases the lease. */
  run(signal: AbortSignal): Promise<void>;
  isLeader(): boolean;
  /** To be called right before each write of the leader. Throws `NotLeaderError`. */
  assertLeader(): void;
  /** The monotonic reading up to which this process may write as leader; -Infinity when it does not lead. */
  deadlineMs(): number;
  /** Who leads, as far as known. */
  leader(): string | undefined;
}

/** A leader's write was about to be made by a process that does not lead, or no longer. */
export class NotLeaderError extends Error {
  override readonly name = "NotLeaderError";
}

interface Election {
  readonly options: Required<Omit<LeaderElectionOptions, "metrics" | "onStopped">> & LeaderElectionOptions;
  lease: KubeObject | undefined;
  /** The record last seen and the local time since when it has not changed: the remote clock proves nothing. */
  observed: { readonly record: LeaseRecord; readonly text: string; readonly sinceMs: number } | undefined;
  lastHolder: string | undefined;
  leadUntilMs: number;
  /** Guards against a pause of the whole machine, during which the monotonic clock may stand still too. */
  leadUntilWallMs: number;
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
    lease: undefined,
    observed: undefined,
    lastHolder: undefined,
    leadUntilMs: -Infinity,
    leadUntilWallMs: -Infinity,
  };
  options.metrics?.isLeader.set(0);
  return {
    async run(signal) {
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
    deadlineMs: () => holds(election) ? election.leadUntilMs : -Infinity,
    leader: () => election.observed?.record.holderIdentity || undefined,
  };
}

function holds({ options: { clock }, leadUntilMs, leadUntilWallMs }: Election): boolean {
  return clock.monotonic() < leadUntilMs && clock.now() < leadUntilWallMs;
}

/** Resolves true once the lease is ours, false when aborted. */
async function acquire(election: Election, signal: AbortSignal): Promise<boolean> {
  const { api, namespace, name, retryMs, random, log, sleep } = election.options;
  await using follower = followLease({ api, namespace, name, signal, sleep });
  while (!signal.aborted) {
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
  const { onStarted, onStopped, clock, sleep, metrics, log, namespace, name, identity, stopGraceMs } =
    election.options;
  const fields = { lease: `${namespace}/${name}`, identity };
  const work = new AbortController();
  const renewing = new AbortController();
  const stopRenewing = () => renewing.abort();
  signal.addEventListener("abort", stopRenewing, { once: true });
  if (signal.aborted) stopRenewing();
  let failure: { readonly error: unknown } | undefined;
  log.info("Leading", fields);
  metrics?.isLeader.set(1);
  const working = (async () => await onStarted(work.signal))().catch((error: unknown) => {
    failure = { error };
    stopRenewing();
  });
  await renewUntilLost(election, renewing.signal);
  signal.removeEventListener("abort", stopRenewing);
  const stopping = renewing.signal.aborted;
  work.abort(new NotLeaderError(`Cannot go on as leader: ${stopping ? "stopping" : "the lease is lost"}`));
  metrics?.isLeader.set(0);
  // When the lease was lost another term may follow: it must not meet the work of this one.
  const stoppedMs = clock.monotonic();
  if (stopping) await settledWithin(working, stopGraceMs / 2, { sleep });
  else await working;
  const held = holds(election);
  election.leadUntilMs = -Infinity;
  log.info("Leading no more", { ...fields, stopping });
  if (stopping && held) await release(election, stoppedMs + stopGraceMs - clock.monotonic());
  onStopped?.();
  if (failure) throw failure.error;
}

async function renewUntilLost(election: Election, signal: AbortSignal): Promise<void> {
  const { clock, retryMs, sleep, log, namespace, name } = election.options;
  while (holds(election)) {
    const pauseMs = Math.min(retryMs, Math.max(0, election.leadUntilMs - clock.monotonic()));
    if (!await elapsed(pauseMs, { signal, sleep }) || !holds(election)) return;
    try {
      if (!await tryAcquireOrRenew(election, signal)) {
        election.leadUntilMs = -Infinity;
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      log.warn("Cannot renew the lease", { lease: `${namespace}/${name}`, error });
    }
  }
}

/** True if the lease is ours afterwards. */
async function tryAcquireOrRenew(election: Election, signal: AbortSignal): Promise<boolean> {
  const { clock, renewDeadlineMs, name, namespace, identity } = election.options;
  const leading = holds(election);
  const limitMs = leading
    ? Math.min(renewDeadlineMs / 2, election.leadUntilMs - clock.monotonic())
    : renewDeadlineMs / 2;
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

/** Puts our name on `lease`, or creates it. False where it is not as we knew it. The time we may lead for counts from before it was sent. */
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
  try {
    const written = lease
      ? await api.replace(LEASES, withRecord(lease, record), at)
      : await api.create(LEASES, withRecord({ metadata: { name, namespace } }, record), at);
    observe(election, written);
  } catch (error) {
    if (hasStatus(error, 409) || (lease && hasStatus(error, 404))) return false;
    throw error;
  }
  election.leadUntilMs = sentMs + renewDeadlineMs;
  election.leadUntilWallMs = sentWallMs + leaseDurationMs;
  return true;
}

/** Gives the lease back, so that a follower need not wait for it to expire. */
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
    // A renewal that the stop cut short was applied after all.
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

/** Counts changes of leader; whom one finds leading at first is no change. */
function noteHolder(election: Election, holder: string): void {
  const { identity, metrics } = election.options;
  if (holder === "" || holder === election.lastHolder) return;
  if (election.lastHolder !== undefined || holder === identity) metrics?.leaderTransitions.inc();
  election.lastHolder = holder;
}

/** When the lease counts as abandoned, by the local clock. */
function freeAtMs({ observed, options }: Election): number {
  if (observed === undefined) return -Infinity;
  const { leaseDurationSeconds } = observed.record;
  return observed.sinceMs +
    (leaseDurationSeconds > 0 ? leaseDurationSeconds * 1_000 : options.leaseDurationMs);
}
