/** The list and the finding on the screen as command lines: kubectl's, and those of `kubectl zen`. */
import { labelValue } from "../model/identity.ts";
import { LABELS, type Phase, PHASES } from "../model/observation.ts";
import { phasesOf, valuesOfKey } from "./filter.ts";
import type { Commands, FindingFilter } from "./protocol.ts";

/** Where the commands are to read. */
export interface CommandPlace {
  /** The context of the kubeconfig. */
  readonly context?: string | undefined;
  /** The one namespace whose findings are shown. */
  readonly onlyNamespace?: string | undefined;
}

/** Keys that are labels, and the flag that takes the value itself. */
const LABELLED = {
  severity: { label: LABELS.severity, flag: "--severity" },
  source: { label: LABELS.source, flag: "--source" },
  rule: { label: LABELS.rule, flag: "--rule" },
  workload: { label: LABELS.workload, flag: "--workload" },
  category: { label: LABELS.category, flag: undefined },
  type: { label: LABELS.kind, flag: undefined },
} satisfies Partial<Record<keyof FindingFilter, object>>;

/**
 * The commands that show what a filter shows. Words are left to `grep`. What no command chooses by is left out: an image, an
 * exception, times of an end, and for kubectl all times.
 */
export function listCommands(query: URLSearchParams, { context, onlyNamespace }: CommandPlace): Commands {
  const namespaces = onlyNamespace === undefined ? valuesOfKey(query, "namespace") : [onlyNamespace];
  const place = [
    ...contextFlag(context),
    ...(namespaces.length === 1 ? ["-n", quote(namespaces[0] ?? "")] : ["-A"]),
  ];
  const labels: string[] = [];
  const otherLabels: string[] = [];
  const flags: string[] = [];
  for (const [key, { label, flag }] of Object.entries(LABELLED)) {
    const values = valuesOfKey(query, key as keyof FindingFilter);
    if (values.length === 0) continue;
    const legal = values.map(labelValue);
    const term = legal.length === 1 ? `${label}=${legal[0]}` : `${label} in (${legal.join(",")})`;
    labels.push(term);
    if (flag !== undefined && (values.length === 1 || key === "severity")) {
      flags.push(flag, quote(values.join(",")));
    } else otherLabels.push(term);
  }
  const [resource, ...furtherResources] = valuesOfKey(query, "resource");
  const isOneResource = resource !== undefined && furtherResources.length === 0 && resource.includes("/");
  const [kind, ...furtherKinds] = isOneResource ? [resource.split("/")[0]] : valuesOfKey(query, "kind");
  const isOneKind = kind !== undefined && furtherKinds.length === 0;
  const phases = phasesOf(query);
  const phase = phaseSelector(phases);
  const fields = [
    ...(isOneKind ? [`spec.resource.kind=${kind}`] : []),
    ...(isOneResource ? [`spec.resource.name=${resource.slice(resource.indexOf("/") + 1)}`] : []),
    ...(phase === "" ? [] : [phase]),
  ];
  const since = query.get("since") ?? "";
  const grep = (query.get("text") ?? "").split(/\s+/).filter((word) => word !== "")
    .map((word) => `| grep -iF -e ${quote(word)}`);
  return {
    kubectl: line(
      "kubectl get observations.zen.kube-zen.io",
      ...place,
      ...selector("-l", labels),
      ...selector("--field-selector", fields),
      ...grep,
    ),
    zen: line(
      "kubectl zen get",
      ...place,
      ...flags,
      ...(isOneKind ? ["--kind", quote(kind)] : []),
      ...selector("-l", otherLabels),
      ...(since === "" ? [] : ["--since", quote(since)]),
      ...(phases?.size === 1 && phases.has("Active") ? [] : ["--all"]),
      ...grep,
    ),
  };
}

function selector(flag: string, terms: readonly string[]): string[] {
  return terms.length === 0 ? [] : [flag, quote(terms.join(","))];
}

/** The commands that show one Observation. */
export function findingCommands(
  { namespace, name }: { readonly namespace: string; readonly name: string },
  { context }: CommandPlace,
): Commands {
  const at = contextFlag(context);
  const where = ["-n", quote(namespace)];
  return {
    kubectl: line("kubectl get observations.zen.kube-zen.io", quote(name), ...at, ...where, "-o yaml"),
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
