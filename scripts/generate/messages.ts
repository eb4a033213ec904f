/** docs/reference/messages.md: every log line, error, condition reason and Event reason of the program, with cause and mend. */
import { type GeneratedFile, markdown, markdownTable } from "./file.ts";
import { ERROR_NOTES, LOG_NOTES, type Note, REASON_NOTES } from "./message_notes.ts";

const ROOT = new URL("../../", import.meta.url);
/** The embedded API server says what the API server says. */
const NOT_OURS = ["src/devcluster/"];
const LEVELS: Readonly<Record<string, string>> = {
  info: "INFO",
  warn: "WARN",
  error: "ERROR",
  fatal: "CRIT",
};

/** What the code says, and in which files: the key is the text as it is written, with `…` for what varies. */
type Said = Map<string, { readonly files: Set<string>; readonly levels: Set<string> }>;

export async function generateMessages(): Promise<GeneratedFile[]> {
  const logs: Said = new Map();
  const errors: Said = new Map();
  const reasons: Said = new Map();
  for (const path of await sources(new URL("src/", ROOT))) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    for (const { level, message } of logLines(text, path)) add(logs, message, { path, level });
    for (const message of errorTexts(text)) add(errors, message, { path });
    for (const reason of reasonWords(text)) add(reasons, reason, { path });
  }
  for (const [message] of logs) errors.delete(message);
  const body =
    `What the program says where something is to be done or known. \`…\` marks what varies. The column
"said in" is where to look in the code; [debugging](../debugging.md) tells how to follow one event through the log.

## Log lines

Lines at INFO and above; \`component\`, \`error\` and the other fields of a line say which object it is about.

${rows(logs, LOG_NOTES, { named: "message", levels: true })}
## Conditions and Events

Reasons of the condition \`Ready\` of our kinds, of Events, and of Resolved findings (\`status.resolvedReason\`).

${rows(reasons, REASON_NOTES, { named: "reason" })}
## Errors

Answers to senders, errors of the command line and of the start, and the field \`error\` of a log line.

${rows(errors, ERROR_NOTES, { named: "error" })}`;
  return [markdown("docs/reference/messages.md", "Messages", body)];
}

/** Log calls with a constant message; any other one is refused here. */
function* logLines(
  text: string,
  path: string,
): Generator<{ readonly level: string; readonly message: string }> {
  if (path === "src/telemetry/logging.ts") return;
  for (
    const { 1: name = "", 2: quote, index } of text.matchAll(/\blog\.(info|warn|error|fatal)\(\s*(["`]?)/g)
  ) {
    const start = index + text.slice(index).indexOf("(") + 1;
    const message = quote === '"' ? literalAt(text, text.indexOf('"', start)) : undefined;
    if (message === undefined) {
      throw new Error(
        `Cannot list the log lines of ${path}: log.${name}() has no constant message. Move what varies to fields`,
      );
    }
    yield { level: LEVELS[name] ?? name, message };
  }
}

/** Texts that begin with "Cannot": every error that names what could not be done. */
function* errorTexts(text: string): Generator<string> {
  for (const { index } of text.matchAll(/["`]Cannot /g)) {
    const message = literalAt(text, index);
    if (message !== undefined && message !== "Cannot " && !isComment(text, index)) yield message;
  }
}

/**
 * Words of conditions and Events: those on a line that gives a reason, those in a table of reasons (`const REASONS = {`), and
 * those with a note that the code names elsewhere.
 */
function* reasonWords(text: string): Generator<string> {
  let isTable = false;
  for (const line of text.split("\n")) {
    isTable = isTable ? !/^[}\]]/.test(line) : /^(?:export )?const \w*REASONS\b.*[{[]$/.test(line);
    const at = line.search(/\breason\)?(\?: |: | = )/);
    for (const { 1: word = "", index } of line.matchAll(/"([A-Z][a-z]+(?:[A-Z][a-z]+)*)"/g)) {
      if (isTable || (at >= 0 && index > at) || Object.hasOwn(REASON_NOTES, word)) yield word;
    }
  }
}

function isComment(text: string, index: number): boolean {
  const line = text.slice(text.lastIndexOf("\n", index) + 1, index);
  return /^\s*(\*|\/\/|\/\*)/.test(line);
}

/** The string or template literal that begins at `start`, with `…` for each placeholder; undefined where it does not end. */
function literalAt(text: string, start: number): string | undefined {
  const quote = text[start];
  let message = "";
  for (let at = start + 1; at < text.length; at++) {
    const character = text[at];
    if (character === "\\") message += text[++at] === "n" ? " " : text[at];
    else if (character === quote) return message;
    else if (quote === "`" && text.startsWith("${", at)) {
      at = endOfPlaceholder(text, at + 2);
      message += "…";
    } else message += character;
  }
  return undefined;
}

function endOfPlaceholder(text: string, start: number): number {
  let depth = 1;
  for (let at = start; at < text.length; at++) {
    if (text[at] === "{") depth++;
    else if (text[at] === "}" && --depth === 0) return at;
  }
  return text.length;
}

function add(
  said: Said,
  key: string,
  { path, level }: { readonly path: string; readonly level?: string },
): void {
  const entry = said.get(key) ?? { files: new Set(), levels: new Set() };
  entry.files.add(path);
  if (level) entry.levels.add(level);
  said.set(key, entry);
}

function rows(
  said: Said,
  notes: Readonly<Record<string, Note>>,
  { named, levels = false }: { readonly named: string; readonly levels?: boolean },
): string {
  const missing = [...said.keys()].filter((key) => !notes[key]);
  const unsaid = Object.keys(notes).filter((key) => !said.has(key));
  if (missing.length > 0 || unsaid.length > 0) {
    throw new Error(
      "Cannot make docs/reference/messages.md: scripts/generate/message_notes.ts" +
        missing.map((key) => `\n  lacks a note on the ${named} ${JSON.stringify(key)}`).join("") +
        unsaid.map((key) => `\n  has a note on a ${named} that no code says: ${JSON.stringify(key)}`).join(
          "",
        ),
    );
  }
  const head = [named, ...(levels ? ["level"] : []), "cause", "what to do", "said in"];
  return markdownTable(
    head,
    [...said].sort(([a], [b]) => a < b ? -1 : 1).map(([key, { files, levels: said }]) => {
      const [cause, mend] = notes[key] ?? ["", ""];
      return [
        `\`${key}\``,
        ...(levels ? [[...said].join(", ")] : []),
        cause,
        mend,
        [...files].sort().map((path) => `\`${path}\``).join(" "),
      ];
    }),
  );
}

async function sources(folder: URL): Promise<string[]> {
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const url = new URL(isDirectory ? `${name}/` : name, folder);
    const path = url.pathname.slice(ROOT.pathname.length);
    if (isDirectory) paths.push(...await sources(url));
    else if (
      name.endsWith(".ts") && !name.endsWith("_test.ts") && !NOT_OURS.some((part) => path.startsWith(part))
    ) paths.push(path);
  }
  return paths.sort();
}
