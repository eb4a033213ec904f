/** SARIF 2.1.0 (OASIS): one run for each source. */
import { SEVERITIES, type Severity } from "../../model/observation.ts";
import { decisionOf, type Finding } from "../../read/finding.ts";
import { placeOf } from "../../read/row.ts";
import { clean } from "../../text/clean.ts";

/** `$schema` of a SARIF file. */
export const SARIF_SCHEMA =
  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

const LEVELS: Readonly<Record<Severity, string>> = {
  CRITICAL: "error",
  HIGH: "error",
  MEDIUM: "warning",
  LOW: "note",
  UNKNOWN: "note",
};
/** What GitHub takes as a rule's score, in the middle of its range for the word. */
const SCORES: Readonly<Record<Severity, string>> = {
  CRITICAL: "9.5",
  HIGH: "8.0",
  MEDIUM: "5.5",
  LOW: "2.0",
  UNKNOWN: "0.0",
};

const SHOWN = [
  "rule",
  "eventType",
  "category",
  "severity",
  "phase",
  "namespace",
  "kind",
  "resource",
  "workload",
  "image",
  "message",
  "fingerprint",
  "occurrences",
  "firstSeenAt",
  "lastSeenAt",
  "resolvedAt",
  "resolvedReason",
  "exception",
  "acceptedUntil",
  "acceptedReason",
  "justification",
  "ticket",
  "acceptedBy",
] as const;

/** What a result shows. A run is held whole, so that the rest of a finding is left out. */
export type SarifRow = Pick<Finding, typeof SHOWN[number]>;

/** The part of a finding that a result shows. */
export function sarifRow(finding: Finding): SarifRow {
  return Object.fromEntries(SHOWN.map((key) => [key, finding[key]])) as unknown as SarifRow;
}

/** A rule of a run. Its score is that of its worst result. */
export interface SarifRule {
  readonly id: string;
  readonly properties: { readonly "security-severity": string; readonly tags: readonly string[] };
}

/** The rules of rows, each once, in order of id. */
export function sarifRules(rows: readonly SarifRow[]): readonly SarifRule[] {
  const worst = new Map<string, SarifRow>();
  for (const row of rows) {
    const id = sarifRuleId(row);
    const known = worst.get(id);
    if (!known || SEVERITIES.indexOf(row.severity) < SEVERITIES.indexOf(known.severity)) worst.set(id, row);
  }
  return [...worst].sort(([one], [other]) => one < other ? -1 : 1).map(([id, { severity, category }]) => ({
    id,
    properties: { "security-severity": SCORES[severity], tags: [category] },
  }));
}

function sarifRuleId(row: SarifRow): string {
  return clean(row.rule || row.eventType, 253);
}

/** One result. What is Resolved passes: its rule was evaluated and the problem is gone. */
export function sarifResult(
  row: SarifRow,
  { ruleIndex }: { readonly ruleIndex: ReadonlyMap<string, number> },
) {
  const ruleId = sarifRuleId(row);
  const isOpen = row.phase !== "Resolved";
  // A lone surrogate cannot be encoded.
  const qualified = clean(placeOf(row), 512);
  return {
    ruleId,
    ruleIndex: ruleIndex.get(ruleId) ?? -1,
    kind: isOpen ? "fail" : "pass",
    level: isOpen ? LEVELS[row.severity] : "none",
    message: { text: clean(row.message, 1024) || ruleId },
    locations: [{
      physicalLocation: { artifactLocation: { uri: qualified.split("/").map(encodeURIComponent).join("/") } },
      logicalLocations: [{
        name: row.resource || row.namespace,
        fullyQualifiedName: qualified,
        kind: "resource",
      }],
    }],
    partialFingerprints: { "zenWatcher/v1": row.fingerprint },
    occurrenceCount: row.occurrences,
    ...(row.phase === "Accepted" && {
      suppressions: [{
        kind: "external",
        status: "accepted",
        justification: clean(
          [
            row.acceptedReason,
            decisionOf(row),
            `ObservationException ${row.exception} until ${row.acceptedUntil}`,
          ]
            .filter((part) => part !== "").join(": "),
          1024,
        ),
      }],
    }),
    properties: {
      severity: row.severity,
      phase: row.phase,
      namespace: row.namespace,
      workload: row.workload,
      image: row.image,
      firstSeenAt: row.firstSeenAt,
      lastSeenAt: row.lastSeenAt,
      resolvedAt: row.resolvedAt,
      resolvedReason: row.resolvedReason,
    },
  };
}
