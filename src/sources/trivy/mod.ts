/** Trivy Operator's reports: vulnerabilities, failed checks, exposed secrets. */
import type { Drawn, DrawnEvent, Origin } from "../../model/event.ts";
import { isObject, type Json, type JsonObject } from "../../model/json.ts";
import { reportedWorkload } from "../../model/identity/names.ts";
import type { Resource } from "../../model/observation.ts";
import { at, firstText, number, shapeOf, text, textAt, texts, unread, withoutEmpty } from "../read.ts";
import { alikeTwins, joined, reportsIn } from "../reports.ts";
import type { Source, WatchedResource } from "../source.ts";
import { lastingSubject, ownerOf, subjectOf, wordAt } from "../resources.ts";
import type { PayloadErrorReason } from "../../model/outcome.ts";

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
  // Go writes an empty list as null. An absent list says nothing about what was found.
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
  /** Replaces the generated owner in the tool's texts by the workload that lasts. */
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

/** Reads the labels, then the annotation that holds names which are no legal label values, then the owner (old reports). */
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

/** The finding, the problem that keeps it from being read, or undefined for a passed check. */
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

/** A finding before its resource is known. */
interface Finding {
  readonly severity: string | null;
  readonly message: string;
  readonly rules: readonly string[];
  readonly details: JsonObject;
  readonly identity: JsonObject;
}

/** Why an entry cannot be read, and by which of its fields. */
interface Unreadable {
  readonly reason: PayloadErrorReason;
  readonly field: string;
  readonly problem: string;
}

function missing(field: string, problem: string): Unreadable {
  return { reason: "missing_field", field, problem };
}

/** A vulnerability of a package, or why the entry cannot be read. */
function readVulnerability(item: JsonObject): Finding | Unreadable {
  const id = textAt(item, "vulnerabilityID");
  if (id === "") return missing("vulnerabilityID", "expected a vulnerabilityID");
  const found = {
    package: textAt(item, "resource"),
    installedVersion: textAt(item, "installedVersion"),
    purl: textAt(item, "packagePURL"),
    path: textAt(item, "packagePath"),
  };
  const fixedVersion = textAt(item, "fixedVersion");
  const title = textAt(item, "title");
  const target = textAt(item, "target");
  const what = [id, "in", found.package || "an unnamed package", found.installedVersion].filter(Boolean).join(
    " ",
  );
  const fix = fixedVersion === "" ? "" : ` (fixed in ${fixedVersion})`;
  return {
    severity: text(at(item, "severity")) || null,
    message: `${what}${fix}${title === "" ? "" : `: ${title}`}`,
    rules: [id],
    details: withoutEmpty({
      vulnerabilityID: id,
      ...found,
      fixedVersion,
      score: number(at(item, "score")),
      title,
      primaryLink: textAt(item, "primaryLink"),
      target,
    }),
    identity: withoutEmpty({ vulnerabilityID: id, ...found, target: lastingTarget(item, target) }),
  };
}

/** The file or binary a package is part of. For packages of the system it is the image's name, which its tag is part of. */
function lastingTarget(item: JsonObject, target: string): string {
  return textAt(item, "class") === "os-pkgs" || target.endsWith(")") ? "" : target;
}

/** A secret in an image. The match is never copied: even masked, it shows the text around the secret. */
function readSecret(item: JsonObject): Finding | Unreadable {
  const rule = firstText(textAt(item, "ruleID"), textAt(item, "title"));
  if (rule === "") return missing("ruleID", "expected a ruleID");
  const title = textAt(item, "title");
  const path = textAt(item, "target");
  return {
    severity: text(at(item, "severity")) || null,
    message: `${title || rule}${path === "" ? "" : ` in ${path}`}`,
    rules: [rule],
    details: withoutEmpty({ rule, title, path, category: textAt(item, "category") }),
    identity: withoutEmpty({ rule, path }),
  };
}

/** A failed check with its messages; undefined for one that passed; or why the entry cannot be read. */
function readCheck(
  item: JsonObject,
  rename: (text: string) => string,
): Finding | Unreadable | undefined {
  const success = at(item, "success");
  if (success === true || success === "true") return undefined;
  if (success !== undefined && success !== null && success !== false && success !== "false") {
    const reason = typeof success === "string" ? "invalid_value" : "wrong_shape";
    return { reason, field: "success", problem: `expected true or false, received ${shapeOf(success)}` };
  }
  const id = textAt(item, "checkID");
  const title = textAt(item, "title");
  const messages = texts(at(item, "messages")).map(rename);
  const check = firstText(canonicalCheckId(id), title);
  if (check === "" && messages.length === 0) {
    return missing("checkID", "expected a checkID, a title or messages");
  }
  const description = rename(textAt(item, "description"));
  const said = messages.length > 0 ? messages.join("; ") : description;
  return {
    severity: text(at(item, "severity")) || null,
    message: said === title ? title : [title || id, said].filter(Boolean).join(": "),
    rules: id === "" ? texts(title) : checkIds(id),
    details: withoutEmpty({
      checkID: id,
      title,
      category: textAt(item, "category"),
      messages,
      description,
      remediation: rename(textAt(item, "remediation")),
    }),
    identity: withoutEmpty({ check, messages: messages.toSorted() }),
  };
}

interface CheckId {
  readonly letters: string;
  readonly number: number;
}

/** `KSV001`, `KSV-0001` and `AVD-KSV-0001` are one check, named by the operator's release. */
function parseCheckId(id: string): CheckId | undefined {
  const upper = id.trim().toUpperCase();
  const bare = upper.startsWith("AVD-") ? upper.slice("AVD-".length) : upper;
  let end = bare.length;
  while (end > 0 && isDigit(bare.charCodeAt(end - 1))) end--;
  const digits = bare.slice(end);
  const letters = bare.endsWith("-", end) ? bare.slice(0, end - 1) : bare.slice(0, end);
  const fits = digits.length >= 1 && digits.length <= 6 && letters.length >= 2 && letters.length <= 8;
  return fits && isLetters(letters) ? { letters, number: Number(digits) } : undefined;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isLetters(word: string): boolean {
  for (let index = 0; index < word.length; index++) {
    const code = word.charCodeAt(index);
    if (code < 65 || code > 90) return false;
  }
  return true;
}

/** The check's id in one spelling: `KSV-0001`; any other tool's id as it is. */
function canonicalCheckId(id: string): string {
  const parsed = parseCheckId(id);
  return parsed ? `${parsed.letters}-${String(parsed.number).padStart(4, "0")}` : id;
}

/** Every spelling a filter may use. */
function checkIds(id: string): string[] {
  const parsed = parseCheckId(id);
  if (!parsed) return [id];
  const { letters, number } = parsed;
  const digits = String(number);
  const four = digits.padStart(4, "0");
  return [
    ...new Set([
      id,
      `${letters}-${four}`,
      `AVD-${letters}-${four}`,
      `${letters}${digits.padStart(3, "0")}`,
      `${letters}${four}`,
    ]),
  ];
}
