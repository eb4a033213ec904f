/** The rules of src/sources/rbac.ts: for the chart as data, for people as docs/reference/rbac.md. */
import { stringify } from "yaml";
import { readSettings } from "../../src/settings.ts";
import { type PlacedRule, placedRules, rbacRules, type Rule } from "../../src/sources/rbac.ts";
import { type GeneratedFile, markdown, markdownTable, YAML_HEADER } from "./file.ts";

export function generateRbac(): GeneratedFile[] {
  const rules = placedRules().map(withNamedPlace);
  return [
    {
      path: "helm/zen-watcher/files/rbac.yaml",
      text: YAML_HEADER + stringify({ rules }, { lineWidth: 0, aliasDuplicateObjects: false }),
    },
    markdown("docs/reference/rbac.md", "RBAC", page()),
  ];
}

/** A place that a setting names is written as the setting's variable, by which the chart finds the namespace. */
function withNamedPlace({ place, ...rule }: PlacedRule): Readonly<Record<string, unknown>> {
  return { place: typeof place === "string" ? place : place.setting.env, ...rule };
}

function page(): string {
  const sections = rbacRules(readSettings(() => undefined)).map(({ namespace, rules }) => {
    const title = namespace === "" ? "ClusterRole" : `Role in \`${namespace}\``;
    return `## ${title}\n\n${
      markdownTable(["API group", "resources", "only", "verbs", "for"], rules.map(row))
    }`;
  });
  return `What zen-watcher may do with the chart's default values. Nothing else, and no wildcard: \`zen-watcher check --rbac\`
asks the API server for exactly this. Webhook Secrets of Ingesters are named one by one in \`webhooks.ingesterSecrets\`; what an
Ingester reads is added by \`extraSourceRules\`.

With \`watchNamespaces\` the namespaced reports move into a Role in each of these namespaces, and cluster-scoped ones are
read by the one shard that has \`watchClusterScoped\`.

${sections.join("\n")}`;
}

function row({ apiGroups, resources, resourceNames = [], verbs, by }: Rule): string[] {
  const code = (words: readonly string[]) => words.map((word) => `\`${word}\``).join(", ");
  return [
    code(apiGroups.map((group) => group || '""')),
    code(resources),
    code(resourceNames),
    code(verbs),
    by,
  ];
}
