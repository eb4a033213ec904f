/** Texts about a reported resource, told of the one that lives on: a Deployment in place of its ReplicaSet. */
import type { JsonObject } from "../model/json.ts";
import { LIMITS, type Resource } from "../model/observation.ts";

/** A reported resource and the one that lives on, which is stored in its place. */
export interface Succession {
  readonly from: Resource;
  readonly to: Resource;
}

/** `details.reportedOwner`: the resource that the tool named, where another one is stored in its place. */
export function reportedOwner({ from, to }: Succession): JsonObject | undefined {
  return from === to ? undefined : { kind: from.kind ?? "", name: from.name ?? "" };
}

/** A tool's words as they identify a finding: the name that lives on in place of the generated one. Part of identity version 1. */
export function lastingWords(text: string, { from, to }: Succession): string {
  return from === to || !from.name ? text : text.replaceAll(from.name, () => to.name ?? "");
}

/**
 * A tool's words as people read them: of the resource that lives on, in whatever form they name the reported one
 * (`ReplicaSet 'x'`, `replicaset "x"`, `replicasets/x`). Whole where they name it in a form that is not known: no half of
 * a sentence speaks of another object.
 */
export function toldOf(text: string, { from, to }: Succession): string {
  const { kind = "", name = "" } = from;
  if (from === to || name === "" || name.length > LIMITS.name || !text.includes(name)) return text;
  const told = text.replace(kindAndName(kind, name), (_, word: string, plural: string, between: string) => {
    return `${inCaseOf(word, to.kind ?? "")}${plural}${between}${to.name}`;
  });
  if (!told.includes(name)) return told;
  return namesKind(told, kind) ? text : told.replaceAll(name, () => to.name ?? "");
}

function namesKind(text: string, kind: string): boolean {
  return new RegExp(`(?<![a-zA-Z])${escaped(kind)}`, "i").test(text);
}

function escaped(word: string): string {
  return word.replace(/[^a-zA-Z0-9-]/g, "\\$&");
}

/** A kind, in any case and number, then a name, at most a few signs, a group or a namespace between them. */
function kindAndName(kind: string, name: string): RegExp {
  const between = "(?:\\.apps|\\.batch)?[^a-zA-Z0-9]{1,4}(?:[a-z0-9-]{1,63}/)?";
  const end = "(?![a-zA-Z0-9]|-[a-zA-Z0-9])";
  return new RegExp(`(?<![a-zA-Z0-9])(${escaped(kind)})(s?)(${between})${escaped(name)}${end}`, "gi");
}

/** `deployment` where the tool writes `replicaset`, `DEPLOYMENT` where it writes `REPLICASET`. */
function inCaseOf(word: string, kind: string): string {
  if (word === word.toLowerCase()) return kind.toLowerCase();
  return word === word.toUpperCase() ? kind.toUpperCase() : kind;
}
