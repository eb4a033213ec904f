/** docs/reference/settings.md: every environment variable. */
import { ALL_SETTINGS } from "../../src/settings.ts";
import { type GeneratedFile, markdown, markdownTable } from "./file.ts";

export function generateSettings(): GeneratedFile[] {
  const rows = ALL_SETTINGS.map(({ env, fallback, doc }) => [
    `\`${env}\``,
    fallback === "" ? "" : `\`${fallback}\``,
    doc,
  ]);
  const body =
    `Environment variables, read once at start. Durations are written like \`500ms\`, \`30s\`, \`5m\`, \`1h\` (a bare number is
seconds), sizes like \`16MiB\` or \`256Mi\`. A value that cannot be read ends the program with exit code 2 and the name of
the variable.

${markdownTable(["variable", "default", "what it sets"], rows)}`;
  return [markdown("docs/reference/settings.md", "Settings", body)];
}
