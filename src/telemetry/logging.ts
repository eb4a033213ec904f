/**
 * JSON lines on stdout through LogTape (which stands in for `@std/log`: denoland/std removed it in 2025, std#6819).
 * Messages are constant, what varies are fields; repeats of one error are throttled.
 */
import { configureSync, getLogger, type LogRecord } from "@logtape/logtape";
import { errorMessage } from "../model/error_message.ts";
import { clean } from "../text/clean.ts";
import { throttle } from "./throttle.ts";

const LOG_LEVELS = ["DEBUG", "INFO", "WARN", "ERROR", "CRIT"] as const;
export type LogLevel = typeof LOG_LEVELS[number];

/** Fields of a log line. `correlationId` ties a request or object to its Observations. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Constant messages, fields for what varies. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  fatal(message: string, fields?: LogFields): void;
}

export interface LoggingOptions {
  readonly level: LogLevel;
  readonly format: "json" | "text";
  /** Where a line goes; by default stdout. */
  readonly write?: (line: string) => void;
  readonly now?: () => number;
}

const ROOT = "zen-watcher";
const LOGTAPE_LEVELS = {
  DEBUG: "debug",
  INFO: "info",
  WARN: "warning",
  ERROR: "error",
  CRIT: "fatal",
} as const;
const LEVEL_NAMES: Readonly<Record<string, LogLevel>> = {
  trace: "DEBUG",
  debug: "DEBUG",
  info: "INFO",
  warning: "WARN",
  error: "ERROR",
  fatal: "CRIT",
};
/** Of one WARN or ERROR (component and message) at most this many lines in a window; the next one says how many were left out. */
const THROTTLE_LINES = 10;
const THROTTLE_WINDOW_MS = 10_000;
const FIELD_LIMIT = 2_048;
const FIELD_DEPTH = 4;

/** Sets up logging for the process. Before it is called, and in tests that do not call it, nothing is logged. */
export function configureLogging(
  { level, format, write = writeStdout, now = Date.now }: LoggingOptions,
): void {
  const throttled = throttleRecords(now);
  const render = format === "json" ? renderJson : renderText;
  configureSync({
    reset: true,
    sinks: {
      out: (record: LogRecord) => {
        const suppressed = throttled(record);
        if (suppressed !== undefined) write(render(record, suppressed));
      },
    },
    loggers: [
      { category: ROOT, sinks: ["out"], lowestLevel: LOGTAPE_LEVELS[level] },
      { category: ["logtape", "meta"], sinks: [] },
    ],
  });
}

/** The logger of a component, e.g. `logger("watcher")`. */
export function logger(component: string): Logger {
  return getLogger([ROOT, component]);
}

/** Returns how many lines like this one were left out before it, or undefined where this one is left out too. */
function throttleRecords(now: () => number): (record: LogRecord) => number | undefined {
  const throttled = throttle({ lines: THROTTLE_LINES, windowMs: THROTTLE_WINDOW_MS, now });
  return (record) =>
    record.level === "warning" || record.level === "error"
      ? throttled(`${record.category.at(-1)}\n${record.message.join("")}`)
      : 0;
}

function lineOf(record: LogRecord, suppressed: number): Record<string, unknown> {
  const line: Record<string, unknown> = {
    timestamp: new Date(record.timestamp).toISOString(),
    level: LEVEL_NAMES[record.level] ?? "INFO",
    component: record.category.at(-1) ?? ROOT,
    message: clean(record.message.join(""), FIELD_LIMIT),
  };
  for (const [name, value] of Object.entries(record.properties)) {
    const field = clean(name, 128);
    if (value === undefined || field in line) continue;
    line[field] = loggable(value, 0);
    if (value instanceof Error) Object.assign(line, traceOf(value));
  }
  if (suppressed > 0) line["suppressed"] = suppressed;
  return line;
}

function renderJson(record: LogRecord, suppressed: number): string {
  return JSON.stringify(lineOf(record, suppressed)) + "\n";
}

function renderText(record: LogRecord, suppressed: number): string {
  const { timestamp, level, component, message, ...fields } = lineOf(record, suppressed);
  const rest = Object.entries(fields)
    .map(([name, value]) =>
      `${name}=${typeof value === "string" && !value.includes(" ") ? value : JSON.stringify(value)}`
    );
  return [timestamp, String(level).padEnd(5), `${component}:`, message, ...rest].join(" ") + "\n";
}

/** Hostile text may reach a log through any field: it is cleaned and cut like what is stored. */
function loggable(value: unknown, depth: number): unknown {
  if (typeof value === "string") return clean(value, FIELD_LIMIT);
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error) return clean(value.message || value.name, FIELD_LIMIT);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= FIELD_DEPTH) return "…";
  if (Array.isArray(value)) return value.slice(0, 50).map((item) => loggable(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).slice(0, 50).map(([name, item]) => [clean(name, 128), loggable(item, depth + 1)]),
  );
}

/** Classes that the runtime throws for mistakes of a program. */
const DEFECTS = [TypeError, RangeError, ReferenceError, SyntaxError, EvalError, URIError, AggregateError];
const MAX_FRAMES = 20;
const MAX_CAUSES = 5;

/** Causes that the message does not name already; for an unexpected error also where it was thrown. */
function traceOf(error: Error): { readonly causes?: string[]; readonly stack?: string[] } {
  const causes = causesOf(error).filter((cause) => !error.message.includes(cause));
  const frames = isExpected(error) ? [] : framesOf(error).slice(0, MAX_FRAMES);
  return {
    ...(causes.length > 0 && { causes: causes.map((cause) => clean(cause, FIELD_LIMIT)) }),
    ...(frames.length > 0 && { stack: frames.map((frame) => clean(frame, FIELD_LIMIT)) }),
  };
}

/** The lines of the stack that name a place; its first lines are the message. */
function framesOf({ stack = "" }: Error): string[] {
  return stack.split("\n").map((line) => line.trim()).filter((line) => line.startsWith("at "));
}

/**
 * True for an error that this program made for people (`Cannot <do> "<thing>": <why>`), of a class of its own, or that
 * the operating system or an aborted signal made. Any other one is a defect.
 */
function isExpected(error: Error): boolean {
  if (DEFECTS.some((Defect) => error instanceof Defect)) return false;
  if (error.constructor !== Error) return true;
  return error.message.startsWith("Cannot ") || "code" in error;
}

function causesOf(error: Error): string[] {
  const causes: string[] = [];
  for (let cause = error.cause; cause !== undefined && causes.length < MAX_CAUSES;) {
    causes.push(errorMessage(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return causes;
}

const encoder = new TextEncoder();

function writeStdout(line: string): void {
  let bytes = encoder.encode(line);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(Deno.stdout.writeSync(bytes));
  } catch {
    // stdout is closed: the line is lost.
  }
}
