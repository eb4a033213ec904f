/** The ObservationExceptions that name a finding, with what each does: those too that accept nothing. */
import { readException } from "../exceptions/document.ts";
import { ExceptionIndex } from "../exceptions/judge.ts";
import { OBSERVATION_EXCEPTIONS } from "../exceptions/kind.ts";
import { hasStatus, type KubeApi, type KubeObject, namespacedName } from "../kube/api.ts";
import { readyOf } from "../kube/conditions.ts";
import { type AcceptableFinding, acceptableOf, policyOf } from "../model/acceptance.ts";
import { at, type Json, list, textAt } from "../model/json.ts";
import type { Observation } from "../model/observation.ts";
import { EXCEPTIONS_UNREADABLE, listExceptions } from "./exceptions.ts";
import { type ObservationRow, toRow } from "./row.ts";

/** An exception that names a finding. Texts that are absent are "". */
export interface NamingException {
  /** `namespace/name`. */
  readonly name: string;
  /**
   * `accepts` it; `pending`: it covers it, and the status does not say so; `expired`; `deleted`: the status still names it;
   * `not_ready`: it accepts nothing, and `message` says why.
   */
  readonly state: "accepts" | "pending" | "expired" | "deleted" | "not_ready";
  readonly since: string;
  readonly until: string;
  readonly reason: string;
  readonly justification: string;
  readonly ticket: string;
  readonly acceptedBy: string;
  readonly message: string;
}

/** What could be read of them. */
export interface NamingExceptions {
  readonly exceptions: readonly NamingException[];
  /** What the user may not read, as sentences. */
  readonly notes: readonly string[];
}

interface NamingOptions {
  readonly settings: { readonly podNamespace: string; readonly exceptionMaxDays: number };
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Reads the exceptions that name a finding, with the user's own rights. Lists those of each namespace once. */
export function readNamingExceptions(
  api: KubeApi,
  options: NamingOptions,
): (observation: Observation) => Promise<NamingExceptions> {
  const lists = new Map<string, readonly KubeObject[] | undefined>();
  return async (observation) => {
    const row = toRow(observation, options);
    if (row.type === "occurrence") return { exceptions: [], notes: [] };
    const namespace = observation.spec.resource?.namespace ?? options.settings.podNamespace;
    if (!lists.has(namespace)) lists.set(namespace, await listExceptions(api, { namespace }));
    const listed = lists.get(namespace);
    return listed ? namedBy(listed, { ...options, observation, row }) : await acceptingAlone(api, row);
  };
}

interface Naming extends NamingOptions {
  readonly observation: Observation;
  readonly row: ObservationRow;
}

function namedBy(
  listed: readonly KubeObject[],
  { observation, row, settings, now }: Naming,
): NamingExceptions {
  const finding = acceptableOf(observation);
  const exceptions = listed.flatMap((object): NamingException[] => {
    const own = namespacedName(object) === row.exception;
    if (!own && row.phase === "Resolved") return [];
    if (own) return [acceptingOf(row, object)];
    const verdict = verdictOn(object, { finding, maxDays: settings.exceptionMaxDays, now });
    return verdict ? [{ ...decisionIn(object), ...verdict, name: namespacedName(object), since: "" }] : [];
  });
  const isDeleted = row.exception !== "" && !exceptions.some(({ name }) => name === row.exception);
  return { exceptions: isDeleted ? [...exceptions, acceptingOf(row, undefined)] : exceptions, notes: [] };
}

/** The exception that the status names, for a user who may not list them. */
async function acceptingAlone(api: KubeApi, row: ObservationRow): Promise<NamingExceptions> {
  const notes = [`${EXCEPTIONS_UNREADABLE}.`];
  const [namespace, name] = row.exception.split("/");
  if (!namespace || !name) return { exceptions: [], notes };
  try {
    const object = await api.get(OBSERVATION_EXCEPTIONS, name, { namespace });
    return { exceptions: [acceptingOf(row, object)], notes };
  } catch (error) {
    if (hasStatus(error, 404)) return { exceptions: [acceptingOf(row, undefined)], notes };
    if (!hasStatus(error, 403)) throw error;
    const message = "Why is not shown: you may not get observationexceptions.zen.kube-zen.io.";
    return { exceptions: [{ ...acceptingOf(row, undefined), state: "accepts", message }], notes };
  }
}

/** The exception that the status names; undefined where it is deleted. */
function acceptingOf(row: ObservationRow, object: KubeObject | undefined): NamingException {
  return {
    ...decisionIn(object),
    name: row.exception,
    state: object === undefined ? "deleted" : row.phase === "Accepted" ? "accepts" : "expired",
    since: row.acceptedSince,
    until: row.acceptedUntil,
    message: "",
  };
}

function decisionIn(object: KubeObject | undefined) {
  const spec = object?.["spec"] as Json | undefined;
  return {
    until: textAt(spec, "expiresAt"),
    reason: textAt(spec, "reason"),
    justification: textAt(spec, "justification"),
    ticket: textAt(spec, "ticket"),
    acceptedBy: textAt(spec, "acceptedBy"),
  };
}

/** What an exception that the status does not name does; undefined where it does not name the finding. */
function verdictOn(
  object: KubeObject,
  { finding, maxDays, now }: {
    readonly finding: AcceptableFinding;
    readonly maxDays: number;
    readonly now: number;
  },
): Pick<NamingException, "state" | "message"> | undefined {
  const read = readException(object, { maxDays, now });
  const { namespace = "" } = object.metadata;
  if (read.ok) {
    const index = new ExceptionIndex();
    index.add(read.value);
    if (!index.judge(finding, namespace)) return undefined;
    if (read.value.expiresAt <= now) return { state: "expired", message: "" };
  } else if (!mayName(object, finding)) return undefined;
  const ready = readyOf(object);
  const told = textAt(ready, "message");
  if (!read.ok) {
    return { state: "not_ready", message: told || read.problems.map(({ message }) => message).join("; ") };
  }
  return textAt(ready, "status") === "False"
    ? { state: "not_ready", message: told }
    : { state: "pending", message: "" };
}

/** Whether an exception with a mistake was meant for the finding: by those keys of its match that can be read. */
function mayName({ spec }: KubeObject, finding: AcceptableFinding): boolean {
  const wanted = (key: string) => {
    const value = at(spec as Json | undefined, "match", key);
    return value === undefined ? undefined : list(value);
  };
  const resources = wanted("resources")?.map((each) => `${textAt(each, "kind")}/${textAt(each, "name")}`);
  const rules = wanted("rules");
  if (rules === undefined && resources === undefined) return false;
  return (rules === undefined || rules.includes(finding.rule) || rules.includes(policyOf(finding.rule))) &&
    (resources === undefined || resources.includes(finding.resource)) &&
    (wanted("workloads")?.includes(finding.workload) ?? true) &&
    (wanted("sources")?.includes(finding.source) ?? true) &&
    (wanted("severities")?.includes(finding.severity) ?? true);
}
