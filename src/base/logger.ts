/** How much a log line matters: what `log.level` in the configuration chooses from. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Facts that go with a log line. Values are written as JSON; an Error by its message and causes. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where every layer writes what an operator should be able to read. Passed in, never global. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to each of its lines. */
  with(fields: LogFields): Logger;
}

/** A logger that drops everything: for tests of code whose log is not the subject. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLogger,
};
