/**
 * The requests and answers between the page and its server part. Paths below `/api` need the header `x-zen-secret`; all answers
 * are JSON, errors are `{error}` with a sentence. Times are RFC 3339 in UTC.
 */
import type { Severity } from "../model/observation.ts";
import type { ObservationRow } from "../read/row.ts";
import type { AcceptMatch as ExceptionMatch } from "../read/accept.ts";

/** `POST /api/session` with `{token}` (from the URL's fragment, good once): the secret for this tab. */
export interface Session {
  readonly secret: string;
}

/** `GET /api/state`, and event `state` of the stream `GET /api/events`. */
export interface State {
  /** The kubeconfig's context and the API server's address. */
  readonly context: string;
  readonly server: string;
  /** The one namespace whose findings are shown; absent: all. */
  readonly onlyNamespace?: string;
  /** What is left out, as sentences (missing rights, kinds that are not served). */
  readonly notes: readonly string[];
  /** The first list: read so far, and what is still to come where the API server says so. */
  readonly listed: { readonly done: boolean; readonly read: number; readonly remaining?: number };
  /** The watch: live, or cut off since a time and why. */
  readonly live: { readonly connected: boolean; readonly since: string; readonly error?: string };
  /** Rises with each change of what the server part answers; what was fetched before that is old. */
  readonly revision: number;
  /** Namespaces in which the user may create exceptions; "*": all. */
  readonly mayAccept: readonly string[];
  /** The sources' own reports, which are read while a page shows the overview. */
  readonly reports: {
    /** When each source made its newest one. */
    readonly newest: Readonly<Record<string, string>>;
    /** How many were read: so far, or in all. */
    readonly read: number;
    /** When that was; "" until all were read for the first time. */
    readonly readAt: string;
    /** Rights that are missing: `list vulnerabilityreports.aquasecurity.github.io`. */
    readonly missing: readonly string[];
    /** Sources with more reports of a kind than are read. */
    readonly cut: readonly string[];
    /** Why they could not be read. */
    readonly problem?: string;
  };
}

/**
 * The filter of every list, also the page's URL query. Several values of a key are joined by commas, and a comma in a value is
 * written `\,`. An absent key matches everything, but `phase` is Active.
 */
export interface FindingFilter {
  readonly severity?: string;
  readonly source?: string;
  readonly namespace?: string;
  readonly workload?: string;
  readonly rule?: string;
  readonly image?: string;
  readonly category?: string;
  readonly kind?: string;
  /** `Kind/name` of the affected resource. */
  readonly resource?: string;
  /** `finding` or `occurrence`. */
  readonly type?: string;
  /** `namespace/name` of the exception that an accepted finding's status names. */
  readonly exception?: string;
  /** `Active`, `Accepted`, `Resolved`, several, or `all`. */
  readonly phase?: string;
  /** Words that message, rule, resource or name must hold. */
  readonly text?: string;
  /** First seen / resolved on this UTC day or later / earlier: `2026-01-31`; as RFC 3339: from this time on / before it. */
  readonly since?: string;
  readonly until?: string;
  readonly resolvedSince?: string;
  readonly resolvedUntil?: string;
  /** Reopened / accepted on this UTC day or later; as RFC 3339: from this time on. */
  readonly reopenedSince?: string;
  readonly acceptedSince?: string;
}

/** One line of a list. */
export type FindingRow = Pick<
  ObservationRow,
  | "name"
  | "storedIn"
  | "namespace"
  | "source"
  | "severity"
  | "category"
  | "eventType"
  | "rule"
  | "kind"
  | "resource"
  | "workload"
  | "image"
  | "message"
  | "phase"
  | "occurrences"
  | "firstSeenAt"
  | "lastSeenAt"
  | "resolvedAt"
  | "type"
>;

/** `GET /api/findings?<FindingFilter>&sort=severity|firstSeenAt|lastSeenAt|rule|workload|source|namespace|occurrences&order=asc|desc&offset=&limit=` (limit ≤ 200). */
export interface FindingPage {
  readonly total: number;
  readonly offset: number;
  readonly rows: readonly FindingRow[];
  readonly counts: Readonly<Record<Severity, number>>;
}

/** `GET /api/groups?by=workloads|rules|images|namespaces|sources&<FindingFilter>&window=24h&offset=&limit=`, worst first; `window` is how far back `new` and `resolved` look. */
export interface GroupRow {
  readonly name: string;
  /** What lists the group, beside the filter of the request. */
  readonly filter: FindingFilter;
  readonly counts: Readonly<Record<Severity, number>>;
  /** Open findings of each tool. */
  readonly tools: Readonly<Record<string, number>>;
  readonly new: number;
  readonly resolved: number;
  readonly oldest: string;
  /** The workload has an open runtime alert and an open vulnerability or misconfiguration. */
  readonly runtimeAndWeakness?: boolean;
}

/** The answer to `GET /api/groups`. */
export interface GroupPage {
  readonly total: number;
  readonly rows: readonly GroupRow[];
}

/** `GET /api/overview`. */
export interface Overview {
  readonly total: number;
  readonly phases: Readonly<Record<"Active" | "Accepted" | "Resolved", number>>;
  /** Open by severity and source. */
  readonly bySource: readonly {
    readonly source: string;
    readonly counts: Readonly<Record<Severity, number>>;
    readonly lastSeenAt: string;
  }[];
  /** The last 30 UTC days, oldest first; `heldSince` is where what is stored begins. */
  readonly perDay: readonly { readonly day: string; readonly new: number; readonly resolved: number }[];
  readonly heldSince: string;
  readonly worstWorkloads: readonly GroupRow[];
  /** Open findings by age. */
  readonly ages: readonly {
    readonly label: string;
    readonly since?: string;
    readonly until?: string;
    readonly counts: Readonly<Record<Severity, number>>;
  }[];
  /** Since 24 hours ago. */
  readonly changed: {
    readonly new: number;
    readonly resolved: number;
    readonly reopened: number;
    readonly accepted: number;
  };
  readonly expiringExceptions: number;
}

/** `GET /api/findings/<storedIn>/<name>`. */
export interface FindingDetail {
  readonly row: FindingRow;
  /** The Observation as stored, less managedFields. */
  readonly observation: unknown;
  readonly yaml: string;
  readonly kubectl: string;
  readonly zen: string;
  readonly exception?: {
    readonly namespace: string;
    readonly name: string;
    readonly expiresAt: string;
    readonly since: string;
  };
  /** Other findings of its workload, worst first, at most 50. */
  readonly related: readonly FindingRow[];
  readonly relatedTotal: number;
  readonly relatedFilter: FindingFilter;
}

/** `GET /api/exceptions`. */
export interface ExceptionRow {
  readonly namespace: string;
  readonly name: string;
  readonly reason: string;
  readonly justification: string;
  readonly ticket: string;
  readonly acceptedBy: string;
  readonly expiresAt: string;
  readonly createdAt: string;
  readonly ready: string;
  readonly readyMessage: string;
  readonly matched: number;
  readonly match: ExceptionMatch;
  readonly onlyWhileNoFix: boolean;
  readonly mayDelete: boolean;
}
export type { ExceptionMatch };
/** The answer to `GET /api/exceptions`; `served` is false if the kind is not installed. */
export interface ExceptionList {
  readonly served: boolean;
  readonly rows: readonly ExceptionRow[];
}

/** `POST /api/exceptions` creates; with `?preview=true` it writes nothing and says what it would accept. `DELETE /api/exceptions/<namespace>/<name>` undoes. */
export interface ExceptionDraft {
  readonly namespace: string;
  readonly name?: string;
  readonly match: ExceptionMatch;
  readonly reason: string;
  readonly justification: string;
  readonly expiresAt: string;
  readonly ticket?: string;
  readonly acceptedBy?: string;
  readonly onlyWhileNoFix?: boolean;
}

/** What a drafted exception would accept: how many findings, and the worst of them. */
export interface ExceptionPreview {
  readonly total: number;
  readonly counts: Readonly<Record<Severity, number>>;
  readonly sample: readonly FindingRow[];
}

/** `GET /api/commands?<FindingFilter>`: the list as commands. */
export interface Commands {
  readonly kubectl: string;
  readonly zen: string;
}

/** `GET /api/facets?<FindingFilter>`: values for the filter's choices with their counts, at most 200 each. */
export interface Facets {
  readonly severity: Facet[];
  readonly source: Facet[];
  readonly namespace: Facet[];
  readonly phase: Facet[];
  readonly category: Facet[];
}

/** One value of a filter, and how many findings have it. */
export interface Facet {
  readonly value: string;
  readonly count: number;
}

// `GET /api/events` (fetch stream, text/event-stream): `state` with a State at once and on each change of it (at most twice a second), a comment each 15 s.
