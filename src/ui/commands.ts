/** The list and the finding on the screen as command lines: kubectl's, and those of `kubectl zen`. */
import { labelValue } from "../model/identity.ts";
import { LABELS, type Phase, PHASES } from "../model/observation.ts";
import { phasesOf, valuesOfKey } from "./filter.ts";
import type { Commands, FindingFilter } from "./protocol.ts";

/** Where the commands are to read. */
export interface CommandPlace {
  /** The context of the kubeconfig. */
  readonly context?: string | undefined;
  /** The one namespace that the user may read. */
  readonly onlyNamespace?: string | undefined;
}

/** Keys that are labels. */
const LABELLED = {
  severity: LABELS.severity,
  source: LABELS.source,
  rule: LABELS.rule,
  workload: LABELS.workload,
  category: LABELS.category,
  type: LABELS.kind,
} satisfies Partial<Record<keyof FindingFilter, string>>;

/** The commands that show what a filter shows. What they cannot choose by (text, times, an image) is left to `grep`, or out. */
export function listCommands(query: URLSearchParams, { context, onlyNamespace }: CommandPlace): Commands {
  const namespaces = onlyNamespace === undefined ? valuesOfKey(query, "namespace") : [onlyNamespace];
  const where = namespaces.length === 1 ? ["-n", quote(namespaces[0] ?? "")] : ["-A"];
  const labels = Object.entries(LABELLED).flatMap(([key, label]) => {
    const values = valuesOfKey(query, key as keyof FindingFilter).map(labelValue);
    return values.length === 0
      ? []
      : [values.length === 1 ? `${label}=${values[0]}` : `${label} in (${values.join(",")})`];
  });
  const selector = labels.length === 0 ? [] : ["-l", quote(labels.join(","))];
  const kinds = valuesOfKey(query, "kind");
  const phase = phaseSelector(phasesOf(query));
  const fields = [
    ...(kinds.length === 1 ? [`spec.resource.kind=${kinds[0]}`] : []),
    ...(phase === "" ? [] : [phase]),
  ];
  const grep = (query.get("text") ?? "").split(/\s+/).filter((word) => word !== "")
    .map((word) => `| grep -iF -e ${quote(word)}`);
  const at = contextFlag(context);
  return {
    kubectl: line(
      "kubectl",
      ...at,
      "get observations.zen.kube-zen.io",
      ...where,
      ...selector,
      ...(fields.length === 0 ? [] : ["--field-selector", quote(fields.join(","))]),
      ...grep,
    ),
    zen: line(
      "kubectl zen get",
      ...at,
      ...where,
      ...selector,
      ...(kinds.length === 1 ? ["--kind", quote(kinds[0] ?? "")] : []),
      ...(phase === "status.phase=Active" ? [] : ["--all"]),
      ...grep,
    ),
  };
}

/** The commands that show one Observation. */
export function findingCommands(
  { namespace, name }: { readonly namespace: string; readonly name: string },
  { context }: CommandPlace,
): Commands {
  const at = contextFlag(context);
  const where = ["-n", quote(namespace)];
  return {
    kubectl: line("kubectl", ...at, "get observations.zen.kube-zen.io", quote(name), ...where, "-o yaml"),
    zen: line("kubectl zen why", quote(name), ...at, ...where),
  };
}

/** Quotes a word for a POSIX shell. Control characters, which a terminal would act on, become spaces. */
export function quote(word: string): string {
  // deno-lint-ignore no-control-regex
  const clean = word.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ");
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(clean) ? clean : `'${clean.replaceAll("'", `'\\''`)}'`;
}

function contextFlag(context: string | undefined): string[] {
  return context === undefined ? [] : ["--context", quote(context)];
}

/** Field selectors know = and != alone. */
function phaseSelector(phases: ReadonlySet<Phase> | undefined): string {
  if (!phases || phases.size === PHASES.length) return "";
  if (phases.size === 1) return `status.phase=${[...phases][0]}`;
  return `status.phase!=${PHASES.find((phase) => !phases.has(phase))}`;
}

function line(...words: readonly string[]): string {
  return words.join(" ");
}
