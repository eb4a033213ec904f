/** How the checks of a report ended: those that passed too, which sources do not draw. */
import type { KubeObject } from "../kube/api.ts";
import { at, firstText, isObject, type Json, type JsonObject, list, number, textAt } from "../model/json.ts";
import { storedResults } from "../sources/config_maps.ts";

/** How many checks ended how. Vulnerabilities and secrets are no checks. */
export interface Checks {
  pass: number;
  fail: number;
  warn: number;
  error: number;
  skip: number;
}

/** How a check ended. */
export type CheckVerdict = keyof Checks;

/** A check of a report, or as many that the report counts and does not list. */
export interface ReportCheck {
  /** The benchmark or framework that it is of. */
  readonly benchmark?: string;
  /** The policy or check; absent where the report does not list it. */
  readonly name?: string;
  readonly verdict: CheckVerdict;
  /** By default 1. */
  readonly count?: number;
}

/** None yet. */
export function noChecks(): Checks {
  return { pass: 0, fail: 0, warn: 0, error: 0, skip: 0 };
}

/** Results of a policy report, checks of a Trivy report, results of benchmarks in a ConfigMap. */
export function* checksOf(object: KubeObject): Generator<ReportCheck> {
  const { report, results, data, binaryData } = object;
  for (const result of list(results)) {
    // v1alpha1 calls it `status`.
    const verdict = (textAt(result, "result") || textAt(result, "status")).toLowerCase();
    const name = textAt(result, "policy");
    if (name !== "" && isVerdict(verdict)) yield { name, verdict };
  }
  for (const check of list(isObject(report) ? report["checks"] : undefined)) {
    const name = textAt(check, "checkID");
    if (name !== "") yield { name, verdict: textAt(check, "success") === "true" ? "pass" : "fail" };
  }
  if (data === undefined && binaryData === undefined) return;
  const benchmarks = storedResults(object as unknown as Json);
  if (benchmarks !== undefined) yield* checksIn(benchmarks, 0);
}

function isVerdict(value: string): value is CheckVerdict {
  return Object.hasOwn(noChecks(), value);
}

/** Deepest nesting of arrays and wrappers that tools write. */
const MAX_DEPTH = 6;

/** Every check of the results of kube-bench or Checkov. */
function* checksIn(document: Json, depth: number): Generator<ReportCheck> {
  if (depth > MAX_DEPTH) return;
  if (Array.isArray(document)) {
    for (const item of document) yield* checksIn(item, depth + 1);
  } else if (isObject(document)) {
    if (at(document, "tests") !== undefined) yield* ofControl(document);
    else if (isObject(at(document, "results"))) yield* ofRun(document);
    else {
      // kube-bench's `Controls`, and the `report.sections` of Starboard.
      for (const inner of [at(document, "Controls"), at(document, "report", "sections")]) {
        if (Array.isArray(inner)) yield* checksIn(inner, depth + 1);
      }
    }
  }
}

/** kube-bench marks what is skipped as INFO, and what a person must check as WARN. */
const KUBE_BENCH: Readonly<Record<string, CheckVerdict>> = {
  PASS: "pass",
  FAIL: "fail",
  WARN: "warn",
  INFO: "skip",
};

function* ofControl(control: JsonObject): Generator<ReportCheck> {
  const benchmark = textAt(control, "version") || "kube-bench";
  for (const test of list(at(control, "tests"))) {
    for (const result of list(at(test, "results"))) {
      const verdict = KUBE_BENCH[textAt(result, "status").trim().toUpperCase()];
      const id = firstText(textAt(result, "test_number"), textAt(result, "test_desc"));
      if (verdict !== undefined && id !== "") yield { benchmark, name: `${benchmark} ${id}`, verdict };
    }
  }
}

/** Checkov's lists, and the count of its summary for each of them. */
const CHECKOV: readonly (readonly [list: string, count: string, verdict: CheckVerdict])[] = [
  ["passed_checks", "passed", "pass"],
  ["failed_checks", "failed", "fail"],
  ["skipped_checks", "skipped", "skip"],
  ["parsing_errors", "parsing_errors", "error"],
];

/** One framework's run. With --quiet it lists what failed alone, and counts the rest. */
function* ofRun(run: JsonObject): Generator<ReportCheck> {
  const benchmark = ["checkov", textAt(run, "check_type")].filter(Boolean).join(" ");
  for (const [key, countKey, verdict] of CHECKOV) {
    const checks = list(at(run, "results", key));
    for (const check of checks) {
      const name = firstText(textAt(check, "check_id"), textAt(check, "check_name"));
      yield { benchmark, ...(name !== "" && { name }), verdict };
    }
    const unlisted = (number(at(run, "summary", countKey)) ?? 0) - checks.length;
    if (unlisted > 0) yield { benchmark, verdict, count: unlisted };
  }
}
