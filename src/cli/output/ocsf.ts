/** OCSF 1.7.0: one event for each finding, of the class that its source's findings belong to. */
import type { Severity } from "../../model/observation.ts";
import { type JsonObject, withoutEmpty } from "../../model/json.ts";
import { decisionOf, type Finding } from "../../read/finding.ts";
import { placeOf } from "../../read/row.ts";
import { clean } from "../../text/clean.ts";
import { VERSION } from "../../version.ts";

/** The version of the OCSF schema that the export follows. */
const OCSF_VERSION = "1.7.0";

/** https://schema.ocsf.io/1.7.0/categories/findings */
const CATEGORY = { category_uid: 2, category_name: "Findings" };
const CLASSES = {
  vulnerability: { class_uid: 2002, class_name: "Vulnerability Finding" },
  compliance: { class_uid: 2003, class_name: "Compliance Finding" },
  detection: { class_uid: 2004, class_name: "Detection Finding" },
} as const;

const SEVERITIES: Readonly<Record<Severity, readonly [id: number, name: string]>> = {
  UNKNOWN: [0, "Unknown"],
  LOW: [2, "Low"],
  MEDIUM: [3, "Medium"],
  HIGH: [4, "High"],
  CRITICAL: [5, "Critical"],
};
const STATUSES = {
  Active: { status_id: 1, status: "New" },
  Accepted: { status_id: 3, status: "Suppressed" },
  Resolved: { status_id: 4, status: "Resolved" },
} as const;

/** The class by the type of event: acts and secrets are detections, package versions vulnerabilities, checks compliance. */
function ocsfClassOf({ eventType, type }: Pick<Finding, "eventType" | "type">) {
  if (eventType === "vulnerability") return CLASSES.vulnerability;
  if (type === "occurrence" || eventType === "exposed-secret") return CLASSES.detection;
  return CLASSES.compliance;
}

/** One event. `command` is the one that exports it. */
export function ocsfEvent(finding: Finding, { command }: { readonly command: string }): JsonObject {
  const { class_uid, class_name } = ocsfClassOf(finding);
  const isClosed = finding.phase === "Resolved";
  const activity = isClosed
    ? { activity_id: 3, activity_name: "Close" }
    : { activity_id: 1, activity_name: "Create" };
  const [severity_id, severity] = SEVERITIES[finding.severity];
  const resources = [withoutEmpty({
    uid: placeOf(finding) || "cluster",
    name: finding.resource,
    namespace: finding.namespace,
    type: finding.kind,
  })];
  const text = clean(finding.message, 1_024) || finding.rule || finding.eventType;
  return withoutEmpty({
    ...CATEGORY,
    class_uid,
    class_name,
    ...activity,
    type_uid: class_uid * 100 + activity.activity_id,
    type_name: `${class_name}: ${activity.activity_name}`,
    severity_id,
    severity,
    ...STATUSES[finding.phase],
    status_detail: finding.resolvedReason || finding.acceptedReason,
    time: msOf(finding.lastSeenAt) ?? msOf(finding.firstSeenAt) ?? 0,
    start_time: msOf(finding.firstSeenAt),
    end_time: msOf(finding.resolvedAt),
    count: finding.occurrences,
    message: text,
    comment: decisionOf(finding),
    finding_info: withoutEmpty({
      uid: finding.fingerprint,
      title: clean(finding.title || finding.rule, 1_024) || text,
      desc: text,
      types: [finding.eventType],
      data_sources: [finding.source],
      first_seen_time: msOf(finding.firstSeenAt),
      last_seen_time: msOf(finding.lastSeenAt),
      src_url: finding.link,
    }),
    metadata: {
      version: OCSF_VERSION,
      product: { name: "zen-watcher", vendor_name: "kube-zen", version: VERSION },
      log_name: command,
      log_provider: finding.source,
    },
    resources,
    ...bodyOf(finding),
    unmapped: withoutEmpty({
      observation: `${finding.storedIn}/${finding.name}`,
      phase: finding.phase,
      workload: finding.workload,
      image: finding.image,
      exception: finding.exception,
      acceptedUntil: finding.acceptedUntil,
    }),
  });
}

/** The fields that only one class has. */
function bodyOf(finding: Finding): JsonObject {
  const { rule, remediation } = finding;
  switch (ocsfClassOf(finding)) {
    case CLASSES.vulnerability:
      return { vulnerabilities: [vulnerabilityOf(finding)] };
    case CLASSES.compliance:
      return {
        compliance: withoutEmpty({
          control: rule || finding.eventType,
          category: finding.category,
          ...finding.phase === "Resolved"
            ? { status_id: 1, status: "Pass" }
            : { status_id: 3, status: "Fail" },
        }),
        ...(remediation && { remediation: { desc: remediation } }),
      };
    default:
      return { is_alert: true, ...(remediation && { remediation: { desc: remediation } }) };
  }
}

function vulnerabilityOf(finding: Finding): JsonObject {
  const { rule, fixedVersion } = finding;
  return withoutEmpty({
    ...rule.startsWith("CVE-") ? { cve: { uid: rule } } : { advisory: { uid: rule || finding.eventType } },
    title: finding.title,
    severity: finding.severity,
    is_fix_available: fixedVersion !== "",
    references: finding.link ? [finding.link] : undefined,
    affected_packages: finding.package
      ? [withoutEmpty({
        name: finding.package,
        version: finding.installedVersion || "unknown",
        purl: finding.purl,
        fixed_in_version: fixedVersion,
      })]
      : undefined,
    first_seen_time: msOf(finding.firstSeenAt),
    last_seen_time: msOf(finding.lastSeenAt),
  });
}

function msOf(time: string): number | undefined {
  const ms = Date.parse(time);
  return Number.isNaN(ms) ? undefined : ms;
}
