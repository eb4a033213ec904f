/** crds/observationfilter.yaml. */
import { stringify } from "yaml";
import { OBSERVATION_FILTER_CRD } from "../../src/filters/crd.ts";
import { crdFor } from "../../src/model/crd.ts";
import { type GeneratedFile, YAML_HEADER } from "./file.ts";

export function generateFilterCrd(): GeneratedFile[] {
  const text = YAML_HEADER +
    stringify(crdFor(OBSERVATION_FILTER_CRD), { lineWidth: 0, aliasDuplicateObjects: false });
  return [{ path: "crds/observationfilter.yaml", text }];
}
