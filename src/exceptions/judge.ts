/** Which exception covers a finding: found by the finding's rule and resource, not by asking each exception. Pure. */
import { type AcceptableFinding, policyOf } from "../model/acceptance.ts";
import type { ExceptionDocument } from "./document.ts";

/** Exceptions of one namespace and one rule ("": of any rule). Each list has the one first that ends last. */
interface Bucket {
  readonly byResource: Map<string, ExceptionDocument[]>;
  readonly byWorkload: Map<string, ExceptionDocument[]>;
  readonly others: ExceptionDocument[];
}

/** Entries that one exception may have in the index: with more combinations of rule and resource it is found by rule alone. */
const MAX_ENTRIES = 1_000;
const ANY_RULE = "";

/** The exceptions that are in force. */
export class ExceptionIndex {
  /** By namespace, then by rule. */
  readonly #places = new Map<string, Map<string, Bucket>>();

  add(exception: ExceptionDocument): void {
    for (const list of this.#listsOf(exception)) {
      const at = list.findIndex((other) => goesBefore(exception, other));
      list.splice(at < 0 ? list.length : at, 0, exception);
    }
  }

  remove(exception: ExceptionDocument): void {
    for (const list of this.#listsOf(exception)) {
      const at = list.indexOf(exception);
      if (at >= 0) list.splice(at, 1);
    }
    this.#prune(exception);
  }

  clear(): void {
    this.#places.clear();
  }

  /** The exception of `namespace` that covers the finding: of several the one that ends last, then the first by name. */
  judge(finding: AcceptableFinding, namespace: string): ExceptionDocument | undefined {
    const place = this.#places.get(namespace);
    if (!place) return undefined;
    let found: ExceptionDocument | undefined;
    const policy = policyOf(finding.rule);
    const rules = finding.rule === ""
      ? [ANY_RULE]
      : policy === finding.rule
      ? [finding.rule, ANY_RULE]
      : [finding.rule, policy, ANY_RULE];
    for (const rule of rules) {
      const bucket = place.get(rule);
      if (!bucket) continue;
      for (
        const list of [
          bucket.byResource.get(finding.resource),
          bucket.byWorkload.get(finding.workload),
          bucket.others,
        ]
      ) {
        const first = list?.find((exception) => matches(exception, finding));
        if (first && (!found || goesBefore(first, found))) found = first;
      }
    }
    return found;
  }

  /** The lists that hold an exception; they are made where they are missing. */
  *#listsOf(exception: ExceptionDocument): Generator<ExceptionDocument[]> {
    const { namespace, rules = [ANY_RULE] } = exception;
    let place = this.#places.get(namespace);
    if (!place) this.#places.set(namespace, place = new Map());
    for (const rule of new Set(rules)) {
      let bucket = place.get(rule);
      if (!bucket) {
        place.set(rule, bucket = { byResource: new Map(), byWorkload: new Map(), others: [] });
      }
      yield* listsIn(bucket, exception);
    }
  }

  #prune({ namespace, rules = [ANY_RULE] }: ExceptionDocument): void {
    const place = this.#places.get(namespace);
    if (!place) return;
    for (const rule of rules) {
      const bucket = place.get(rule);
      if (!bucket) continue;
      for (const map of [bucket.byResource, bucket.byWorkload]) {
        for (const [key, list] of map) if (list.length === 0) map.delete(key);
      }
      if (bucket.byResource.size + bucket.byWorkload.size + bucket.others.length === 0) place.delete(rule);
    }
    if (place.size === 0) this.#places.delete(namespace);
  }
}

/** How many entries an exception has in the index. */
export function entriesOf({ rules = [ANY_RULE], resources, workloads }: ExceptionDocument): number {
  const combinations = rules.length * (resources ?? workloads ?? [""]).length;
  return combinations <= MAX_ENTRIES ? combinations : rules.length;
}

function* listsIn(bucket: Bucket, exception: ExceptionDocument): Generator<ExceptionDocument[]> {
  const { rules = [ANY_RULE], resources, workloads } = exception;
  const keys = resources ?? workloads ?? [];
  // Without a rule it has resources, and is found by them however many they are.
  const isByKey = keys.length > 0 &&
    (exception.rules === undefined || rules.length * keys.length <= MAX_ENTRIES);
  if (!isByKey) return void (yield bucket.others);
  const map = resources ? bucket.byResource : bucket.byWorkload;
  for (const key of new Set(keys)) {
    let list = map.get(key);
    if (!list) map.set(key, list = []);
    yield list;
  }
}

function matches(exception: ExceptionDocument, finding: AcceptableFinding): boolean {
  const { sources, rules, workloads, resources, severities, onlyWhileNoFix } = exception;
  return (!onlyWhileNoFix || !finding.isFixKnown) &&
    (severities?.includes(finding.severity) ?? true) &&
    (sources?.includes(finding.source) ?? true) &&
    (workloads?.includes(finding.workload) ?? true) &&
    (resources?.includes(finding.resource) ?? true) &&
    (rules === undefined || rules.includes(finding.rule) || rules.includes(policyOf(finding.rule)));
}

/** Of two that cover a finding the one that ends later counts, then the first by name. */
function goesBefore(one: ExceptionDocument, other: ExceptionDocument): boolean {
  return one.expiresAt !== other.expiresAt ? one.expiresAt > other.expiresAt : one.name < other.name;
}
