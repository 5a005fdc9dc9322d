/** The severity of a log line; `log.level` in the configuration is one of these. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Fields of a log line. Values are written as JSON; an Error as its message and causes. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes messages for operators. It is a parameter everywhere, never global. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to each of its lines. */
  with(fields: LogFields): Logger;
}

/** A logger that drops all messages, for tests that do not check the log. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLogger,
};
