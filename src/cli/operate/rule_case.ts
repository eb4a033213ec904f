/** A case of `zen-watcher test`: an input, a source, filters, and what is expected of each event. */
import * as z from "zod";
import { type FilterResult, readFilterDocuments } from "../../filters/document.ts";
import { toIssues } from "../../text/schema_issues.ts";
import type { Issue } from "../../text/problem.ts";
import { isObject, type Json } from "../../model/json.ts";
import { parseTime } from "../../model/time.ts";
import type { FilterDocument } from "../../filters/filter.ts";

/** The receive time of a payload whose case has no `receivedAt`. */
const DEFAULT_RECEIVED_AT = "2026-01-01T00:00:00Z";

const json = z.custom<Json>((value) => value !== undefined, "expected a value");
const time = z.string().refine((text) => parseTime(text) !== undefined, "expected an RFC 3339 time");
const path = z.string().min(1, "expected a path, seen from this file");
const stepShape = { input: json.optional(), inputFile: path.optional(), receivedAt: time.optional() };

const caseSchema = z.strictObject({
  name: z.string().optional(),
  source: z.string().min(1, "expected a source's name"),
  ingesterFile: path.optional(),
  ...stepShape,
  inputs: z.array(z.strictObject(stepShape)).min(1, "expected at least one value").optional(),
  filters: json.optional(),
  filtersFile: path.optional(),
  expected: z.array(z.looseObject({})),
  errors: z.array(z.looseObject({})).optional(),
});
const KEYS = Object.keys(caseSchema.shape);

/** One payload and when it is received. */
interface Step {
  readonly input?: Json | undefined;
  readonly inputFile?: string | undefined;
  readonly receivedAt: number;
  /** The path to the payload in the case file. */
  readonly path: Issue["path"];
}

/** A case, parsed and validated. */
export interface RuleCase {
  readonly name: string | undefined;
  readonly source: string;
  readonly ingesterFile: string | undefined;
  readonly inputs: readonly Step[];
  readonly filters: readonly FilterDocument[];
  readonly filtersFile: string | undefined;
  /** For each event, in order, the fields that it must have. */
  readonly expected: readonly object[];
  readonly errors: readonly object[];
}

/** True if a document looks like a case, valid or not. */
export function isCase(value: unknown): boolean {
  if (!isObject(value) || value.kind !== undefined) return false;
  const hasInput = ["input", "inputFile", "inputs"].some((key) => value[key] !== undefined);
  return value.expected !== undefined || (value.source !== undefined && hasInput);
}

/** Reads a case. */
export function readCase(value: unknown): FilterResult<RuleCase> {
  const parsed = caseSchema.safeParse(value);
  if (!parsed.success) return { ok: false, problems: toIssues(parsed.error, value, KEYS) };
  const { input, inputFile, receivedAt, inputs, filters, ...rest } = parsed.data;
  const issues = inputIssues(parsed.data);
  const read: FilterResult<readonly FilterDocument[]> = filters === undefined
    ? { ok: true, value: [] }
    : readFilterDocuments(filters, "filters");
  if (!read.ok) {
    issues.push(...read.problems.map((issue) => ({ ...issue, path: ["filters", ...issue.path] })));
  }
  if (!read.ok || issues.length > 0) return { ok: false, problems: issues };
  const steps = (inputs ?? [{ input, inputFile, receivedAt }]).map((step, index) => ({
    ...step,
    path: inputs ? ["inputs", index] : [],
    receivedAt: Date.parse(step.receivedAt ?? receivedAt ?? DEFAULT_RECEIVED_AT),
  }));
  return {
    ok: true,
    value: {
      name: rest.name,
      source: rest.source,
      ingesterFile: rest.ingesterFile,
      filtersFile: rest.filtersFile,
      inputs: steps,
      filters: read.value,
      expected: rest.expected,
      errors: rest.errors ?? [],
    },
  };
}

function inputIssues({ input, inputFile, inputs }: z.output<typeof caseSchema>): Issue[] {
  const issues: Issue[] = [];
  const given = [input, inputFile, inputs].filter((one) => one !== undefined).length;
  if (given !== 1) {
    issues.push({ path: [], message: `expected one of input|inputFile|inputs, received ${given}` });
  }
  for (const [index, step] of (inputs ?? []).entries()) {
    const both = [step.input, step.inputFile].filter((one) => one !== undefined).length;
    if (both !== 1) {
      issues.push({ path: ["inputs", index], message: `expected one of input|inputFile, received ${both}` });
    }
  }
  return issues;
}
