/** crds/ingester.yaml and crds/observationmapping.yaml. */
import { stringify } from "yaml";
import { crdFor } from "../../src/model/crd.ts";
import { MAPPED_CRDS } from "../../src/mapped/schema.ts";
import { type GeneratedFile, YAML_HEADER } from "./file.ts";

export function generateMappedCrds(): GeneratedFile[] {
  return Object.entries(MAPPED_CRDS).map(([name, options]) => ({
    path: `crds/${name}.yaml`,
    text: YAML_HEADER + stringify(crdFor(options), { lineWidth: 0, aliasDuplicateObjects: false }),
  }));
}
