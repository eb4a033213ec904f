/** Single fields of policy report results. */
import { isObject, type JsonObject } from "../../model/json.ts";
import { sourceName } from "../../model/identity/names.ts";
import { at, type Field, number, text, texts } from "../read.ts";

const OWN_ENGINES: ReadonlySet<string> = new Set([
  "",
  "kyverno",
  "validatingadmissionpolicy",
  "mutatingadmissionpolicy",
]);

/** The source a result belongs to where its tool is another than Kyverno. No report can take a reserved name. */
export function otherTool(engine: string, reserved: ReadonlySet<string>): string | undefined {
  const word = engine.trim().toLowerCase();
  if (OWN_ENGINES.has(word) || (word.startsWith("kyverno") && word.endsWith("policy"))) return undefined;
  const name = sourceName(word);
  return name === "" || reserved.has(name) ? undefined : name;
}

/** `{seconds, nanos}` in milliseconds, or a time in words. */
export function timeOf(timestamp: Field): number | string | undefined {
  if (typeof timestamp === "string") return timestamp === "" ? undefined : timestamp;
  const seconds = number(at(timestamp, "seconds"));
  if (seconds === undefined) return undefined;
  return seconds * 1000 + Math.trunc((number(at(timestamp, "nanos")) ?? 0) / 1e6);
}

/** Properties that tell something lasting of the finding, by their names in lower case. */
const SHOWN_PROPERTIES: ReadonlySet<string> = new Set([
  "artifact.repository",
  "artifact.tag",
  "binding",
  "controls",
  "details",
  "fixedversion",
  "index",
  "installedversion",
  "primaryurl",
  "reason",
  "resolution",
  "scan",
  "standard",
  "suite",
  "total_risk",
  "version",
  "vulnerabilityid",
]);

/** What a result tells beyond the fields that every result has. */
export function shownProperties(result: JsonObject): JsonObject | undefined {
  // v1alpha1 called them `data`.
  const properties = at(result, "properties") ?? at(result, "data");
  if (!isObject(properties)) return undefined;
  const shown: [string, string][] = [];
  for (const [key, value] of Object.entries(properties)) {
    if (SHOWN_PROPERTIES.has(key.toLowerCase()) && text(value) !== "") shown.push([key, texts(value).join()]);
  }
  return shown.length === 0 ? undefined : Object.fromEntries(shown);
}
