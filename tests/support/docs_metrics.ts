/** Metrics as documentation names them, held against what the program declares. */
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { registerProcessMetrics } from "../../src/telemetry/process.ts";

interface Declared {
  readonly name: string;
  readonly histogram: boolean;
  readonly labels: readonly string[];
}

/** What a Prometheus adds to every series. */
const TARGET_LABELS = ["job", "namespace", "pod", "instance"];
const declared = declaredMetrics();

/** What is wrong with the metrics in a piece of code, one line each. */
export function metricProblems(code: string): string[] {
  const problems: string[] = [];
  const found: Declared[] = [];
  const text = expand(code);
  const names =
    /\b((?:zen_watcher|process)_[a-z0-9_]+|(?<![\w-])[a-z]+(?:_[a-z]+)+(?=\{[^}]*\})|(?<![\w-])[a-z]+(?:_[a-z]+)*_total\b)(\{[^}]*\})?/g;
  for (const [, name = "", selector = ""] of text.matchAll(names)) {
    const metric = metricNamed(name);
    if (!metric) {
      problems.push(`no metric ${name}`);
      continue;
    }
    found.push(metric);
    for (const [, label = ""] of selector.matchAll(/[{,]\s*([a-z_]+)\s*(?=[=!,}])/g)) {
      if (!labelsOf(metric).includes(label)) problems.push(`${name} has no label ${label}`);
    }
  }
  if (found.length === 0) return problems;
  const known = new Set(found.flatMap(labelsOf));
  for (const [, list = ""] of text.matchAll(/\bby \(([^)]*)\)/g)) {
    for (const label of list.split(",").map((word) => word.trim())) {
      if (!known.has(label)) problems.push(`no metric here has the label ${label}`);
    }
  }
  return problems;
}

function metricNamed(name: string): Declared | undefined {
  for (const full of [name, `zen_watcher_${name}`]) {
    const metric = declared.get(full) ?? declared.get(full.replace(/_(bucket|sum|count)$/, ""));
    if (metric && (metric.name === full || metric.histogram)) return metric;
  }
  return undefined;
}

function labelsOf({ labels, histogram }: Declared): readonly string[] {
  return [...labels, ...(histogram ? ["le"] : []), ...TARGET_LABELS];
}

/** `a_(b|c)_d` of a grep pattern as `a_b_d a_c_d`. */
function expand(text: string): string {
  return text.replaceAll(
    /([a-z_]+)\(([a-z_|]+)\)([a-z_]*)/g,
    (_whole, before, words, after) => words.split("|").map((word: string) => before + word + after).join(" "),
  );
}

function declaredMetrics(): ReadonlyMap<string, Declared> {
  const { registry } = createMetrics();
  registerProcessMetrics(registry, 0);
  const metrics = registry.getMetricsAsArray() as readonly {
    name: string;
    type?: unknown;
    labelNames?: readonly string[];
  }[];
  return new Map(metrics.map((metric) => {
    const histogram = metric.constructor.name === "Histogram" || metric.type === "histogram";
    return [metric.name, { name: metric.name, histogram, labels: metric.labelNames ?? [] }];
  }));
}
