/** crds/: one file for each kind, from its zod schema. */
import { stringify } from "yaml";
import { crdFor, observationCrd } from "../../src/model/crd.ts";
import { OBSERVATION_EXCEPTION_CRD } from "../../src/exceptions/kind.ts";
import type { JsonObject } from "../../src/model/json.ts";
import { type GeneratedFile, YAML_HEADER } from "./file.ts";

/** File name in crds/ and the definition it holds. */
const CRDS: Readonly<Record<string, () => JsonObject>> = {
  observation: observationCrd,
  observationexception: () => crdFor(OBSERVATION_EXCEPTION_CRD),
};

export function generateCrds(): GeneratedFile[] {
  return Object.entries(CRDS).map(([name, crd]) => ({
    path: `crds/${name}.yaml`,
    text: YAML_HEADER + stringify(crd(), { lineWidth: 0, aliasDuplicateObjects: false }),
  }));
}
