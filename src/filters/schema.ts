/** The schema of a filter block: its keys and their values. */
import * as z from "zod";
import { CATEGORIES, SEVERITIES } from "../model/observation.ts";
import { MAX_EXPRESSION_LENGTH } from "./expression.ts";

/** Most values in one list. */
export const MAX_LIST_VALUES = 1000;
/** Longest value in a list. */
export const MAX_VALUE_LENGTH = 256;

/** Longest word of a closed list, for the API server's estimate of what a check costs. */
const MAX_WORD_LENGTH = 32;

const MODES = ["Enforce", "Shadow"] as const;

/** A CEL rule that the API server checks when an object is applied, for texts of a limited length. */
function checkedInCrd({ rule, message, maxLength }: {
  readonly rule: string;
  readonly message: string;
  readonly maxLength: number;
}) {
  return { maxLength, "x-kubernetes-validations": [{ rule, message }] };
}

/** One of `values`, in any case; the result is the entry of `values`. */
function anyCase<const T extends readonly [string, ...string[]]>(values: T) {
  const canonical = new Map(values.map((value) => [value.toLowerCase(), value]));
  const message = `expected one of ${values.join("|")}`;
  const listed = values.map((value) => `'${value.toLowerCase()}'`).join(", ");
  return z.string({ error: message })
    .transform((text) => canonical.get(text.toLowerCase()) ?? text)
    .pipe(z.enum(values))
    .meta(checkedInCrd({ rule: `self.lowerAscii() in [${listed}]`, message, maxLength: MAX_WORD_LENGTH }));
}

/** Text of a form, lower-cased first; `form` says in words what is expected. */
function word(pattern: RegExp, form: string) {
  return z.string()
    .max(MAX_VALUE_LENGTH, `expected at most ${MAX_VALUE_LENGTH} characters`)
    .refine((text) => pattern.test(text.toLowerCase()), { error: `expected ${form}` })
    .transform((text) => text.toLowerCase())
    .meta(checkedInCrd({ ...matching(pattern, form), maxLength: MAX_VALUE_LENGTH }));
}

function matching(pattern: RegExp, form: string) {
  return { rule: `self.lowerAscii().matches(r'${pattern.source}')`, message: `expected ${form}` };
}

function list<T extends z.ZodType>(element: T) {
  return z.array(element)
    .min(1, "expected at least one value (an absent key is no opinion)")
    .max(MAX_LIST_VALUES, `expected at most ${MAX_LIST_VALUES} values`);
}

const severity = anyCase(SEVERITIES);
const category = anyCase(CATEGORIES);
const eventType = word(/^[a-z0-9]+([-_][a-z0-9]+)*$/, "an event type such as vulnerability or pod-exec");
const namespace = word(/^[a-z0-9*]([a-z0-9*-]*[a-z0-9*])?$/, "a namespace, * for any run of characters");
const kind = word(/^[a-z][a-z0-9]*$/, "a kind such as Pod (only namespaces take *)");
const rule = word(
  /^[^*\s]([^*]*[^*\s])?$/,
  "a rule's id without spaces around it (only namespaces take *; use expression for patterns)",
);

/** Every key of a filter block. Descriptions go to the CRD and the reference. */
export const filterBlockShape = {
  enabled: z.boolean().describe("false drops every event of the source").optional(),
  minSeverity: severity.describe("Drops what ranks below: CRITICAL > HIGH > MEDIUM > LOW > UNKNOWN")
    .optional(),
  includeSeverity: list(severity).describe("Keeps these severities alone").optional(),
  excludeSeverity: list(severity).describe("Drops these severities").optional(),
  includeEventTypes: list(eventType).describe("Keeps these event types alone").optional(),
  excludeEventTypes: list(eventType).describe("Drops these event types").optional(),
  includeNamespaces: list(namespace).describe(
    "Keeps events whose resource is in these namespaces alone; * stands for any run of characters",
  ).optional(),
  excludeNamespaces: list(namespace).describe(
    "Drops events whose resource is in these namespaces; * stands for any run of characters",
  ).optional(),
  includeKinds: list(kind).describe("Keeps events on these kinds of resource alone").optional(),
  excludeKinds: list(kind).describe("Drops events on these kinds of resource").optional(),
  ignoreKinds: list(kind).describe("The same as excludeKinds; both lists count if both are given").optional(),
  includeCategories: list(category).describe("Keeps these categories alone").optional(),
  excludeCategories: list(category).describe("Drops these categories").optional(),
  includeRules: list(rule).describe(
    "Keeps these rules alone, by the source's own id: CVE, checkID, policy or policy/rule, Falco rule, test number, check_id",
  ).optional(),
  excludeRules: list(rule).describe("Drops these rules, by the source's own id").optional(),
  expression: z.string()
    .min(1, "expected a CEL expression (an absent key is no opinion)")
    .max(MAX_EXPRESSION_LENGTH, `expected at most ${MAX_EXPRESSION_LENGTH} characters`)
    .describe(
      "CEL over source, category, severity, eventType, rule, resource, details: true keeps, false drops, an error keeps and is counted",
    ).optional(),
  mode: anyCase(MODES).describe("Enforce (default), or Shadow: counts what it would drop and drops nothing")
    .optional(),
};

/** A filter block as it is written. */
export const filterBlockSchema = z.strictObject(filterBlockShape);

const TARGET_SOURCE = /^([*]|[a-z0-9]([a-z0-9-]*[a-z0-9])?)$/;
const TARGET_FORM = "a source's name such as trivy, or *";

/** The rule for `targetSource` that the API server checks. */
export const targetSourceRule = checkedInCrd({ ...matching(TARGET_SOURCE, TARGET_FORM), maxLength: 63 });

/** A source's name as a filter's target: lower-cased, or `*`. */
export const targetSourceSchema = z.string()
  .max(63, "expected at most 63 characters")
  .refine((text) => TARGET_SOURCE.test(text.toLowerCase()), { error: `expected ${TARGET_FORM}` })
  .transform((text) => text.toLowerCase());
