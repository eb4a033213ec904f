/** Decides which Ingesters and ObservationMappings are active. Pure: objects in, sources and verdicts out. */
import { formatPath } from "../text/problem.ts";
import type { KubeObject } from "../kube/api.ts";
import {
  refuseConfigMaps,
  refuseNamespace,
  refusePath,
  refuseSource,
  refuseTarget,
  type TrustContext,
  type TrustRefusal,
} from "./trust.ts";
import { runSteps } from "../model/turns.ts";
import type { Source } from "../sources/source.ts";
import { activate, type ActivateContext, type Good } from "./activate.ts";
import { type CompiledIngester, compileMapped, type CompileResult } from "./compile.ts";
import { disabled, idOf, type Verdict } from "./verdict.ts";

/** The input of a plan besides the objects. */
export interface PlanContext extends ActivateContext {
  readonly trust: TrustContext;
  /** The last valid version of each object, by id. It stays active while a newer version is refused. */
  readonly lastGood: ReadonlyMap<string, Good>;
  /** The objects that the last plan compiled: an unchanged object is not compiled again. */
  readonly lastRead?: ReadonlyMap<string, ReadObject>;
}

/** An object's version, compiled. */
export interface ReadObject {
  readonly uid: string;
  readonly generation: number;
  readonly result: CompileResult;
}

/** Most Ingesters and ObservationMappings; the oldest are active. */
export const MAX_MAPPED = 500;
/** Longest spec of one, as JSON. */
const MAX_SPEC_LENGTH = 262_144;

/** The active sources, and a verdict on each object. */
export interface Plan {
  /** By id, a source with the one feed that the object declares; a door has the name of the built-in source that it adds a feed to. */
  readonly active: ReadonlyMap<string, Source>;
  /** By id; every object has one. */
  readonly verdicts: ReadonlyMap<string, Verdict>;
  readonly good: ReadonlyMap<string, Good>;
  readonly read: ReadonlyMap<string, ReadObject>;
}

/** Decides on all objects at once, the oldest first: if several claim one source or path, the oldest gets it. */
export function makePlan(objects: readonly KubeObject[], context: PlanContext): Plan {
  return runSteps(planSteps(objects, context));
}

/** The same, an object at each step: to compile one takes some milliseconds. */
export function* planSteps(
  objects: readonly KubeObject[],
  context: PlanContext,
): Generator<undefined, Plan, undefined> {
  const claims = new Map<string, string>();
  const active = new Map<string, Source>();
  const verdicts = new Map<string, Verdict>();
  const good = new Map<string, Good>();
  const read = new Map<string, ReadObject>();
  let count = 0;
  for (const object of [...objects].sort(byAge)) {
    yield;
    const id = idOf(object);
    // Objects of namespaces that are not trusted do not count towards the limit.
    const foreign = refuseNamespace(object.metadata.namespace ?? "", context.trust);
    if (foreign || ++count > MAX_MAPPED) {
      verdicts.set(id, foreign ? verdictOf([foreign]) : LIMIT_EXCEEDED);
      continue;
    }
    const compiled = readObject(object, context.lastRead?.get(id));
    read.set(id, compiled);
    const decision = decide(object, { compiled: compiled.result, context, claims });
    const inForce = decision.inForce;
    if (inForce) {
      good.set(id, inForce);
      for (const claim of claimsOf(inForce.compiled)) claims.set(claim, id);
    }
    const activated = inForce && activate(object, { context, good: inForce });
    if (activated?.source) active.set(id, activated.source);
    verdicts.set(id, decision.refused ?? activated?.verdict ?? disabled());
  }
  return { active, verdicts, good, read };
}

const LIMIT_EXCEEDED: Verdict = {
  ready: false,
  reason: "LimitExceeded",
  message: `there are ${MAX_MAPPED} older Ingesters and ObservationMappings`,
};

function readObject(object: KubeObject, last: ReadObject | undefined): ReadObject {
  const { uid = "", generation = 0 } = object.metadata;
  if (last?.uid === uid && last.generation === generation && generation > 0) return last;
  return { uid, generation, result: compileBounded(object) };
}

function compileBounded(object: KubeObject): CompileResult {
  const { length } = JSON.stringify(object.spec ?? null);
  if (length <= MAX_SPEC_LENGTH) return compileMapped(object);
  const message = `expected at most ${MAX_SPEC_LENGTH} characters of JSON, received ${length}`;
  return { ok: false, problems: [{ path: ["spec"], message }] };
}

interface Deciding {
  readonly compiled: CompileResult;
  readonly context: PlanContext;
  readonly claims: ReadonlyMap<string, string>;
}

interface Decision {
  readonly inForce?: Good;
  readonly refused?: Verdict;
}

/** The object's current version if it is good, else its last good one and why the current one is refused. */
function decide(object: KubeObject, { compiled, context, claims }: Deciding): Decision {
  const id = idOf(object);
  const { uid = "", generation = 0 } = object.metadata;
  const problem = problemOf(object, { compiled, context, claims });
  if (!problem && compiled.ok) {
    return compiled.value.enabled
      ? { inForce: { uid, generation, compiled: compiled.value } }
      : { refused: disabled() };
  }
  const refused = problem ?? disabled();
  const last = context.lastGood.get(id);
  if (last === undefined || last.uid !== uid || takenBy(last.compiled, claims)) return { refused };
  const stays = `; generation ${last.generation} stays in force`;
  return { inForce: last, refused: { ...refused, message: refused.message + stays } };
}

function problemOf(
  object: KubeObject,
  { compiled, context, claims }: Deciding,
): Verdict | undefined {
  if (!compiled.ok) return verdictOf(compiled.problems.map((issue) => ({ reason: "Invalid", ...issue })));
  const refusals = refusalsOf(object, { ingester: compiled.value, context });
  if (refusals.length > 0) return verdictOf(refusals);
  if (!compiled.value.enabled) return undefined;
  const taken = takenBy(compiled.value, claims);
  if (taken === undefined) return undefined;
  const [what = "", name = ""] = taken.claim.split(" ");
  return {
    ready: false,
    reason: what === "path" ? "PathTaken" : "SourceTaken",
    message: `the ${what} "${name}" belongs to the older ${taken.by}`,
  };
}

/** Why an Ingester is refused: it reads what it must not, or sets a field that only the built-in source sets. */
export function refusalsOf(
  object: KubeObject,
  { ingester, context }: {
    readonly ingester: CompiledIngester;
    readonly context: Pick<PlanContext, "builtins" | "trust">;
  },
): readonly { readonly reason: string; readonly path: TrustRefusal["path"]; readonly message: string }[] {
  const { input, source, mapping, kind, windowSeconds, rateLimit } = ingester;
  const isMapping = object.kind === "ObservationMapping";
  const refusals: ({ reason: string; path: TrustRefusal["path"]; message: string } | undefined)[] = [];
  const sourcePath = ["spec", isMapping ? "sourceName" : "source"];
  if (mapping) refusals.push(refuseSource(source, { path: sourcePath, trust: context.trust }));
  else {
    const builtin = context.builtins.get(source);
    if (!builtin) {
      const known = [...context.builtins.keys()].join("|");
      const message = `expected a mapping, since "${source}" is no built-in source (${known})`;
      refusals.push({ reason: "Invalid", path: ["spec", "mapping"], message });
    } else if (kind !== undefined && kind !== builtin.kind) {
      const message = `expected ${builtin.kind}, which ${source} is, or nothing`;
      refusals.push({ reason: "Invalid", path: ["spec", "kind"], message });
    } else if (windowSeconds !== undefined && (builtin.kind === "finding" || builtin.ownWindows)) {
      refusals.push({
        reason: "Invalid",
        path: ["spec", "window"],
        message: `expected nothing: ${source} has no window`,
      });
    }
  }
  if (!mapping && rateLimit) {
    const message = `expected nothing: an Ingester that feeds the built-in source ${source} shares its rate`;
    refusals.push({ reason: "Invalid", path: ["spec", "rateLimit"], message });
  }
  if (input.type === "informer") {
    const { group, resource, kind: byKind } = input;
    const path = ["spec", ...(isMapping ? ["kind"] : ["informer", "resource"])];
    refusals.push(refuseTarget({ group, resource: resource ?? `${byKind ?? ""}s` }, path));
  } else if (input.type === "configmap") {
    const ingesterNamespace = object.metadata.namespace ?? "";
    refusals.push(refuseConfigMaps(input.namespace, { ingesterNamespace, trust: context.trust }));
  } else refusals.push(refusePath(input.path));
  return refusals.filter((refusal) => refusal !== undefined);
}

/** The source and path that only one object may have. A door adds to a source and claims no name. */
function claimsOf({ source, mapping, input }: CompiledIngester): string[] {
  return [
    ...(mapping ? [`source ${source}`] : []),
    ...(input.type === "webhook" ? [`path ${input.path}`] : []),
  ];
}

function takenBy(
  ingester: CompiledIngester,
  claims: ReadonlyMap<string, string>,
): { claim: string; by: string } | undefined {
  for (const claim of claimsOf(ingester)) {
    const by = claims.get(claim);
    if (by !== undefined) return { claim, by };
  }
  return undefined;
}

const MAX_TOLD = 5;

function verdictOf(
  problems: readonly {
    readonly reason: string;
    readonly path: TrustRefusal["path"];
    readonly message: string;
  }[],
): Verdict {
  const told = problems.slice(0, MAX_TOLD).map(({ path, message }) => `at ${formatPath(path)}: ${message}`);
  const more = problems.length > MAX_TOLD ? `; and ${problems.length - MAX_TOLD} more` : "";
  return { ready: false, reason: problems[0]?.reason ?? "Invalid", message: told.join("; ") + more };
}

function byAge(a: KubeObject, b: KubeObject): number {
  const [first, second] = [a, b].map((object) =>
    `${object.metadata.creationTimestamp ?? ""} ${idOf(object)}`
  );
  return first === second ? 0 : (first ?? "") < (second ?? "") ? -1 : 1;
}
