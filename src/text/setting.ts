/** The kinds of value that an environment variable may hold: how each is read, and the error for any other value. */
import { isNamespaceName } from "../model/identity.ts";
import { SOURCE_PATTERN } from "../model/observation.ts";

/** How one environment variable is read. */
export interface Setting<T> {
  readonly env: string;
  /** The default as a user would write it; "" means unset. */
  readonly fallback: string;
  readonly doc: string;
  parse(text: string): T;
}

/** The values of settings, read. */
export interface SettingValues {
  /** The value of a setting. Throws where the setting was not read: no source declares it. */
  of<T>(setting: Pick<Setting<T>, "env" | "parse">): T;
}

/** A setting has a value that cannot be used. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** Beyond this a timer fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** The longest time of a timer in seconds. */
export const MAX_TIMER_SECONDS = Math.floor(MAX_TIMER_MS / 1_000);
const UNIT_BYTES: Readonly<Record<string, number>> = {
  "": 1,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 2 ** 10,
  KiB: 2 ** 10,
  Mi: 2 ** 20,
  MiB: 2 ** 20,
  Gi: 2 ** 30,
  GiB: 2 ** 30,
};

/** Any text. */
export function anyText(env: string, fallback: string, doc: string): Setting<string> {
  return { env, fallback, doc, parse: (value) => value };
}

/** One name as Kubernetes gives namespaces; "" where that is the default. Any other text is refused. */
export function namespace(env: string, fallback: string, doc: string): Setting<string> {
  return { env, fallback, doc, parse: (value) => value === "" ? value : parseNamespace(value) };
}

/** Namespaces between commas. */
export function namespaces(env: string, fallback: string, doc: string): Setting<readonly string[]> {
  const list = words(env, fallback, doc);
  return { ...list, parse: (value) => list.parse(value).map(parseNamespace) };
}

/** Words between commas. */
export function words(env: string, fallback: string, doc: string): Setting<readonly string[]> {
  return {
    env,
    fallback,
    doc,
    parse: (value) => value.split(",").map((part) => part.trim()).filter(Boolean),
  };
}

/** `true` or `false`, in the words people use for them. */
export function flag(env: string, fallback: "true" | "false", doc: string): Setting<boolean> {
  return { env, fallback, doc, parse: (value) => parseFlag(value) };
}

/** A whole number. */
export function integer(
  env: string,
  fallback: string,
  doc: string,
  { min = 0, max = 2 ** 31 } = {},
): Setting<number> {
  return { env, fallback, doc, parse: (value) => parseInteger(value, min, max) };
}

/** A time such as 30s. By default more than 0, since it is often the pause of a loop, and no longer than a timer can wait. */
export function duration(
  env: string,
  fallback: string,
  doc: string,
  { minMs = 1, maxMs = MAX_TIMER_MS } = {},
): Setting<number> {
  return { env, fallback, doc, parse: (value) => parseDurationMs(value, minMs, maxMs) };
}

/** A size such as 16MiB. */
export function bytes(env: string, fallback: string, doc: string): Setting<number> {
  return { env, fallback, doc, parse: parseBytes };
}

/** One of a few words, in any case. */
export function choice<T extends string>(
  env: string,
  fallback: T,
  options: readonly T[],
  doc: string,
): Setting<T> {
  const parse = (value: string) => {
    const found = options.find((option) => option.toLowerCase() === value.toLowerCase());
    if (found === undefined) throw new SettingsError(`expected one of ${options.join("|")}`);
    return found;
  };
  return { env, fallback, doc, parse };
}

/** One of a few words, whose default depends on where the program runs. */
export function optionalChoice<T extends string>(
  env: string,
  options: readonly T[],
  doc: string,
): Setting<T | undefined> {
  const { parse } = choice<T>(env, options[0]!, options, doc);
  return { env, fallback: "", doc, parse: (value) => value === "" ? undefined : parse(value) };
}

/** A flag whose default depends on other settings. */
export function optionalFlag(env: string, doc: string): Setting<boolean | undefined> {
  return { env, fallback: "", doc, parse: (value) => value === "" ? undefined : parseFlag(value) };
}

/** Seconds by source: `falco=120,my-tool=30`. */
export function windows(env: string, fallback: string, doc: string): Setting<ReadonlyMap<string, number>> {
  return { env, fallback, doc, parse: parseWindows };
}

function parseNamespace(name: string): string {
  if (isNamespaceName(name)) return name;
  throw new SettingsError(
    `expected a name of lower-case letters, digits and "-" (at most 63), not ${JSON.stringify(name)}`,
  );
}

function parseFlag(value: string): boolean {
  const word = value.toLowerCase();
  if (["true", "1", "yes", "on"].includes(word)) return true;
  if (["false", "0", "no", "off"].includes(word)) return false;
  throw new SettingsError("expected true or false");
}

function parseInteger(value: string, min: number, max: number): number {
  const number = Number(value);
  if (value === "" || !Number.isInteger(number) || number < min || number > max) {
    throw new SettingsError(`expected a whole number from ${min} to ${max}`);
  }
  return number;
}

function parseDurationMs(value: string, minMs: number, maxMs: number): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)?$/.exec(value);
  if (!match) throw new SettingsError("expected a duration such as 500ms, 30s, 5m or 1h");
  const ms = Math.round(Number(match[1]) * (UNIT_MS[match[2] ?? "s"] ?? 1_000));
  if (ms < minMs) throw new SettingsError("expected a duration above 0");
  if (ms > maxMs) throw new SettingsError("expected a duration of at most 24 days");
  return ms;
}

function parseBytes(value: string): number {
  const match = /^(\d{1,15})([A-Za-z]{0,3})$/.exec(value);
  const unit = match && UNIT_BYTES[match[2] ?? ""];
  if (!match || !unit) throw new SettingsError("expected a size such as 16MiB or 1000000");
  const size = Number(match[1]) * unit;
  if (size === 0) throw new SettingsError("expected a size above 0");
  return size;
}

function parseWindows(value: string): ReadonlyMap<string, number> {
  const windows = new Map<string, number>();
  for (const pair of value.split(",").map((part) => part.trim()).filter(Boolean)) {
    const [given = "", seconds, ...rest] = pair.split("=");
    const source = given.trim().toLowerCase();
    if (!SOURCE_PATTERN.test(source) || seconds === undefined || rest.length > 0) {
      throw new SettingsError("expected pairs such as falco=120,my-tool=30");
    }
    windows.set(source, parseInteger(seconds.trim(), 1, 2 ** 31));
  }
  return windows;
}
