/** The manifests of `examples/`, as the program would run them. */
import { parseAllDocuments } from "yaml";
import { isObject } from "../../src/model/json.ts";
import type { KubeObject, ResourceType } from "../../src/kube/api.ts";
import { makePlan, type Plan, type PlanContext } from "../../src/mapped/plan.ts";
import { BUILT_IN } from "../../src/sources/registry.ts";
import type { Source } from "../../src/sources/source.ts";

const EXAMPLES = new URL("../../examples/", import.meta.url);

/** What every plan of a test is made with: a controller in `zen-system` whose API server serves every resource. */
export function planContext(overrides: Partial<PlanContext> = {}): PlanContext {
  return {
    builtins: BUILT_IN,
    trust: {
      ownNamespace: "zen-system",
      trustedNamespaces: [],
      configMapNamespaces: ["kube-bench", "checkov"],
      reportEngines: ["kubearmor", "policy-report"],
    },
    served: ({ group, version, resource, kind }) => {
      const plural = resource ?? `${kind?.toLowerCase()}s`;
      const type: ResourceType = { group, version, plural, kind: kind ?? plural, namespaced: true };
      return { state: "served", resources: [type] };
    },
    secret: () => ({ token: "token-of-a-test" }),
    lastGood: new Map(),
    ...overrides,
  };
}

/** The objects of one manifest, or of all of them. */
export async function loadExamples(file?: string): Promise<KubeObject[]> {
  const objects: KubeObject[] = [];
  for await (const { name } of Deno.readDir(EXAMPLES)) {
    if (!name.endsWith(".yaml") || (file !== undefined && name !== file)) continue;
    const text = await Deno.readTextFile(new URL(name, EXAMPLES));
    objects.push(...parseAllDocuments(text).map((document) => toObject(document.toJS(), name)));
  }
  return objects;
}

function toObject(value: unknown, file: string): KubeObject {
  if (!isObject(value) || !isObject(value.metadata)) {
    throw new Error(`Cannot load "${file}": it holds no object`);
  }
  const { name, namespace } = value.metadata;
  return {
    ...value,
    metadata: { name: String(name), namespace: String(namespace), uid: `uid-${name}`, generation: 1 },
  };
}

/** The sources that these objects come to; throws with the verdict of the first that is not in force. */
export function inForce(objects: readonly KubeObject[], context = planContext()): Plan {
  const plan = makePlan(objects, context);
  for (const [id, { ready, reason, message }] of plan.verdicts) {
    if (!ready) throw new Error(`${id} is not in force: ${reason}: ${message}`);
  }
  return plan;
}

/** The one source of a manifest. */
export async function exampleSource(file: string): Promise<Source> {
  const [source] = inForce(await loadExamples(file)).active.values();
  if (!source) throw new Error(`Cannot load "${file}": it holds no source`);
  return source;
}
