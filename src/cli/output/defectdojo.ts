/**
 * DefectDojo's "Generic Findings Import". Its parser refuses a whole file for one key outside its list, so that only keys of
 * every version since 2.20 are written (`nb_occurences` is its spelling).
 */
import type { Severity } from "../../model/observation.ts";
import { decisionOf, type Finding } from "../../read/finding.ts";
import { placeOf } from "../../read/row.ts";
import { clean } from "../../text/clean.ts";

const SEVERITIES: Readonly<Record<Severity, string>> = {
  CRITICAL: "Critical",
  HIGH: "High",
  MEDIUM: "Medium",
  LOW: "Low",
  UNKNOWN: "Info",
};

/** One element of `findings`. */
export function defectDojoFinding(finding: Finding): object {
  const { phase, acceptedReason } = finding;
  const where = placeOf(finding);
  const isResolved = phase === "Resolved";
  const isAccepted = phase === "Accepted";
  const title = [finding.title || finding.rule || finding.eventType, where].filter((part) => part !== "")
    .join(" in ");
  return {
    title: clean(title, 500),
    severity: SEVERITIES[finding.severity],
    description: descriptionOf(finding, where),
    date: finding.firstSeenAt.slice(0, 10),
    active: phase === "Active",
    verified: false,
    false_p: isAccepted && acceptedReason === "false_positive",
    risk_accepted: isAccepted && acceptedReason !== "false_positive",
    is_mitigated: isResolved,
    ...(isResolved && finding.resolvedAt && { mitigated: finding.resolvedAt }),
    unique_id_from_tool: finding.fingerprint,
    ...(finding.rule && { vuln_id_from_tool: finding.rule }),
    ...(/^CVE-\d{4}-\d+$/.test(finding.rule) && { vulnerability_ids: [finding.rule] }),
    ...(finding.package && { component_name: clean(finding.package, 500) }),
    ...(finding.installedVersion && { component_version: clean(finding.installedVersion, 100) }),
    ...(mitigationOf(finding) && { mitigation: mitigationOf(finding) }),
    ...(finding.link && { references: finding.link }),
    ...(where && { service: clean(where, 200) }),
    static_finding: finding.type !== "occurrence",
    dynamic_finding: finding.type === "occurrence",
    nb_occurences: finding.occurrences,
    tags: [finding.source, finding.category, finding.eventType],
  };
}

function descriptionOf(finding: Finding, where: string): string {
  return [
    clean(finding.message, 1_024) || finding.rule || finding.eventType,
    `Reported by ${finding.source}${where ? ` on ${where}` : ""}${
      finding.image ? `, image ${finding.image}` : ""
    }.`,
    `First seen ${finding.firstSeenAt}, last seen ${finding.lastSeenAt}.`,
    ...(finding.resolvedReason ? [`Resolved ${finding.resolvedAt}: ${finding.resolvedReason}.`] : []),
    ...(finding.phase === "Accepted" ? [acceptanceOf(finding)] : []),
  ].join("\n");
}

function acceptanceOf(finding: Finding): string {
  const why = [finding.acceptedReason, decisionOf(finding)].filter((part) => part !== "").join(", ");
  return `Accepted until ${finding.acceptedUntil} by ${finding.exception}${why && `: ${why}`}.`;
}

function mitigationOf({ remediation, package: name, fixedVersion }: Finding): string {
  return remediation || (fixedVersion ? `Update ${name} to ${fixedVersion}.` : "");
}
