/** docs/reference/metrics.md: every metric, as the registry declares it. */
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { type GeneratedFile, markdown, markdownTable } from "./file.ts";

export async function generateMetrics(): Promise<GeneratedFile[]> {
  const { registry } = createMetrics();
  const rows: string[][] = [];
  for (const { name, type, help } of await registry.getMetricsAsJSON()) {
    rows.push([`\`${name}\``, String(type), labelsOf(registry.getSingleMetric(name)).join(", "), help]);
  }
  rows.sort(([a = ""], [b = ""]) => a < b ? -1 : 1);
  const body = `Names and labels are API. What the values of \`reason\` mean is in [outcomes.md](outcomes.md).

${markdownTable(["metric", "type", "labels", "meaning"], rows)}`;
  return [markdown("docs/reference/metrics.md", "Metrics", body)];
}

/** prom-client keeps the names but does not declare them. */
function labelsOf(metric: object | undefined): string[] {
  const names: unknown = metric && "labelNames" in metric ? metric.labelNames : [];
  return Array.isArray(names) ? names.map((name) => `\`${name}\``) : [];
}
