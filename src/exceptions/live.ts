/** The ObservationExceptions of the cluster: which are in force, and what is said of each in its status. */
import { type Beat, NO_BEAT } from "../model/beat.ts";
import { type AcceptableFinding, parseAcceptance } from "../model/acceptance.ts";
import { type Clock, DAY_MS, formatSeconds } from "../model/time.ts";
import { isObject, type JsonObject } from "../model/json.ts";
import { sha256 } from "../model/identity.ts";
import { inTurns } from "../model/turns.ts";
import { ageKey, type KubeApi, type KubeObject, namespacedName } from "../kube/api.ts";
import { type Conditions, isSaid, type ReadyCondition, readyOf } from "../kube/conditions.ts";
import { Denial } from "../kube/denial.ts";
import { elapsed, type Sleep } from "../kube/retry.ts";
import { watch, type WatchEvent, type WatchTuning } from "../kube/watch.ts";
import { logger } from "../telemetry/logging.ts";
import { formatPath, formatProblem } from "../text/problem.ts";
import { type ExceptionDocument, readException } from "./document.ts";
import { entriesOf, ExceptionIndex } from "./judge.ts";
import { OBSERVATION_EXCEPTIONS } from "./kind.ts";

/** The findings that a change concerns: they are judged again. */
interface Concerned {
  readonly namespaces: ReadonlySet<string>;
  readonly rules: ReadonlySet<string>;
  readonly resources: ReadonlySet<string>;
}

export interface ExceptionsOptions {
  readonly api: KubeApi;
  readonly clock: Clock;
  /** Milliseconds since the epoch by the API server's clock: a wrong clock here ends no exception. */
  readonly now: () => number;
  readonly ownNamespace: string;
  /** EXCEPTION_MAX_DAYS. */
  readonly maxDays: number;
  /** Whether what belongs to a namespace ("": to none) is this shard's. */
  readonly covers: (belongsTo: string) => boolean;
  readonly conditions: Pick<Conditions, "set" | "forget" | "waiting">;
  readonly isLeader: () => boolean;
  readonly watchTuning?: WatchTuning | undefined;
  readonly sleep?: Sleep;
}

/** The stored findings, as exceptions concern them. */
export interface JudgedFindings {
  /** Called when other exceptions than before are in force; without an argument all findings are concerned. */
  judgeAgain(concerned?: Concerned): void;
  /** How many findings each exception covers, by `acceptanceText`. */
  acceptedCounts(): ReadonlyMap<string, number>;
}

/** The exceptions as `/tools/status` shows them. */
export interface ExceptionsReport {
  readonly state: "unread" | "synced" | "absent" | "forbidden";
  readonly inForce: number;
  /** Those of them that end within a week. */
  readonly expiring: number;
  readonly rejected: number;
}

/** The exceptions of a process. */
export interface Exceptions {
  /** The exception that covers a finding, as `acceptanceText`; "" where none does. Until the first read what is stored counts. */
  acceptanceOf(finding: AcceptableFinding, stored: string): string;
  /** True once the exceptions have been read. */
  readonly isKnown: boolean;
  /** Why an exception covers nothing any more: `has expired`. */
  whyEnded(acceptance: string): string;
  report(): ExceptionsReport;
  /** Follows them until `signal` aborts, and has the findings that each change concerns judged again. */
  run(
    signal: AbortSignal,
    options: { readonly findings: JudgedFindings; readonly beat?: Beat },
  ): Promise<void>;
}

/** Most exceptions in force in all, and of one namespace; the oldest of each namespace count. */
const MAX_EXCEPTIONS = 10_000;
const MAX_EXCEPTIONS_OF_NAMESPACE = 1_000;
/** Most combinations of rule and resource in all, and of one namespace: they are what takes memory. */
const MAX_ENTRIES = 200_000;
const MAX_ENTRIES_OF_NAMESPACE = 20_000;
/** Exceptions that are known by name; further ones have no status. */
const MAX_KNOWN = 2 * MAX_EXCEPTIONS;

/** Exceptions that end within this time are reported as expiring. */
const EXPIRING_MS = 7 * DAY_MS;
const TICK_MS = 1_000;
const ROUND_MS = 60_000;
/** A namespace below its share asks for a new list at most this often. */
const RELIST_MS = 60_000;
/** Until the first read the stored acceptances are judged again by the time this often. */
const UNREAD_TICKS = 30;
/** With more changes at once all findings are judged again. */
const MAX_CONCERNED = 50;
/** Status writes that wait. */
const MAX_WAITING = 500;

type Refusal = { readonly reason: "Invalid" | "TooLong"; readonly message: string };

interface Entry {
  /** Without its spec. */
  readonly object: KubeObject;
  readonly specHash: string;
  /** Absent where it is invalid or over a limit. */
  document?: ExceptionDocument;
  readonly refusal?: Refusal;
  isOver: boolean;
  isInForce: boolean;
  /** What its status was found to say: how many findings it covers, and whether it is in force. */
  said?: { readonly matched: number; readonly isInForce: boolean };
}

const log = logger("exceptions");

/** Creates the exceptions of a process; nothing is read before `run`. */
export function createExceptions(options: ExceptionsOptions): Exceptions {
  return new LiveExceptions(options);
}

class LiveExceptions implements Exceptions {
  readonly #options: ExceptionsOptions;
  readonly #inForce = new ExceptionIndex();
  #entries = new Map<string, Entry>();
  /** Between `init` and `synced`: what the list holds so far. */
  #listing: Map<string, Entry> | undefined;
  #state: ExceptionsReport["state"] = "unread";
  #isKnown = false;
  #relistedAt = -Infinity;
  /** Absent before `run`. */
  #findings: JudgedFindings | undefined;

  constructor(options: ExceptionsOptions) {
    this.#options = options;
  }

  get isKnown(): boolean {
    return this.#isKnown;
  }

  acceptanceOf(finding: AcceptableFinding, stored: string): string {
    if (this.#isKnown) {
      return this.#inForce.judge(finding, finding.belongsTo || this.#options.ownNamespace)?.text ?? "";
    }
    const acceptance = parseAcceptance(stored);
    return acceptance && acceptance.expiresAt > this.#options.now() ? stored : "";
  }

  whyEnded(acceptance: string): string {
    const ended = parseAcceptance(acceptance);
    if (!ended) return "is unknown";
    const entry = this.#entries.get(`${ended.namespace}/${ended.name}`);
    if (!entry) return "was deleted";
    if (entry.isInForce) return "no longer matches";
    return entry.document ? "has expired" : "accepts nothing any more: its condition Ready says why";
  }

  report(): ExceptionsReport {
    const entries = [...this.#entries.values()];
    const soon = this.#options.now() + EXPIRING_MS;
    return {
      state: this.#state,
      inForce: entries.filter(({ isInForce }) => isInForce).length,
      expiring:
        entries.filter(({ isInForce, document }) => isInForce && document && document.expiresAt < soon)
          .length,
      rejected: entries.filter(({ document }) => !document).length,
    };
  }

  async run(
    signal: AbortSignal,
    { findings, beat = NO_BEAT }: { readonly findings: JudgedFindings; readonly beat?: Beat },
  ): Promise<void> {
    this.#findings = findings;
    await Promise.all([
      this.#follow(signal, beat.of("watch")),
      this.#rounds(signal, beat.of("rounds")),
    ]);
  }

  async #follow(signal: AbortSignal, beat: Beat): Promise<void> {
    const { api, clock, watchTuning } = this.#options;
    const denial = new Denial(clock);
    const events = watch(api, OBSERVATION_EXCEPTIONS, {
      ...watchTuning,
      signal,
      beat,
      onState: (state) => {
        if (state !== "synced") return;
        denial.ended();
        if (this.#isKnown && !this.#listing) this.#state = "synced";
      },
    });
    for await (const event of events) {
      if (this.#take(denial.judge(event)) === "relist") events.relist();
    }
  }

  async #rounds(signal: AbortSignal, beat: Beat): Promise<void> {
    const { sleep, isLeader } = this.#options;
    for (let round = 1; await elapsed(TICK_MS, { signal, sleep }); round++) {
      beat.within(ROUND_MS);
      if (!this.#isKnown) {
        if (round % UNREAD_TICKS === 0) this.#findings?.judgeAgain();
        continue;
      }
      this.#followTime();
      if (isLeader()) this.#tell();
    }
  }

  #take(event: WatchEvent<KubeObject>): "relist" | undefined {
    switch (event.type) {
      case "init":
        this.#listing = new Map();
        return undefined;
      case "apply":
        return this.#listing ? this.#list(event.object) : this.#apply(event.object);
      case "delete":
        return this.#delete(event.object);
      case "synced":
        this.#synced();
        return undefined;
      case "error":
        this.#listing = undefined;
        if (event.state === "failing") return undefined;
        if (this.#state !== event.state) {
          log.warn("ObservationExceptions cannot be read", { state: event.state, error: event.error });
        }
        this.#state = event.state;
        // Without its CRD there is no exception. Without the right to read them the known ones hold until they expire.
        if (event.state === "absent" && (!this.#isKnown || this.#entries.size > 0)) {
          this.#replaceAll(new Map());
        }
        return undefined;
    }
  }

  #list(object: KubeObject): undefined {
    const listing = this.#listing ?? new Map<string, Entry>();
    listing.set(namespacedName(object), this.#read(object));
    if (listing.size <= 2 * MAX_KNOWN) return;
    admit(listing.values());
    for (const [key, { isOver }] of listing) if (isOver && listing.size > MAX_KNOWN) listing.delete(key);
  }

  #synced(): void {
    const listing = this.#listing ?? new Map<string, Entry>();
    this.#listing = undefined;
    this.#state = "synced";
    this.#replaceAll(listing);
  }

  #replaceAll(entries: Map<string, Entry>): void {
    admit(entries.values());
    this.#entries = entries;
    this.#inForce.clear();
    for (const entry of entries.values()) {
      entry.isInForce = this.#isDue(entry);
      if (entry.isInForce && entry.document) this.#inForce.add(entry.document);
    }
    this.#isKnown = true;
    this.#findings?.judgeAgain();
  }

  #apply(object: KubeObject): "relist" | undefined {
    const key = namespacedName(object);
    const before = this.#entries.get(key);
    const entry = this.#read(object, before);
    if (entry.specHash === before?.specHash) {
      const { said: _said, ...same } = before;
      this.#entries.set(key, { ...same, object: entry.object });
      return undefined;
    }
    if (!before && this.#entries.size >= MAX_KNOWN) return undefined;
    const isOver = entry.document !== undefined && this.#isFull(entry, key);
    if (isOver) {
      entry.isOver = true;
      delete entry.document;
    }
    this.#entries.set(key, entry);
    entry.isInForce = this.#isDue(entry);
    this.#replace([before, entry]);
    return isOver && this.#isBelowShare(entry) ? this.#relist() : undefined;
  }

  #delete(object: KubeObject): "relist" | undefined {
    const key = namespacedName(object);
    this.#options.conditions.forget(OBSERVATION_EXCEPTIONS, object);
    const before = this.#entries.get(key);
    if (!before) return undefined;
    this.#entries.delete(key);
    this.#replace([before]);
    const makesRoom = before.document && [...this.#entries.values()].some(({ isOver }) => isOver);
    return makesRoom ? this.#relist() : undefined;
  }

  #relist(): "relist" | undefined {
    const now = this.#options.clock.monotonic();
    if (now - this.#relistedAt < RELIST_MS) return undefined;
    this.#relistedAt = now;
    return "relist";
  }

  /** Puts what is in force of the entries in place of what was, and has the findings of both judged again. */
  #replace([before, after]: readonly [Entry | undefined, Entry?]): void {
    const changed: ExceptionDocument[] = [];
    if (before?.isInForce && before.document) {
      this.#inForce.remove(before.document);
      changed.push(before.document);
    }
    if (after?.isInForce && after.document) {
      this.#inForce.add(after.document);
      changed.push(after.document);
    }
    if (changed.length > 0) this.#findings?.judgeAgain(this.#concernedBy(changed));
  }

  /** Takes out of force what has expired. A clock that is corrected may bring it back. */
  #followTime(): void {
    const changed: ExceptionDocument[] = [];
    for (const entry of this.#entries.values()) {
      const { document } = entry;
      const isInForce = this.#isDue(entry);
      if (!document || isInForce === entry.isInForce) continue;
      entry.isInForce = isInForce;
      if (isInForce) this.#inForce.add(document);
      else this.#inForce.remove(document);
      changed.push(document);
    }
    if (changed.length === 0) return;
    this.#findings?.judgeAgain(changed.length > MAX_CONCERNED ? undefined : this.#concernedBy(changed));
  }

  #concernedBy(changed: readonly ExceptionDocument[]): Concerned {
    const namespaces = new Set(changed.map(({ namespace }) => namespace));
    if (namespaces.has(this.#options.ownNamespace)) namespaces.add("");
    return {
      namespaces,
      rules: new Set(changed.flatMap(({ rules = [] }) => rules)),
      resources: new Set(changed.flatMap(({ rules, resources = [] }) => rules ? [] : resources)),
    };
  }

  #isDue({ object, document }: Entry): boolean {
    return document !== undefined && document.expiresAt > this.#options.now() &&
      this.#isOurs(object.metadata.namespace ?? "");
  }

  #isOurs(namespace: string): boolean {
    const { covers, ownNamespace } = this.#options;
    return covers(namespace) || (namespace === ownNamespace && covers(""));
  }

  #read(object: KubeObject, before?: Entry): Entry {
    const { spec, metadata } = object;
    const specHash = sha256(
      JSON.stringify([metadata.uid ?? "", metadata.creationTimestamp ?? "", spec ?? null]),
    );
    const slim = withoutSpec(object);
    const place = { object: slim, specHash, isOver: false, isInForce: false };
    // Our own status writes come back through the watch.
    if (before?.specHash === specHash) return place;
    const { maxDays, now } = this.#options;
    const read = readException(object, { maxDays, now: now() });
    if (read.ok) return { ...place, document: read.value };
    const message = read.problems.map(({ path, message }) =>
      formatProblem(`load exception "${namespacedName(object)}"`, { path: formatPath(path), message })
    ).join("; ").slice(0, 1024);
    log.warn("Exception refused", { exception: namespacedName(object), reason: read.reason, error: message });
    return { ...place, refusal: { reason: read.reason, message } };
  }

  #isFull({ object, document }: Entry, key: string): boolean {
    const { namespace } = object.metadata;
    const total = { count: 1, entries: document ? entriesOf(document) : 0 };
    const own = { ...total };
    for (const [other, { object: { metadata }, document: known }] of this.#entries) {
      if (!known || other === key) continue;
      const entries = entriesOf(known);
      total.count++;
      total.entries += entries;
      if (metadata.namespace !== namespace) continue;
      own.count++;
      own.entries += entries;
    }
    return total.count > MAX_EXCEPTIONS || total.entries > MAX_ENTRIES ||
      own.count > MAX_EXCEPTIONS_OF_NAMESPACE || own.entries > MAX_ENTRIES_OF_NAMESPACE;
  }

  /** True where its namespace has fewer in force than an equal share. */
  #isBelowShare({ object: { metadata } }: Entry): boolean {
    const counts = new Map<string, number>();
    for (const { object, document } of this.#entries.values()) {
      const { namespace = "" } = object.metadata;
      if (document) counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
    }
    const share = Math.min(MAX_EXCEPTIONS_OF_NAMESPACE, MAX_EXCEPTIONS / Math.max(1, counts.size));
    return (counts.get(metadata.namespace ?? "") ?? 0) < share;
  }

  /** Hands on the statuses that differ, of each namespace in turn, and in it those of exceptions that accept nothing first. */
  #tell(): void {
    // Counting goes over all findings.
    if (this.#entries.size === 0) return;
    const counts = this.#findings?.acceptedCounts() ?? new Map<string, number>();
    const due: { readonly entry: Entry; readonly matched: number }[] = [];
    for (const entry of this.#entries.values()) {
      const { document, isInForce, said } = entry;
      const matched = isInForce && document ? counts.get(document.text) ?? 0 : 0;
      if (said?.matched !== matched || said.isInForce !== isInForce) due.push({ entry, matched });
    }
    due.sort((one, other) => Number(one.entry.isInForce) - Number(other.entry.isInForce));
    for (const { entry, matched } of inTurns(due, ({ entry }) => entry.object.metadata.namespace ?? "")) {
      if (this.#options.conditions.waiting >= MAX_WAITING) return;
      this.#tellOne(entry, matched);
    }
  }

  #tellOne(entry: Entry, matched: number): void {
    const condition = this.#conditionOf(entry);
    const counts = this.#countsOf(entry.object, matched);
    if (!condition || isSaid(entry.object, condition, counts)) {
      entry.said = { matched, isInForce: entry.isInForce };
    } else this.#options.conditions.set(OBSERVATION_EXCEPTIONS, entry.object, condition, counts);
  }

  /**
   * The fields of its status that count what it covers. An exception in the controller's namespace may act in two shards, the
   * one that watches this namespace and the one with WATCH_CLUSTER_SCOPED: each writes its part, and the sum.
   */
  #countsOf({ metadata: { namespace = "" }, status }: KubeObject, matched: number): JsonObject {
    const { covers } = this.#options;
    if (covers(namespace) === covers("")) return { matched, matchedParts: null };
    const stored = isObject(status) && isObject(status.matchedParts) ? status.matchedParts : {};
    const matchedParts = { ...stored, [covers(namespace) ? "namespaced" : "clusterScoped"]: matched };
    const sum = Object.values(matchedParts).reduce<number>((total, part) => total + Number(part), 0);
    return { matched: sum, matchedParts };
  }

  #conditionOf({ object, document, refusal, isOver, isInForce }: Entry): ReadyCondition | undefined {
    const { namespace = "", generation: observedGeneration = 0 } = object.metadata;
    const not = (reason: string, message: string): ReadyCondition => {
      return { status: "False", reason, message, observedGeneration };
    };
    if (!this.#isOurs(namespace)) {
      // The shard that watches the namespace says more.
      if (readyOf(object)) return undefined;
      return not("NamespaceNotWatched", `no shard watches the namespace "${namespace}" (WATCH_NAMESPACE)`);
    }
    if (isOver) {
      return not(
        "LimitExceeded",
        formatProblem(`load exception "${namespacedName(object)}"`, {
          path: "",
          message:
            `there are too many older ones: ${MAX_EXCEPTIONS_OF_NAMESPACE} in a namespace and ${MAX_EXCEPTIONS} in all ` +
            "are in force. Delete those that have expired",
        }),
      );
    }
    if (refusal) return not(refusal.reason, refusal.message);
    if (!document) return undefined;
    const until = formatSeconds(document.expiresAt);
    if (!isInForce) return not("Expired", `It expired at ${until}`);
    const message = `Accepts what it matches until ${until}`;
    return { status: "True", reason: "InForce", message, observedGeneration };
  }
}

/**
 * Marks what is over a limit and forgets its content: the oldest of each namespace stay, and where there are too many in all
 * every namespace has the same share.
 */
function admit(entries: Iterable<Entry>): void {
  const byNamespace = Map.groupBy(
    [...entries].filter(({ document }) => document),
    ({ object }) => object.metadata.namespace ?? "",
  );
  const sizes = [...byNamespace.values()].map((own) => ({
    count: own.length,
    entries: own.reduce((sum, { document }) => sum + (document ? entriesOf(document) : 0), 0),
  }));
  const most = {
    count: shareOf(sizes.map(({ count }) => count), {
      total: MAX_EXCEPTIONS,
      each: MAX_EXCEPTIONS_OF_NAMESPACE,
    }),
    entries: shareOf(sizes.map((size) => size.entries), {
      total: MAX_ENTRIES,
      each: MAX_ENTRIES_OF_NAMESPACE,
    }),
  };
  for (const own of byNamespace.values()) {
    own.sort((one, other) => ageKey(one.object) < ageKey(other.object) ? -1 : 1);
    let taken = 0;
    for (const [index, entry] of own.entries()) {
      taken += entry.document ? entriesOf(entry.document) : 0;
      if (index < most.count && taken <= most.entries) continue;
      entry.isOver = true;
      delete entry.document;
    }
  }
}

/** The largest amount that each may have, so that all together stay within `total`. */
function shareOf(
  amounts: readonly number[],
  { total, each }: { readonly total: number; readonly each: number },
): number {
  let left = total;
  for (const [index, amount] of amounts.toSorted((a, b) => a - b).entries()) {
    const share = Math.floor(left / (amounts.length - index));
    if (amount > share) return Math.min(each, share);
    left -= amount;
  }
  return each;
}

function withoutSpec({ apiVersion, kind, metadata, status }: KubeObject): KubeObject {
  const { namespace, name, uid, generation, resourceVersion, creationTimestamp } = metadata;
  const kept = { namespace, name, uid, generation, resourceVersion, creationTimestamp };
  return {
    ...(apiVersion !== undefined && { apiVersion }),
    ...(kind !== undefined && { kind }),
    metadata: Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined)),
    ...(isObject(status) && { status }),
  };
}
