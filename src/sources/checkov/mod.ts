/** Checkov's results: failed checks of manifests, Terraform, Dockerfiles. */
import type { Drawn, DrawnEvent } from "../../model/event.ts";
import {
  at,
  type Field,
  firstText,
  isObject,
  type Json,
  type JsonObject,
  list,
  number,
  shapeOf,
  text,
  textAt,
  withoutEmpty,
} from "../../model/json.ts";
import type { Resource } from "../../model/observation.ts";
import { isClusterScoped, MAX_IDENTITY_TEXT } from "../../model/identity.ts";
import { documentsIn, RESULTS_KEY } from "../config_maps.ts";
import { type Source, unread } from "../source.ts";
import { alikeTwins, joined, sharedName, subjectOf } from "../objects.ts";
import { namespace } from "../../text/setting.ts";

/** Deepest nesting of arrays that is read. Several documents, each an array, are the deepest that tools write. */
const MAX_DEPTH = 4;
/** Frameworks whose resources are `Kind.namespace.name`. */
const KUBERNETES_FRAMEWORKS: ReadonlySet<string> = new Set(["kubernetes", "helm", "kustomize"]);

const NAMESPACE = namespace("CHECKOV_NAMESPACE", "checkov", "Where Checkov's ConfigMaps are");

/** Failed checks of infrastructure as code. */
export const checkov: Source = {
  name: "checkov",
  kind: "finding",
  summary: "Static analysis results of Checkov, kept in ConfigMaps",
  eventTypes: {
    "static-analysis": {
      category: "security",
      identity: ["framework", "checkID", "resource", "package", "installedVersion", "file", "document"],
    },
  },
  settings: [NAMESPACE],
  volatile: [
    "the line range and the code",
    "an image's tag and digest, `fixedVersion`",
    "the check's name and guideline",
    "the order of failed checks",
  ],
  feeds: [{ type: "configmap", namespace: NAMESPACE, labelSelector: "app=checkov", key: RESULTS_KEY }],
  *draw(payload): Iterable<Drawn> {
    for (const found of documentsIn(payload)) {
      if ("error" in found) yield found;
      else {
        yield* alikeTwins(
          fromDocument(found.document, { path: found.path, depth: 0, holder: sharedName(found.holder.name) }),
        );
      }
    }
  },
};

interface Place {
  readonly path: string;
  readonly depth: number;
  /** Name of the ConfigMap. */
  readonly holder: string;
}

/** One framework's run, an array of runs, several of these, or the flat counts of a run that found nothing. */
function* fromDocument(document: Json, { path, depth, holder }: Place): Generator<Drawn> {
  if (depth > MAX_DEPTH || (!Array.isArray(document) && !isObject(document))) {
    yield unread("wrong_shape", path, `expected Checkov results, received ${shapeOf(document)}`);
    return;
  }
  if (Array.isArray(document)) {
    for (const [index, item] of document.entries()) {
      yield* fromDocument(item, { path: `${path}[${index}]`, depth: depth + 1, holder });
    }
    return;
  }
  const results = at(document, "results");
  if (results === undefined || results === null) {
    if (!saysNothingFailed(document)) {
      yield unread(
        "missing_field",
        joined(path, "results"),
        `expected an object, received ${shapeOf(results)}`,
      );
    }
    return;
  }
  if (!isObject(results)) {
    yield unread("wrong_shape", joined(path, "results"), `expected an object, received ${shapeOf(results)}`);
    return;
  }
  const failed = at(results, "failed_checks");
  const failedPath = joined(path, "results.failed_checks");
  if (Array.isArray(failed)) {
    const framework = sharedName(document, "check_type").toLowerCase();
    for (const [index, check] of failed.entries()) {
      yield* fromCheck(check, { path: `${failedPath}[${index}]`, framework, holder });
    }
  } else if (failed !== undefined && failed !== null) {
    yield unread("wrong_shape", failedPath, `expected an array, received ${shapeOf(failed)}`);
  } else if (!saysNothingFailed(at(document, "summary"))) {
    yield unread("missing_field", failedPath, "expected an array");
  }
}

/** `{"passed": 0, "failed": 0, …}`: a run without findings. */
function saysNothingFailed(counts: Json | undefined): boolean {
  return number(at(counts, "failed")) === 0;
}

interface CheckContext {
  readonly path: string;
  readonly framework: string;
  readonly holder: string;
}

function* fromCheck(check: Json, { path, framework, holder }: CheckContext): Generator<Drawn> {
  if (!isObject(check)) {
    yield unread("wrong_shape", path, `expected an object, received ${shapeOf(check)}`);
    return;
  }
  if (firstText(textAt(check, "check_id"), textAt(check, "check_name")) === "") {
    yield unread("missing_field", `${path}.check_id`, "expected the id of a check");
    return;
  }
  yield { event: toEvent(check, { framework, holder }) };
}

function toEvent(check: JsonObject, { framework, holder }: Omit<CheckContext, "path">): DrawnEvent {
  const checkID = firstText(textAt(check, "check_id"), textAt(check, "check_name"));
  const title = textAt(check, "check_name");
  // As much as is hashed.
  const named = textAt(check, "resource").slice(0, MAX_IDENTITY_TEXT);
  const file = textAt(check, "file_path").slice(0, MAX_IDENTITY_TEXT);
  const lines = lineRange(check);
  const { overlay, id } = withoutOverlay(named);
  const resource = kubernetesResource(id, { framework, checkID });
  const found = packageOf(check);
  const { vulnerabilityID = "", severity = "", ...ofPackage } = found?.details ?? {};
  return {
    category: "security",
    severity: firstText(text(at(check, "severity")), severity, "medium"),
    eventType: "static-analysis",
    message: found
      ? `${found.subject}${file === "" ? "" : ` in ${file}`}: ${firstText(found.news, title, checkID)}`
      : firstText(title, checkID) + placeOf({ framework, named, file, lines, resource }),
    rules: vulnerabilityID === "" ? [checkID] : [vulnerabilityID, checkID],
    prose: ["message", "title", "resource", "file", "checkClass", "package", "description"],
    ...(resource ? { resource } : {}),
    details: withoutEmpty({
      checkID,
      vulnerabilityID,
      title: firstText(found?.news ?? "", title),
      ...ofPackage,
      framework,
      resource: named,
      overlay,
      file,
      lines,
      checkClass: textAt(check, "check_class"),
      guideline: textAt(check, "guideline"),
    }),
    identity: withoutEmpty({
      framework,
      checkID,
      // The package's `resource` is its file and its name.
      ...(found
        ? {
          package: ofPackage.package,
          installedVersion: ofPackage.installedVersion,
          file: lastingFile(file),
        }
        : { resource: named, file }),
      // Two repositories have a Dockerfile each; a cluster has one resource of a name.
      document: resource ? "" : holder,
    }),
  };
}

/** A vulnerable package, or one with a forbidden license. */
interface FoundPackage {
  /** `django 1.2 (fixed in 1.11.27)` */
  readonly subject: string;
  /** What is said of it: the first sentence of the description, or its license; "" if nothing is. */
  readonly news: string;
  readonly details: Readonly<Record<string, string>>;
}

/** The package of a result of Checkov's software composition analysis, whose check has the same name for all packages. */
function packageOf(check: JsonObject): FoundPackage | undefined {
  const found = at(check, "vulnerability_details");
  const name = textAt(found, "package_name");
  if (name === "") return undefined;
  const installedVersion = textAt(found, "package_version");
  const vulnerabilityID = textAt(found, "id");
  const fixedVersion = fixedVersionOf(found);
  const license = textAt(found, "license");
  const description = textAt(found, "description");
  const fix = fixedVersion === "" ? "(no fix)" : `(fixed in ${fixedVersion})`;
  return {
    subject: [name, installedVersion, vulnerabilityID === "" ? "" : fix].filter(Boolean).join(" "),
    news: firstText(
      FIRST_SENTENCE.exec(description)?.[0] ?? description,
      license === "" ? "" : `License ${license}`,
    ),
    details: {
      vulnerabilityID,
      severity: textAt(found, "severity"),
      package: name,
      installedVersion,
      fixedVersion,
      license,
      description,
      primaryLink: textAt(found, "link"),
    },
  };
}

const FIRST_SENTENCE = /^[^\n]{0,512}?(?:[.!?](?=\s|$)|(?=\n|$))/;

/** The lowest version with a fix. Checkov writes `N/A` if it knows none, and in older results `fixed in 3.0.1, 2.2.9`. */
function fixedVersionOf(found: Field): string {
  const lowest = textAt(found, "lowest_fixed_version");
  if (lowest !== "") return lowest === "N/A" ? "" : lowest;
  const said = firstText(textAt(found, "fix_version"), textAt(found, "status"));
  return /^fixed in (.{1,256})$/i.exec(said)?.[1] ?? "";
}

/** A file's path, with an image's name but not its tag, lines and digest: `/Dockerfile (nginx:1.2 lines:1-2 (sha256:01))`. */
function lastingFile(file: string): string {
  const [, path = file, image] =
    /^(.+?) \(([^\s()@]{1,512})(?:@[^\s()]+)?(?: lines:\d+-\d+)?(?: \(sha256:\w+\))?\)$/
      .exec(file) ?? [];
  return image === undefined ? path : `${path} (${image.replace(/:[^:/]+$/, "")})`;
}

interface Location {
  readonly framework: string;
  readonly named: string;
  readonly file: string;
  readonly lines: string;
  readonly resource: Resource | undefined;
}

/**
 * The place to show after the title: the file, and what the Observation's resource does not say. Checkov names a
 * Dockerfile's resources by its path, and a secret by a hash.
 */
function placeOf({ framework, named, file, lines, resource }: Location): string {
  const where = file === "" ? "" : ` in ${[file, lines].filter(Boolean).join(":")}`;
  if (resource) return `${/ \([^()]+\)$/.exec(named)?.[0] ?? ""}${where}`;
  if (named === "" || framework === "secrets") return where;
  const part = file !== "" && named.startsWith(file) ? named.slice(file.length).replace(/^\./, "") : named;
  return part === "" ? where : `: ${part}${where}`;
}

/** `[17, 30]` as `17-30`; "" for `[0, 0]`, which stands for no lines. */
function lineRange(check: JsonObject): string {
  const lines = list(at(check, "file_line_range")).map(number);
  return lines.length === 2 && lines.every((line) => line !== undefined) && lines[1] !== 0
    ? lines.join("-")
    : "";
}

interface Framework {
  readonly framework: string;
  readonly checkID: string;
}

/** Splits the prefix of a kustomize run from an id: `overlay:prod:Deployment.shop.web`, `base:Deployment.shop.web`. */
function withoutOverlay(named: string): { readonly overlay: string; readonly id: string } {
  const found = /^(?:(base)|overlay:(.*?)):(?=[A-Z][A-Za-z0-9]*\.)/.exec(named) ?? [];
  const [prefix = "", base, overlay = ""] = found;
  return { overlay: base ?? overlay, id: named.slice(prefix.length) };
}

/** Reads `Kind.namespace.name`; the name may hold dots. Checkov writes `default` also for cluster-scoped kinds. */
function kubernetesResource(named: string, { framework, checkID }: Framework): Resource | undefined {
  const isKubernetes = framework === ""
    ? checkID.startsWith("CKV_K8S_") || checkID.startsWith("CKV2_K8S_")
    : KUBERNETES_FRAMEWORKS.has(framework);
  if (!isKubernetes) return undefined;
  const afterKind = named.indexOf(".");
  const afterNamespace = named.indexOf(".", afterKind + 1);
  if (afterKind < 1 || afterNamespace < 0) return undefined;
  const kind = named.slice(0, afterKind);
  const namespace = named.slice(afterKind + 1, afterNamespace);
  // Old releases append ` (container 0)`.
  const [whole = ""] = named.slice(afterNamespace + 1).split(" ", 1);
  const name = isTemplate(kind, checkID) ? whole.slice(0, endOfName(whole)) : whole;
  if (!isNameOf(kind, name)) return undefined;
  return subjectOf({ kind, name, namespace: isClusterScoped(kind) ? "" : namespace });
}

/** Graph checks name a workload's Pod template: `Pod.shop.web.app-web` for the template of `web` with the label app=web. */
function isTemplate(kind: string, checkID: string): boolean {
  return kind === "Pod" && checkID.startsWith("CKV2_");
}

function endOfName(name: string): number {
  const dot = name.indexOf(".");
  return dot < 0 ? name.length : dot;
}

const RBAC_KINDS: ReadonlySet<string> = new Set(["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"]);

/** False for an invalid object name: a template's placeholder, a name in upper case. It is kept in details. */
function isNameOf(kind: string, name: string): boolean {
  if (RBAC_KINDS.has(kind)) return name !== "" && !/[/%{}$]/.test(name);
  return name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name);
}
