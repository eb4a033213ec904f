/**
 * Masks passwords, tokens and credential headers in command lines and messages, by the rules of mask_rules.ts. Each rule
 * is linear in the text: its repetitions are bounded, and what it hides is not looked at again.
 */
import {
  COMMAND_RULES,
  type CommandRule,
  type Extent,
  type Found,
  isFlagValue,
  type MaskRule,
  type Place,
  RULES,
} from "./mask_rules.ts";

/** Stands in a text for a secret. */
const MASK = "***";

interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * The text with every value that looks like a secret replaced by `***`; masking again changes nothing. `objectName` is the
 * name of the object that the text is about: the name of a Secret is left.
 */
export function mask(text: string, objectName = ""): string {
  return masked(text, { isArguments: false, objectName });
}

interface MaskOptions {
  /** The text is a command line from an address: what is in its own addresses is not read as one again. */
  readonly isArguments: boolean;
  readonly objectName: string;
}

function masked(text: string, { isArguments, objectName }: MaskOptions): string {
  if (text.length < 5) return text;
  const lower = text.toLowerCase();
  const ranges = RULES.filter(({ keywords }) => keywords.some((word) => lower.includes(word)))
    .flatMap((rule) => secretsOf(rule, text, { objectName }));
  if (COMMAND_HINT.test(text)) ranges.push(...secretsOfCommands(text));
  if (!isArguments && text.includes("command=")) ranges.push(...secretsOfExec(text));
  return ranges.length === 0 ? text : hide(text, ranges);
}

function hide(text: string, ranges: Range[]): string {
  let result = "";
  let copied = 0;
  let hiddenTo = -1;
  for (const { start, end } of ranges.sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (start >= hiddenTo) {
      result += text.slice(copied, start) + MASK;
      hiddenTo = end;
    }
    hiddenTo = copied = Math.max(hiddenTo, end);
  }
  return result + text.slice(copied);
}

/** What one rule hides of the text. */
export function secretsOf(
  { pattern, extent, check = () => true }: MaskRule,
  text: string,
  { objectName = "" } = {},
): Range[] {
  const ranges: Range[] = [];
  pattern.lastIndex = 0;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const { value, name = "" } = match.groups ?? {};
    const matchEnd = pattern.lastIndex;
    const valueAt = value === undefined ? matchEnd : matchEnd - value.length;
    const found: Found = { text, start: match.index, valueAt, name, match, objectName };
    const far = typeof extent === "function" ? extent(found) : extent;
    if (far === false) {
      // What follows may begin a match of its own.
      pattern.lastIndex = Math.max(match.index + 1, value === undefined ? matchEnd : valueAt);
      continue;
    }
    const range = far === undefined
      ? whole(text, { start: valueAt, end: matchEnd })
      : valueOf(text, valueAt, far);
    if (
      range !== undefined && check(text.slice(range.start, Math.min(range.end, range.start + 512)), found)
    ) {
      ranges.push(range);
      pattern.lastIndex = Math.max(matchEnd, range.end);
    } else if (value !== undefined) pattern.lastIndex = Math.max(match.index + 1, valueAt);
  }
  return ranges;
}

const QUOTE = /^\\?["'`]/;
const REFERENCE = /^\$(?:\{\w{1,256}\}|\([\w.-]{1,256}\))/;
/** What ends a value after a reference, by what holds it. */
const ENDS = { quoted: /^\\?["'`]/, word: /^(?:$|\s|\\?["'`])/, item: /^(?:$|[\s&;,)}\]|<>]|\\?["'`])/ };
const CONSTANT = /^(?:true|false|null|none|nil|enabled|disabled|\{|\[|\*\*\*)$/i;

function whole(text: string, range: Range): Range | undefined {
  const value = text.slice(range.start, range.end);
  return range.end === range.start || value.startsWith(MASK) || isReference(text, range.start, "item")
    ? undefined
    : range;
}

/** The value at `start`: undefined where a constant, a reference, a placeholder or the mask is in its place. */
function valueOf(text: string, start: number, extent: Extent): Range | undefined {
  if (extent === "key block") return keyBlock(text, start);
  if (extent === "credentials") return credentials(text, start);
  const quote = QUOTE.exec(text.slice(start, start + 2))?.[0];
  if (quote !== undefined) {
    const from = start + quote.length;
    const end = quotedEnd(text, from, quote);
    return isReference(text, from, "quoted") || isConstant(text, from, end)
      ? undefined
      : { start: from, end };
  }
  if (isReference(text, start, extent) || /^<[\w./-]{0,255}>/.test(text.slice(start, start + 257))) {
    return undefined;
  }
  let end = extent === "word" ? wordEnd(text, start) : itemEnd(text, start);
  if (extent === "item" && text.startsWith("${", start) && text[end] === "}") end = itemEnd(text, end + 1);
  return isConstant(text, start, end) ? undefined : { start, end };
}

function isConstant(text: string, start: number, end: number): boolean {
  return end <= start || (end - start <= 8 && CONSTANT.test(text.slice(start, end)));
}

/** True where the value at `start` names what a shell or Kubernetes puts there: `${NAME}`, `$(NAME)`, `$(cat …`. */
function isReference(text: string, start: number, held: keyof typeof ENDS): boolean {
  if (text[start] !== "$") return false;
  const look = text.slice(start, start + 264);
  if (/^\$\([\w.-]{1,256}(?:\s|$)/.test(look)) return true;
  const reference = REFERENCE.exec(look)?.[0];
  return reference !== undefined && ENDS[held].test(look.slice(reference.length, reference.length + 2));
}

function keyBlock(text: string, start: number): Range | undefined {
  const end = text.indexOf("-----END", start);
  const range = { start, end: end < 0 ? text.length : end };
  return text.slice(range.start, range.end) === MASK || range.end === start ? undefined : range;
}

/** A header's credentials: after a scheme, which stays readable, to the end of the word; parameters go on after `,` and `;`. */
function credentials(text: string, valueAt: number): Range | undefined {
  let start = text[valueAt] === "[" ? valueAt + 1 : valueAt; // map[Authorization:[Bearer x]], as Go prints headers
  const scheme = /^(?:bearer|basic|digest|token|negotiate|apikey|ntlm|aws4-hmac-sha256)\s{1,16}(?=\S)/i
    .exec(text.slice(start, start + 40))?.[0] ?? "";
  start += scheme.length;
  let end = wordEnd(text, start);
  while (end > start && /[,;]/.test(text[end - 1] ?? "")) {
    const next = spacesEnd(text, end);
    const after = wordEnd(text, next);
    if (after === next) break;
    end = after;
  }
  return end === start || text.slice(start, end) === MASK ? undefined : { start, end };
}

function indexAfter(text: string, start: number, stop: RegExp): number {
  stop.lastIndex = start;
  const found = stop.exec(text);
  return found === null ? text.length : found.index;
}

function wordEnd(text: string, start: number): number {
  return indexAfter(text, start, /[\s"'`]/g);
}

function itemEnd(text: string, start: number): number {
  return indexAfter(text, start, /[\s&;,"'`)}\]|<>\\]/g);
}

function spacesEnd(text: string, start: number): number {
  return indexAfter(text, start, /\S/g);
}

/** The index of the quote that closes; where none does, the end of the word. */
function quotedEnd(text: string, from: number, quote: string): number {
  if (quote.length === 2) {
    const end = text.indexOf(quote, from);
    return end < 0 ? wordEnd(text, from) : end;
  }
  for (let index = from; index < text.length; index++) {
    if (text[index] === "\\") index++;
    else if (text[index] === quote) return index;
  }
  return wordEnd(text, from);
}

const BY_NAME = new Map<string, CommandRule[]>();
for (const rule of COMMAND_RULES) {
  for (const command of rule.commands) BY_NAME.set(command, [...BY_NAME.get(command) ?? [], rule]);
}
const COMMAND_HINT = new RegExp(
  `(?<![\\w.-])(?:${[...BY_NAME.keys()].map((name) => name.replace(".", "\\.")).join("|")})(?![\\w.-])`,
);

/** Words after a command that are read as its own: a secret is among the first. */
const MAX_WORDS = 16;

/** The command in force, the words after it that are no options, and its options' letters so far. */
interface Running {
  readonly rules: readonly CommandRule[];
  readonly words: string[];
  letters: string;
  /** The option whose value the next word is. */
  pending?: Place;
}

/** What the commands' own options and words hide: one pass over the words. */
export function secretsOfCommands(text: string): Range[] {
  const ranges: Range[] = [];
  const word = /[^\s]+/g;
  let running: Running | undefined;
  let hiddenTo = 0;
  for (let match = word.exec(text); match !== null; match = word.exec(text)) {
    const start = match.index + (QUOTE.exec(match[0])?.[0].length ?? 0);
    const range = running === undefined || start < hiddenTo ? undefined : secretOfWord(text, start, running);
    if (range !== undefined) {
      ranges.push(range);
      hiddenTo = word.lastIndex = Math.max(range.end, word.lastIndex);
      continue;
    }
    running = commandAfter(match[0].slice(-128), running);
  }
  return ranges;
}

/** The command in force after a word: a known one that it ends with, none after a separator. */
function commandAfter(word: string, running: Running | undefined): Running | undefined {
  const shown = word.replace(/["'`)]+$/, "");
  if (/[;|&]$/.test(shown)) return undefined;
  const name = /(?:^|[^\w.+-])([\w.+-]+)$/.exec(shown)?.[1] ?? "";
  const rules = BY_NAME.get(name);
  if (rules === undefined) return running;
  if (running !== undefined && running.words.at(-1) === name && !/[^\w.-]/.test(word)) {
    // A word of a command may be a command too: `mysqldump mysql -p…`, `time mc mysql -p…`.
    return { ...running, rules: [...new Set([...running.rules, ...rules])] };
  }
  // Any other variable's value is no command: `container=mysql`.
  const isOther = /=/.test(shown) && !/(?:command|cmdline|cmd)=[^=]*$/.test(shown) &&
    !/[;|&(][^=]*$/.test(shown);
  return isOther ? running : { rules, words: [], letters: "" };
}

function secretOfWord(text: string, start: number, running: Running): Range | undefined {
  const end = wordEnd(text, start);
  const shown = text.slice(start, Math.min(end, start + 256));
  const { pending } = running;
  delete running.pending;
  if (pending !== undefined) return placed(text, start, pending);
  const rules = running.rules.filter(({ subcommands }) =>
    subcommands === undefined || isSubcommand(subcommands, running)
  );
  for (const { options = {} } of rules) {
    for (const [option, place] of Object.entries(options)) {
      if (shown === option && /["'`]/.test(text[end] ?? "")) return placed(text, end, place); // -p'x'
      if (shown === option || (isCluster(shown, option) && place !== "attached")) {
        running.pending = place;
        return undefined;
      }
      const isLong = option.startsWith("--");
      const attached = isLong ? `${option}=` : option;
      if (!shown.startsWith(attached) || (option === "" && !shown.includes("/"))) continue;
      if ((place === "next" && !isLong) || (option.length > 3 && !isLong)) continue;
      const range = placed(text, start + attached.length, place);
      if (range !== undefined) return range;
    }
  }
  if (/^--?\w/.test(shown)) {
    if (running.letters.length < 256) running.letters += shown;
    running.words.push(...(/^-[a-zA-Z]{2,4}$/.test(shown) && running.words.length === 0 ? [shown] : []));
    return undefined;
  }
  if (running.words.length >= MAX_WORDS) return undefined;
  running.words.push(shown);
  return positional(text, { start, end }, running);
}

function isSubcommand(subcommands: readonly string[], { words }: Running): boolean {
  return subcommands.some((subcommand) => words.join(" ").startsWith(subcommand));
}

function positional(text: string, range: Range, { rules, words, letters }: Running): Range | undefined {
  for (const { positional = [], subcommands, positionalWith } of rules) {
    if (positionalWith !== undefined && !new RegExp(`-\\w*${positionalWith}`).test(letters)) continue;
    const line = words.join(" ");
    const subcommand = subcommands?.find((known) => line.startsWith(`${known} `));
    if (subcommands !== undefined && subcommand === undefined) continue;
    const plain = words.filter((word) => !word.startsWith("-"));
    const before = subcommand === undefined || subcommand.startsWith("-") ? 0 : subcommand.split(" ").length;
    const shown = text.slice(range.start, range.end);
    if (positional.includes(plain.length - 1 - before) && !/^[/-]|=/.test(shown)) {
      return valueOf(text, range.start, "word");
    }
  }
  return undefined;
}

/** `-sku` ends with `-u`: the value of the last letter follows. OpenSSL and keytool have words there: `-check`. */
function isCluster(word: string, option: string): boolean {
  return /^-[a-zA-Z]$/.test(option) && /^-[a-z]{2,5}$/i.test(word) && word.endsWith(option[1] ?? "") &&
    !/^-(?:check|host|ask|mask|help|pass|map|skip)$/.test(word);
}

/** The secret in an option's value at `start`. */
function placed(text: string, start: number, place: Place): Range | undefined {
  const value = valueOf(text, start, "word");
  if (value === undefined) return undefined;
  const shown = text.slice(value.start, Math.min(value.end, value.start + 512));
  if (place === "cookie") return shown.includes("=") ? value : undefined;
  if (!place.startsWith("after ")) return isFlagValue(shown) ? value : undefined;
  const at = shown.indexOf(place.slice("after ".length));
  if (shown.startsWith("://", at)) return undefined; // an address, no user
  const from = value.start + at + 1;
  if (at < 0 || from >= value.end || text.startsWith(MASK, from)) return undefined;
  const slashEnd = place === "after /" ? shown.indexOf("@", at) : -1;
  return { start: from, end: slashEnd < 0 ? value.end : value.start + slashEnd };
}

/** The arguments of `…/exec?command=mysql&command=-pX` where they hold a secret when read as the command line they are. */
function secretsOfExec(text: string): Range[] {
  const ranges: Range[] = [];
  const line = /(?<=[?&])command=[^&\s"'`#]*(?:&command=[^&\s"'`#]*)*/g;
  for (let match = line.exec(text); match !== null; match = line.exec(text)) {
    let at = match.index;
    const found = match[0].split("&").map((part) => {
      const range = { start: at + "command=".length, end: at + part.length };
      at += part.length + 1;
      return range;
    });
    const typed = found.map((range) => decoded(text.slice(range.start, range.end))).join(" ");
    if (masked(typed, { isArguments: true, objectName: "" }) === typed) continue;
    // The first word names the tool.
    const hidden = found.length === 1 ? found : found.slice(1);
    ranges.push(
      ...hidden.filter((range) => range.end > range.start && text.slice(range.start, range.end) !== MASK),
    );
  }
  return ranges;
}

/** An argument as it was typed. */
function decoded(argument: string): string {
  const spaced = argument.replaceAll("+", " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced; // no escapes, or broken ones
  }
}
