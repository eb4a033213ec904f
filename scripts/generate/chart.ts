/** What the chart takes from the program: its CRDs as templates, and the schema of its values with every setting in it. */
import { ALL_SETTINGS } from "../../src/settings.ts";
import { configMapSources } from "./chart_sources.ts";
import { generateCrds } from "./crds.ts";
import { CHART_VALUES, CONFIG_MAP_SOURCE_VALUES, MANAGED_SETTINGS } from "./chart_values.ts";
import type { GeneratedFile } from "./file.ts";
import { generateFilterCrd } from "./filter_crd.ts";
import { generateMappedCrds } from "./mapped_crds.ts";

const CHART = "helm/zen-watcher";
const METADATA = "\nmetadata:\n";

export function generateChart(): GeneratedFile[] {
  return [...chartCrds().map(crdTemplate), valuesSchema()];
}

/** The CRDs that the chart installs. */
export function chartCrds(): GeneratedFile[] {
  return [...generateCrds(), ...generateFilterCrd(), ...generateMappedCrds()];
}

/** Works on text: Helm reads numbers as floats and would write some of them differently. */
function crdTemplate({ path, text }: GeneratedFile): GeneratedFile {
  const [header, rest, ...more] = escaped(text).split(METADATA);
  if (header === undefined || rest === undefined || more.length > 0) {
    throw new Error(`Cannot make a template of "${path}": expected one metadata at its top`);
  }
  const metadata = `${METADATA}  labels: {{- include "zen-watcher.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
`;
  return {
    path: `${CHART}/templates/${path}`,
    text: `{{- if .Values.crds.enabled }}\n${header}${metadata}${rest}{{- end }}\n`,
  };
}

function escaped(text: string): string {
  return text.replaceAll("{{", '{{ "{{" }}');
}

function valuesSchema(): GeneratedFile {
  const sources = configMapSources();
  const managed = new Set([...MANAGED_SETTINGS, ...sources.map(({ env }) => env)]);
  const settings = Object.fromEntries(
    ALL_SETTINGS.filter(({ env }) => !managed.has(env))
      .map(({ env, doc }) => [env, { description: doc, type: ["string", "number", "boolean"] }]),
  );
  const schema = {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Values of the zen-watcher chart",
    type: "object",
    additionalProperties: false,
    properties: {
      ...CHART_VALUES,
      ...Object.fromEntries(sources.map(({ value }) => [value, CONFIG_MAP_SOURCE_VALUES])),
      settings: {
        description: "Any other setting, by the name of its environment variable",
        type: "object",
        additionalProperties: false,
        properties: settings,
      },
    },
  };
  return { path: `${CHART}/values.schema.json`, text: `${JSON.stringify(schema, undefined, 2)}\n` };
}
