/** JSON and YAML, as `-o` asks for them. */
import { stringify } from "yaml";
import { escapeJson } from "../../text/clean.ts";
import type { Format } from "../command.ts";

/** The value as one document. What a terminal must not see is an escape in JSON, and left out of YAML when it is printed. */
export function render(value: object, format: Format): string {
  if (format === "json") return `${escapeJson(JSON.stringify(value, undefined, 2))}\n`;
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}
