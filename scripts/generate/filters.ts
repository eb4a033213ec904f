/** docs/reference/filters.md: every key, from the schema that reads it. */
import { stringify } from "yaml";
import { z } from "zod";
import { MAX_SOURCES } from "../../src/filters/document.ts";
import { filterBlockShape, MAX_LIST_VALUES, MAX_VALUE_LENGTH } from "../../src/filters/schema.ts";
import { MAX_FILTERS, MAX_SPEC_LENGTH, MAX_TENANT_FILTERS } from "../../src/filters/observation_filters.ts";
import { MAX_ANCHORS, MAX_TEXT_LENGTH, SERVER_BOUNDS } from "../../src/filters/config_text.ts";
import { CATEGORIES, SEVERITIES } from "../../src/model/observation.ts";
import { MAX_EXPRESSION_LENGTH } from "../../src/filters/expression.ts";
import { MAX_MATCH_COST, MAX_PATTERN_INSTRUCTIONS, MAX_PATTERN_LENGTH } from "../../src/filters/pattern.ts";
import { DIMENSIONS, SEVERITY_RANK } from "../../src/filters/checks.ts";
import { type GeneratedFile, markdown, markdownTable } from "./file.ts";

export function generateFilters(): GeneratedFile[] {
  return [
    markdown(
      "docs/reference/filters.md",
      "Filters",
      [places(), keys(), rules(), expressions(), reload()].join("\n"),
    ),
  ];
}

const EXAMPLE = {
  sources: {
    "*": { excludeNamespaces: ["kube-*"] },
    trivy: { minSeverity: "HIGH", excludeRules: ["CVE-2019-8457"] },
    falco: { expression: '!(resource.kind == "Pod" && resource.name.startsWith("debug-"))', mode: "Shadow" },
  },
};

function places(): string {
  return `Filters say which events become Observations. A filter stands in one of three places:

- the ConfigMap \`zen-watcher-filter\` of the controller's namespace, key \`filter.json\`, JSON or YAML, an entry for each source
  and for \`*\`, which is all sources:

\`\`\`yaml
${stringify(EXAMPLE, { lineWidth: 0 }).trimEnd()}
\`\`\`

- an \`ObservationFilter\`: \`spec.targetSource\`, a source or \`*\`, and the keys below beside it;
- an Ingester's own \`filters\`, for its source alone.

Try one without a cluster: \`zen-watcher check -f filter.yaml\` reads it, \`zen-watcher explain --source trivy -f report.json
--filters filter.yaml\` says of each event what each filter makes of it, \`zen-watcher test DIR\` runs cases.
`;
}

function keys(): string {
  const rows = Object.entries(filterBlockShape).map(([key, schema]) => [
    `\`${key}\``,
    typeOf(key, schema),
    z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }).description ?? "",
  ]);
  return `## Keys

${markdownTable(["key", "takes", "effect"], rows)}
Severities are ${SEVERITIES.map(code).join(", ")};
categories ${CATEGORIES.map(code).join(", ")}. Values and sources are written
in any case. An absent key is no opinion. An empty list, an unknown key, a value that is none, a source named twice: the whole
document is refused. \`*\` is a wildcard in namespaces alone.
`;
}

function typeOf(key: string, schema: z.ZodType): string {
  if (key === "minSeverity") return "severity";
  if (key === "mode") return "`Enforce` or `Shadow`";
  const json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  if (json.type !== "array") return String(json.type);
  const of = key.replace(/^(include|exclude|ignore)/, "");
  return `list of ${LIST_WORDS[of] ?? of.toLowerCase()}`;
}

const LIST_WORDS: Readonly<Record<string, string>> = {
  Severity: "severities",
  EventTypes: "event types",
  Namespaces: "namespaces",
  Rules: "rule ids",
};

function rules(): string {
  const ranks = SEVERITIES.toSorted((a, b) => SEVERITY_RANK[b] - SEVERITY_RANK[a]).map(code).join(" > ");
  return `## How they combine

An event passes if **every** document that applies to it passes it: there is no merging and no priority between documents, so
one more document never lets more through, and their order means nothing.

Inside a document the dimensions are evaluated in turn, and the first that drops the event gives the reason: ${
    DIMENSIONS.map(code).join(", ")
  }.
In a dimension:

- an include list, if there is one, decides alone: what is in it passes, all else is dropped, whatever the other keys say;
- else the exclude list drops what is in it, and \`minSeverity\` what ranks below it;
- no key, no opinion.

Severities rank ${ranks}. \`UNKNOWN\` is below \`LOW\`: a minimum asks for events known to reach it; to keep unknown ones
beside, use \`includeSeverity: [CRITICAL, HIGH, UNKNOWN]\`.

Namespace and kind are those of the affected resource. An event that has none (a node's finding has no namespace) is in no list:
an include list drops it, an exclude list does not. \`excludeNamespaces: ["*"]\` therefore keeps what is cluster-scoped.

\`mode: Shadow\` evaluates and counts, and drops nothing: \`filter_decisions_total{action="shadow"}\`, and \`wouldDrop\` in the
document's status, for the last day.

ObservationFilters outside the controller's namespace are off unless \`TENANT_FILTERS=true\`, and their condition says so. Then they act on Observations
of their own namespace alone, and never drop a \`CRITICAL\` one or one of \`audit\`.
`;
}

function expressions(): string {
  return `## Expressions

CEL, checked when the filter is read: \`source\`, \`category\`, \`severity\`, \`eventType\`, \`rule\` (strings, as stored: severity in
upper case, \`rule\` empty where the tool names none), \`resource\` (\`apiVersion\`, \`kind\`, \`name\`, \`namespace\`) and \`details\` (a map of the fields that the source stores).
The result is a bool. Numbers in \`details\` are doubles; \`details.score > 7\` is fine.

A key that the event lacks makes the expression fail, a failed expression keeps the event and is counted in \`filter_errors_total\`:
write \`has(details.score) && details.score > 7\`, or \`details.?score.orValue(0) > 7\`.

\`matches\` takes RE2 syntax and runs in linear time. \`all\`, \`exists\`, \`exists_one\` and \`filter\` do not nest; \`map\` and
\`cel.bind\` are not available; \`duration\` takes a literal.

| limit | |
| --- | --- |
| text of the ConfigMap's key | ${MAX_TEXT_LENGTH} characters |
| the same in YAML | ${SERVER_BOUNDS.maxMarks} lines, brackets, quotes and other marks; ${MAX_ANCHORS} anchors and aliases |
| sources in it | ${MAX_SOURCES} |
| ObservationFilters of the controller's namespace | ${MAX_FILTERS} |
| ObservationFilters of any other namespace | ${MAX_TENANT_FILTERS} |
| an ObservationFilter's spec | ${MAX_SPEC_LENGTH} characters of JSON |
| what an expression takes on one event | about 5 ms; more is an evaluation error, which keeps the event |
| values in a list | ${MAX_LIST_VALUES} |
| a value | ${MAX_VALUE_LENGTH} characters |
| an expression | ${MAX_EXPRESSION_LENGTH} characters |
| a pattern of \`matches\`, written out | ${MAX_PATTERN_LENGTH} characters, ${MAX_PATTERN_INSTRUCTIONS} instructions of RE2 |
| instructions of a pattern × characters of the text | ${MAX_MATCH_COST}, else the expression fails on that event |
`;
}

function reload(): string {
  return `## When they change

A change is in force at once, as a whole, on every replica, and what the filter may have held
back is evaluated again and comes in: the reports of its source, or, after a change of a tenant's filter, those of its
namespace (cluster-scoped reports and ConfigMaps may speak of any, and are all read). The first change is evaluated at once;
further ones within a minute count as one, at its end. What a new filter would hold back and is stored already stays until its time is over.

A document that is invalid, a ConfigMap without the key, deleted or unreadable: the last good one stays in force, over restarts
too: it is kept in the ObservationFilter's status, and in the ConfigMap \`zen-watcher-filter-status\`. If there was none yet,
every event is allowed. Each of these says so: a log line with path, line and column, \`filter_reload_total{result}\`
(\`loaded\`, \`rejected\`, \`key_missing\`, \`missing\`, \`unreadable\`), an Event on the ConfigMap or the condition \`Ready\` of the
ObservationFilter, and \`/tools/status\`. Deleting an ObservationFilter takes it out of force.

The API server refuses a bad value of an ObservationFilter or an Ingester's \`filters\` when it is applied. It keeps keys it does
not know, so that a misspelt one is refused here with its name, and not silently pruned.
`;
}

function code(word: string): string {
  return `\`${word}\``;
}
