import { assertEquals, assertStringIncludes } from "@std/assert";
import { formatPath } from "../text/problem.ts";
import type { JsonObject } from "../model/json.ts";
import { readException } from "./document.ts";

const NOW = Date.parse("2026-11-01T00:00:00Z");

function read(change: JsonObject = {}, metadata: Record<string, string> = {}) {
  const spec = {
    match: { rules: ["CVE-2024-3094"] },
    reason: "accepted_risk",
    justification: "not loaded",
    expiresAt: "2027-01-31T00:00:00Z",
    ...change,
  };
  return readException({ metadata: { name: "held", namespace: "shop", ...metadata }, spec }, {
    maxDays: 365,
    now: NOW,
  });
}

/** `Invalid spec.match: …; …`. */
function problemsOf(change: JsonObject, metadata: Record<string, string> = {}): string {
  const result = read(change, metadata);
  if (result.ok) return "";
  return `${result.reason} ${
    result.problems.map(({ path, message }) => `${formatPath(path)}: ${message}`).join("; ")
  }`;
}

Deno.test("readException() reads every field", () => {
  const result = read({
    match: {
      sources: ["trivy"],
      rules: ["CVE-2024-3094"],
      workloads: ["web"],
      resources: [{ kind: "Deployment", name: "web" }],
      severities: ["CRITICAL"],
    },
    ticket: "T-1",
    acceptedBy: "anna",
    onlyWhileNoFix: true,
  });
  assertEquals(result, {
    ok: true,
    value: {
      namespace: "shop",
      name: "held",
      expiresAt: Date.parse("2027-01-31T00:00:00Z"),
      text: "shop/held 2027-01-31T00:00:00.000Z",
      sources: ["trivy"],
      rules: ["CVE-2024-3094"],
      workloads: ["web"],
      resources: ["Deployment/web"],
      severities: ["CRITICAL"],
      onlyWhileNoFix: true,
      reason: "accepted_risk",
      justification: "not loaded",
      ticket: "T-1",
    },
  });
});

Deno.test("readException() names every mistake with its path, all at once", () => {
  const all = problemsOf({
    match: { rule: ["x"], severities: ["high"], workloads: [] },
    reason: "because",
    justification: "",
    expiresAt: "next year",
    expires: "2027",
  });
  for (
    const said of [
      'spec.match.rule: unknown key; did you mean "rules"?',
      'spec.match.severities[0]: expected one of CRITICAL|HIGH|MEDIUM|LOW|UNKNOWN, received "high"',
      "spec.match.workloads: expected at least one value",
      "spec.reason: expected one of not_affected|accepted_risk|false_positive|mitigated|fix_planned",
      "spec.justification: expected a sentence that says why",
      "spec.expiresAt: expected an RFC 3339 time",
      "spec.expires: unknown key",
      "spec.match: expected rules, resources, or both",
    ]
  ) assertStringIncludes(all, said);
  assertStringIncludes(
    problemsOf({ match: { resources: [{ kind: "Pod", nmae: "x", name: "y" }] } }),
    'spec.match.resources[0].nmae: unknown key; did you mean "name"?',
  );
  for (const match of [{}, { sources: ["trivy"] }, { severities: ["LOW"], workloads: ["web"] }]) {
    assertStringIncludes(problemsOf({ match }), "expected rules, resources, or both");
  }
  assertEquals(readException({ metadata: {} }, { maxDays: 1, now: NOW }).ok, false);
  assertStringIncludes(problemsOf({ match: { rules: Array(1_001).fill("x") } }), "at most 1000 values");
});

Deno.test("readException() bounds expiresAt by the creation, not by the time of the read", () => {
  assertEquals(problemsOf({ expiresAt: "2027-11-01T00:00:00Z" }), "");
  assertStringIncludes(
    problemsOf({ expiresAt: "2027-11-01T00:00:01Z" }),
    "TooLong spec.expiresAt: expected a time at most 365 days (EXCEPTION_MAX_DAYS) after its creation, by 2027-11-01T00:00",
  );
  const created = { creationTimestamp: "2026-01-01T00:00:00Z" };
  assertEquals(problemsOf({ expiresAt: "2027-01-01T00:00:00Z" }, created), "");
  assertStringIncludes(problemsOf({ expiresAt: "2027-01-02T00:00:00Z" }, created), "TooLong");
});
