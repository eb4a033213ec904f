/** One entry of a Trivy report: a vulnerability, a check, a secret. */
import type { JsonObject } from "../../model/json.ts";
import type { PayloadErrorReason } from "../../model/outcome.ts";
import { at, firstText, number, shapeOf, text, textAt, texts, withoutEmpty } from "../read.ts";

/** What an entry says, before it is told whom it concerns. */
export interface Finding {
  readonly severity: string | null;
  readonly message: string;
  readonly rules: readonly string[];
  readonly details: JsonObject;
  readonly identity: JsonObject;
}

/** Why an entry says nothing, and which of its fields is to blame. */
export interface Unreadable {
  readonly reason: PayloadErrorReason;
  readonly field: string;
  readonly problem: string;
}

function missing(field: string, problem: string): Unreadable {
  return { reason: "missing_field", field, problem };
}

/** A vulnerability of a package, or why the entry is none. */
export function readVulnerability(item: JsonObject): Finding | Unreadable {
  const id = textAt(item, "vulnerabilityID");
  if (id === "") return missing("vulnerabilityID", "expected a vulnerabilityID");
  const found = {
    package: textAt(item, "resource"),
    installedVersion: textAt(item, "installedVersion"),
    purl: textAt(item, "packagePURL"),
    path: textAt(item, "packagePath"),
  };
  const fixedVersion = textAt(item, "fixedVersion");
  const title = textAt(item, "title");
  const target = textAt(item, "target");
  const what = [id, "in", found.package || "an unnamed package", found.installedVersion].filter(Boolean).join(
    " ",
  );
  const fix = fixedVersion === "" ? "" : ` (fixed in ${fixedVersion})`;
  return {
    severity: text(at(item, "severity")) || null,
    message: `${what}${fix}${title === "" ? "" : `: ${title}`}`,
    rules: [id],
    details: withoutEmpty({
      vulnerabilityID: id,
      ...found,
      fixedVersion,
      score: number(at(item, "score")),
      title,
      primaryLink: textAt(item, "primaryLink"),
      target,
    }),
    identity: withoutEmpty({ vulnerabilityID: id, ...found, target: lastingTarget(item, target) }),
  };
}

/** The file or binary a package is part of. For packages of the system it is the image's name, which its tag is part of. */
function lastingTarget(item: JsonObject, target: string): string {
  return textAt(item, "class") === "os-pkgs" || target.endsWith(")") ? "" : target;
}

/** A secret in an image. What matched is never copied: masked, it still tells of its surroundings. */
export function readSecret(item: JsonObject): Finding | Unreadable {
  const rule = firstText(textAt(item, "ruleID"), textAt(item, "title"));
  if (rule === "") return missing("ruleID", "expected a ruleID");
  const title = textAt(item, "title");
  const path = textAt(item, "target");
  return {
    severity: text(at(item, "severity")) || null,
    message: `${title || rule}${path === "" ? "" : ` in ${path}`}`,
    rules: [rule],
    details: withoutEmpty({ rule, title, path, category: textAt(item, "category") }),
    identity: withoutEmpty({ rule, path }),
  };
}

/** A failed check with its messages; nothing for one that passed; or why the entry is neither. */
export function readCheck(
  item: JsonObject,
  rename: (text: string) => string,
): Finding | Unreadable | undefined {
  const success = at(item, "success");
  if (success === true || success === "true") return undefined;
  if (success !== undefined && success !== null && success !== false && success !== "false") {
    const reason = typeof success === "string" ? "invalid_value" : "wrong_shape";
    return { reason, field: "success", problem: `expected true or false, received ${shapeOf(success)}` };
  }
  const id = textAt(item, "checkID");
  const title = textAt(item, "title");
  const messages = texts(at(item, "messages")).map(rename);
  const check = firstText(canonicalCheckId(id), title);
  if (check === "" && messages.length === 0) {
    return missing("checkID", "expected a checkID, a title or messages");
  }
  const description = rename(textAt(item, "description"));
  const said = messages.length > 0 ? messages.join("; ") : description;
  return {
    severity: text(at(item, "severity")) || null,
    message: said === title ? title : [title || id, said].filter(Boolean).join(": "),
    rules: id === "" ? texts(title) : checkIds(id),
    details: withoutEmpty({
      checkID: id,
      title,
      category: textAt(item, "category"),
      messages,
      description,
      remediation: rename(textAt(item, "remediation")),
    }),
    identity: withoutEmpty({ check, messages: messages.toSorted() }),
  };
}

interface CheckId {
  readonly letters: string;
  readonly number: number;
}

/** `KSV001`, `KSV-0001` and `AVD-KSV-0001` are one check, named by the operator's release. */
function parseCheckId(id: string): CheckId | undefined {
  const upper = id.trim().toUpperCase();
  const bare = upper.startsWith("AVD-") ? upper.slice("AVD-".length) : upper;
  let end = bare.length;
  while (end > 0 && isDigit(bare.charCodeAt(end - 1))) end--;
  const digits = bare.slice(end);
  const letters = bare.endsWith("-", end) ? bare.slice(0, end - 1) : bare.slice(0, end);
  const fits = digits.length >= 1 && digits.length <= 6 && letters.length >= 2 && letters.length <= 8;
  return fits && isLetters(letters) ? { letters, number: Number(digits) } : undefined;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function isLetters(word: string): boolean {
  for (let index = 0; index < word.length; index++) {
    const code = word.charCodeAt(index);
    if (code < 65 || code > 90) return false;
  }
  return true;
}

/** The check's id in one spelling: `KSV-0001`; any other tool's id as it is. */
export function canonicalCheckId(id: string): string {
  const parsed = parseCheckId(id);
  return parsed ? `${parsed.letters}-${String(parsed.number).padStart(4, "0")}` : id;
}

/** Every spelling a filter may use. */
function checkIds(id: string): string[] {
  const parsed = parseCheckId(id);
  if (!parsed) return [id];
  const { letters, number } = parsed;
  const digits = String(number);
  const four = digits.padStart(4, "0");
  return [
    ...new Set([
      id,
      `${letters}-${four}`,
      `AVD-${letters}-${four}`,
      `${letters}${digits.padStart(3, "0")}`,
      `${letters}${four}`,
    ]),
  ];
}
