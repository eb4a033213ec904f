/** Trivy Operator's reports: vulnerabilities, failed checks, exposed secrets. */
import type { Drawn, DrawnEvent, Origin } from "../../model/event.ts";
import { isObject, type Json, type JsonObject } from "../../model/json.ts";
import { reportedWorkload } from "../../model/identity/names.ts";
import type { Resource } from "../../model/observation.ts";
import { at, shapeOf, textAt, unread, withoutEmpty } from "../read.ts";
import { alikeTwins, joined, reportsIn } from "../reports.ts";
import type { Source, WatchedResource } from "../source.ts";
import { lastingSubject, ownerOf, subjectOf, wordAt } from "../subjects.ts";
import { type Finding, readCheck, readSecret, readVulnerability, type Unreadable } from "./findings.ts";

const CHECK_IDENTITY = ["eventType", "resource", "check", "messages"];

/** Findings of Trivy Operator. Compliance reports repeat the checks of the others; SBOMs hold no findings. */
export const trivy: Source = {
  name: "trivy",
  kind: "finding",
  summary:
    "Vulnerabilities, misconfigurations, exposed secrets, RBAC and infrastructure risks found by Trivy Operator",
  eventTypes: {
    vulnerability: {
      category: "security",
      identity: [
        "eventType",
        "resource",
        "container",
        "vulnerabilityID",
        "package",
        "installedVersion",
        "purl",
        "path",
        "target",
      ],
    },
    misconfiguration: { category: "security", identity: CHECK_IDENTITY },
    "exposed-secret": {
      category: "security",
      identity: ["eventType", "resource", "container", "rule", "path"],
    },
    "rbac-risk": { category: "security", identity: CHECK_IDENTITY },
    "infra-risk": { category: "security", identity: CHECK_IDENTITY },
  },
  feeds: [{
    type: "watch",
    resources: [
      reports("VulnerabilityReport", "vulnerability"),
      reports("ClusterVulnerabilityReport", "vulnerability"),
      reports("ConfigAuditReport", "misconfiguration"),
      reports("ClusterConfigAuditReport", "misconfiguration"),
      reports("ExposedSecretReport", "exposed-secret"),
      reports("RbacAssessmentReport", "rbac-risk"),
      reports("ClusterRbacAssessmentReport", "rbac-risk"),
      reports("InfraAssessmentReport", "infra-risk"),
      reports("ClusterInfraAssessmentReport", "infra-risk"),
    ],
  }],
  volatileDetails: ["score", "reportedOwner"],
  *draw({ body, origin }): Iterable<Drawn> {
    for (const found of reportsIn(body)) {
      if ("error" in found) yield found;
      else yield* fromReport(found, origin);
    }
  },
};

function reports(kind: string, eventType: string): WatchedResource {
  return {
    group: "aquasecurity.github.io",
    version: "v1alpha1",
    plural: `${kind.toLowerCase()}s`,
    kind,
    namespaced: !kind.startsWith("Cluster"),
    eventTypes: [eventType],
  };
}

interface ReportKind {
  readonly eventType: string;
  readonly list: "vulnerabilities" | "checks" | "secrets";
}

const KINDS: ReadonlyMap<string, ReportKind> = new Map([
  ["VulnerabilityReport", { eventType: "vulnerability", list: "vulnerabilities" }],
  ["ConfigAuditReport", { eventType: "misconfiguration", list: "checks" }],
  ["ExposedSecretReport", { eventType: "exposed-secret", list: "secrets" }],
  ["RbacAssessmentReport", { eventType: "rbac-risk", list: "checks" }],
  ["InfraAssessmentReport", { eventType: "infra-risk", list: "checks" }],
]);

/** Reports of the same operator that are no findings of their own. */
const UNREAD_KINDS: ReadonlySet<string> = new Set([
  "ComplianceReport",
  "ComplianceDetailReport",
  "SbomReport",
]);

interface FoundReport {
  readonly report: JsonObject;
  readonly kind: string;
  readonly path: string;
}

function* fromReport({ report, kind, path }: FoundReport, origin: Origin): Generator<Drawn> {
  const content = at(report, "report");
  const scopeless = kind.startsWith("Cluster") ? kind.slice("Cluster".length) : kind;
  if (UNREAD_KINDS.has(scopeless)) return;
  const reportKind = KINDS.get(scopeless) ?? (kind === "" ? kindByContent(content) : undefined);
  if (!reportKind) {
    yield unread(
      "wrong_shape",
      joined(path, "kind"),
      `expected a kind of Trivy report, received ${shown(kind)}`,
    );
    return;
  }
  if (!isObject(content)) {
    yield unread("missing_field", joined(path, "report"), `expected an object, received ${shapeOf(content)}`);
    return;
  }
  const items = at(content, reportKind.list);
  const itemsPath = joined(path, `report.${reportKind.list}`);
  // A null is Go's empty list; an absent one tells nothing of what was found.
  if (!Array.isArray(items)) {
    if (items === null) return;
    const reason = items === undefined ? "missing_field" : "wrong_shape";
    yield unread(reason, itemsPath, `expected an array, received ${shapeOf(items)}`);
    return;
  }
  // Trivy lists a package once a layer it is in.
  yield* alikeTwins(fromItems(items, { path: itemsPath, kind: reportKind, about: aboutOf(report, origin) }));
}

function shown(kind: string): string {
  return kind === "" ? "none" : JSON.stringify(kind.slice(0, 63));
}

/** Typed lists and stored files may lack the kind. */
function kindByContent(content: Json | undefined): ReportKind | undefined {
  return [...KINDS.values()].find(({ list }) => at(content, list) !== undefined);
}

/** What all findings of one report share. */
interface About {
  readonly subject: JsonObject;
  readonly resource: Resource;
  readonly container: string;
  readonly repository: string;
  readonly detectedAt: string;
  readonly details: JsonObject;
  /** The tool's texts name the generated owner: they are told of the lasting one. */
  rename(text: string): string;
}

function aboutOf(report: JsonObject, origin: Origin): About {
  const labels = at(report, "metadata", "labels");
  const reported = reportedResource(report, origin);
  const resource = reportedWorkload(reported);
  const container = wordAt(labels, CONTAINER_NAME);
  return {
    subject: lastingSubject(resource),
    resource,
    container,
    repository: textAt(report, "report", "artifact", "repository"),
    detectedAt: textAt(report, "report", "updateTimestamp") ||
      textAt(report, "metadata", "creationTimestamp"),
    details: withoutEmpty({
      container,
      image: imageOf(at(report, "report")),
      ...(resource === reported
        ? {}
        : { reportedOwner: { kind: reported.kind ?? "", name: reported.name ?? "" } }),
    }),
    rename: resource === reported
      ? (text) => text
      : (text) => renamed(text, { from: reported, to: resource }),
  };
}

/** Labels of the operator, of Starboard before it, and of its earliest releases. */
const PREFIXES = ["trivy-operator", "starboard", "imgvuln"];
const RESOURCE_KIND = PREFIXES.map((prefix) => `${prefix}.resource.kind`);
const RESOURCE_NAME = PREFIXES.map((prefix) => `${prefix}.resource.name`);
const RESOURCE_NAMESPACE = PREFIXES.map((prefix) => `${prefix}.resource.namespace`);
const CONTAINER_NAME = PREFIXES.map((prefix) => `${prefix}.container.name`);

/** From the labels; a name that is no legal label value is in an annotation; old reports have their owner alone. */
function reportedResource(report: JsonObject, origin: Origin): Resource {
  const labels = at(report, "metadata", "labels");
  const owner = ownerOf(report);
  const kind = wordAt(labels, RESOURCE_KIND) || textAt(owner, "kind");
  return subjectOf({
    apiVersion: textAt(owner, "kind") === kind ? textAt(owner, "apiVersion") : "",
    kind,
    name: wordAt(labels, RESOURCE_NAME) || wordAt(at(report, "metadata", "annotations"), RESOURCE_NAME) ||
      textAt(owner, "name"),
    namespace: wordAt(labels, RESOURCE_NAMESPACE) || textAt(report, "metadata", "namespace") ||
      (origin.namespace ?? ""),
  });
}

/** `index.docker.io/library/nginx:1.27`, or with `@sha256:…` where there is no tag. */
function imageOf(content: Json | undefined): string {
  const repository = textAt(content, "artifact", "repository");
  if (repository === "") return "";
  const tag = textAt(content, "artifact", "tag");
  const digest = textAt(content, "artifact", "digest");
  const server = textAt(content, "registry", "server");
  const version = tag !== "" ? `:${tag}` : digest !== "" ? `@${digest}` : "";
  return `${server === "" ? "" : `${server}/`}${repository}${version}`;
}

function renamed(text: string, { from, to }: { from: Resource; to: Resource }): string {
  const name = from.name ?? "";
  return text.replaceAll(`${from.kind} '${name}'`, () => `${to.kind} '${to.name}'`)
    .replaceAll(name, () => to.name ?? "");
}

interface ItemsContext {
  readonly path: string;
  readonly kind: ReportKind;
  readonly about: About;
}

function* fromItems(items: readonly Json[], { path, kind, about }: ItemsContext): Generator<Drawn> {
  for (const [index, item] of items.entries()) {
    const itemPath = `${path}[${index}]`;
    if (!isObject(item)) {
      yield unread("wrong_shape", itemPath, `expected an object, received ${shapeOf(item)}`);
      continue;
    }
    const finding = readItem(item, { kind, about });
    if (finding === undefined) continue;
    if ("problem" in finding) {
      yield unread(finding.reason, `${itemPath}.${finding.field}`, finding.problem);
      continue;
    }
    yield { event: toEvent(finding, { kind, about }) };
  }
}

/** The finding, the problem where it cannot be read, nothing where the item is none (a passed check). */
function readItem(
  item: JsonObject,
  { kind, about }: { kind: ReportKind; about: About },
): Finding | Unreadable | undefined {
  if (kind.list === "vulnerabilities") return readVulnerability(item);
  return kind.list === "secrets" ? readSecret(item) : readCheck(item, about.rename);
}

function toEvent(finding: Finding, { kind, about }: { kind: ReportKind; about: About }): DrawnEvent {
  // Without a container's label the repository tells the containers of a workload apart.
  const container = kind.list === "checks" ? "" : about.container || about.repository;
  return {
    category: "security",
    severity: finding.severity,
    eventType: kind.eventType,
    message: finding.message,
    rules: finding.rules,
    resource: about.resource,
    details: { ...finding.details, ...about.details },
    ...(about.detectedAt ? { detectedAt: about.detectedAt } : {}),
    identity: {
      eventType: kind.eventType,
      resource: about.subject,
      ...(container === "" ? {} : { container }),
      ...finding.identity,
    },
  };
}
