/** Fields of a log line. `correlationId` ties a request or object to its Observations. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Constant messages, fields for what varies. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  crit(message: string, fields?: LogFields): void;
}

/** The logger of a component, e.g. `logger("watcher")`. */
export function logger(_component: string): Logger {
  const nothing = () => {};
  return { debug: nothing, info: nothing, warn: nothing, error: nothing, crit: nothing };
}
