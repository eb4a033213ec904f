/**
 * Times as tools write them (RFC 3339, with as many digits as they like), when stored Observations were seen, and the clocks of
 * this process and of the API server.
 */

const MINUTE_MS = 60_000;
/** Times before this are not believed. */
const EARLIEST_MS = Date.UTC(2000, 0, 1);
const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** A time that was read: milliseconds since the epoch, and RFC 3339 in UTC with up to nanoseconds. */
interface Time {
  readonly ms: number;
  readonly text: string;
}

/** Reads an RFC 3339 time, or undefined. Cost is bounded: longer texts than such a time can be are refused. */
export function parseTime(text: string): Time | undefined {
  if (text.length < 20 || text.length > 64) return undefined;
  const year = digits(text, 0, 4), month = digits(text, 5, 7), day = digits(text, 8, 10);
  const hour = digits(text, 11, 13), minute = digits(text, 14, 16), second = digits(text, 17, 19);
  if (text[4] !== "-" || text[7] !== "-" || text[13] !== ":" || text[16] !== ":") return undefined;
  if (!"Tt ".includes(text[10] ?? "?")) return undefined;
  // A leap second is read as the second after it, as every clock without them does.
  if (!(hour <= 23 && minute <= 59 && second <= 60 && validDate(year, month, day))) return undefined;

  let end = 19;
  if (text[end] === ".") {
    do end++; while (isDigit(text, end));
    if (end === 20) return undefined;
  }
  const offsetMinutes = readOffset(text, end);
  if (offsetMinutes === undefined) return undefined;

  const fraction = text.slice(20, end).slice(0, 9);
  const fractionMs = fraction === "" ? 0 : Math.trunc(Number(`0.${fraction}`) * 1000);
  const suffix = fraction === "" ? "Z" : `.${fraction}Z`;
  if (offsetMinutes === 0 && second < 60 && year >= 100) {
    const ms = Date.UTC(year, month - 1, day, hour, minute, second) + fractionMs;
    return { ms, text: `${text.slice(0, 10)}T${text.slice(11, 19)}${suffix}` };
  }
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day); // Date.UTC reads years below 100 as 19xx
  date.setUTCHours(hour, minute - offsetMinutes, second);
  const utc = date.toISOString();
  if (utc.length !== 24) return undefined; // moved out of the years 0000 to 9999 by its offset
  return { ms: date.getTime() + fractionMs, text: utc.slice(0, 19) + suffix };
}

/** A tool's time, text or milliseconds since the epoch, or undefined. */
export function readTime(value: unknown): Time | undefined {
  if (typeof value === "string") return parseTime(value);
  if (typeof value !== "number" || !(Math.abs(value) < 253_402_300_800_000)) return undefined;
  const ms = Math.trunc(value);
  return parseTime(formatTime(ms)) && { ms, text: formatTime(ms) };
}

const UNITS_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** Milliseconds of a length of time such as `90s`, `24h`, `7d` or `2w`; undefined for any other text. */
export function spanMs(text: string): number | undefined {
  const [, count = "", unit = ""] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  return unit === "" ? undefined : Number(count) * (UNITS_MS[unit] ?? 0);
}

/** RFC 3339 in UTC, milliseconds. */
export function formatTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** RFC 3339 in UTC, whole seconds, as Kubernetes writes times. */
export function formatSeconds(ms: number): string {
  return `${formatTime(ms).slice(0, 19)}Z`;
}

/** True where a tool's time can be believed as `detectedAt`: from 2000 to five minutes after receipt. */
export function isPlausibleDetection(ms: number, receivedAt: number): boolean {
  return ms >= EARLIEST_MS && ms <= receivedAt + 5 * MINUTE_MS;
}

/** A day. */
export const DAY_MS = 86_400_000;
/** How long after an act its event may arrive and still count at its own time. */
const LATENESS_MS = 60 * MINUTE_MS;
/** The sources whose events may arrive later: the API server keeps audit batches that it cannot send, and retries for hours. */
const LATENESS_BY_SOURCE_MS: ReadonlyMap<string, number> = new Map([["audit", DAY_MS]]);
/** How far ahead of its receipt an event's own time may be. */
const EARLINESS_MS = 6 * MINUTE_MS;

/** True for a tool's own time that is believed of an event received, or of an Observation created, at `takenAt`. */
function isTimely(
  ms: number,
  { source, takenAt }: { readonly source: string; readonly takenAt: number },
): boolean {
  const latenessMs = LATENESS_BY_SOURCE_MS.get(source) ?? LATENESS_MS;
  return ms >= takenAt - latenessMs && ms <= takenAt + EARLINESS_MS;
}

/**
 * The time windows are reckoned by: the tool's own where it is within an hour (audit: a day) before receipt and six minutes
 * after, else receipt.
 */
export function eventTime(
  ms: number | undefined,
  receivedAt: number,
  { source }: { readonly source: string },
): number {
  return ms !== undefined && isTimely(ms, { source, takenAt: receivedAt }) ? ms : receivedAt;
}

/** The fields of an Observation that hold times. */
interface Stamped {
  readonly metadata: { readonly creationTimestamp?: string };
  readonly spec: { readonly source: string; readonly detectedAt?: string | undefined };
  readonly status?: { readonly firstSeenAt?: string | undefined; readonly lastSeenAt?: string | undefined };
}

/** Milliseconds since the epoch; 0 if the Observation has no such time. */
export interface SeenTimes {
  readonly createdAt: number;
  readonly firstSeenAt: number;
  readonly lastSeenAt: number;
}

/** Milliseconds since the epoch of a stored time. Undefined if it is before the year 2000 or more than a day ahead of `now`. */
export function believedTime(text: string | undefined, now: number): number | undefined {
  const ms = parseTime(text ?? "")?.ms;
  return ms !== undefined && ms >= EARLIEST_MS && ms <= now + DAY_MS ? ms : undefined;
}

/**
 * When an Observation was created, and first and last seen. A time that its status lacks, or that believedTime() rejects,
 * becomes `detectedAt` if that was the event's time when the Observation was created, else the creation. Without `now` no
 * time is too far ahead.
 */
export function seenTimes({ metadata, spec, status }: Stamped, now: number = Infinity): SeenTimes {
  const createdAt = parseTime(metadata.creationTimestamp ?? "")?.ms ?? 0;
  const detected = parseTime(spec.detectedAt ?? "")?.ms;
  const near = detected !== undefined &&
    (createdAt === 0 || isTimely(detected, { source: spec.source, takenAt: createdAt }));
  const otherwise = near ? detected : createdAt;
  return {
    createdAt,
    firstSeenAt: believedTime(status?.firstSeenAt, now) ?? otherwise,
    lastSeenAt: believedTime(status?.lastSeenAt, now) ?? otherwise,
  };
}

function readOffset(text: string, start: number): number | undefined {
  const sign = text[start];
  if (sign === "Z" || sign === "z") return text.length === start + 1 ? 0 : undefined;
  if ((sign !== "+" && sign !== "-") || text.length !== start + 6 || text[start + 3] !== ":") {
    return undefined;
  }
  const hours = digits(text, start + 1, start + 3), minutes = digits(text, start + 4, start + 6);
  if (!(hours <= 23 && minutes <= 59)) return undefined;
  return (sign === "-" ? -1 : 1) * (hours * 60 + minutes);
}

function validDate(year: number, month: number, day: number): boolean {
  if (!(year >= 0 && month >= 1 && month <= 12 && day >= 1)) return false;
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return day <= (month === 2 && leap ? 29 : DAYS[month - 1] ?? 0);
}

/** The number in `text[start, end)`, NaN unless all are digits. */
function digits(text: string, start: number, end: number): number {
  let value = 0;
  for (let index = start; index < end; index++) {
    if (!isDigit(text, index)) return NaN;
    value = value * 10 + text.charCodeAt(index) - 48;
  }
  return value;
}

function isDigit(text: string, index: number): boolean {
  const code = text.charCodeAt(index);
  return code >= 48 && code <= 57;
}

/** The time, injected: milliseconds since the epoch, and a monotonic reading in milliseconds. */
export interface Clock {
  now(): number;
  monotonic(): number;
}

/** The machine's clocks. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** Compares the own clock with the API server's, which is in the Date header of its answers. */
export interface ServerClock {
  /** Notes the Date header of an answer that has just come. */
  note(date: string | null): void;
  /** By how many milliseconds the own clock is ahead; undefined before the first answer with a date. */
  readonly skewMs: number | undefined;
  /** False where the clocks differ by more than an hour: neither can be trusted to say what is old. */
  readonly agrees: boolean;
}

/** Dates tell seconds, and most answers come within one: reading each of them would tell no more. */
const READ_EVERY_MS = 1_000;
const MAX_SKEW_MS = 3_600_000;

/**
 * Creates the comparison of a process. Between two answers the server's time is reckoned by the monotonic clock, so that
 * an own clock that jumps disagrees at once.
 */
export function createServerClock(clock: Clock): ServerClock {
  let serverMsAtRead: number | undefined;
  let readAt = -Infinity;
  const skew = () =>
    serverMsAtRead === undefined ? undefined : clock.now() - (serverMsAtRead + clock.monotonic() - readAt);
  return {
    note(date) {
      if (date === null || clock.monotonic() - readAt < READ_EVERY_MS) return;
      const serverMs = Date.parse(date);
      if (Number.isNaN(serverMs)) return;
      readAt = clock.monotonic();
      serverMsAtRead = serverMs;
    },
    get skewMs() {
      return skew();
    },
    get agrees() {
      return Math.abs(skew() ?? 0) <= MAX_SKEW_MS;
    },
  };
}
