import type { LogFields, Logger, LogLevel } from "../../base/logger.ts";

const order: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Where log lines go: stderr of the daemon. */
export interface LogSink {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/**
 * Writes one JSON object a line, or readable lines when the sink is a terminal. `level` is read for each
 * line, as it may change. Names and messages contain text of clients, images and containers: control
 * characters are escaped, so that no such text can begin a new line or move the cursor of a terminal.
 */
export function openLog(sink: LogSink, level: () => LogLevel, fields: LogFields = {}): Logger {
  const write = (lineLevel: LogLevel, message: string, own: LogFields = {}): void => {
    if (order[lineLevel] < order[level()]) return;
    const all = { ...fields, ...own };
    sink.write(
      sink.isTTY === true ? forPerson(lineLevel, message, all) : asJson(lineLevel, message, all),
    );
  };
  return {
    debug: (message, own) => {
      write("debug", message, own);
    },
    info: (message, own) => {
      write("info", message, own);
    },
    warn: (message, own) => {
      write("warn", message, own);
    },
    error: (message, own) => {
      write("error", message, own);
    },
    with: (more) => openLog(sink, level, { ...fields, ...more }),
  };
}

function asJson(level: LogLevel, message: string, fields: LogFields): string {
  const time = new Date().toISOString();
  // JSON does not escape the control characters from DEL on.
  return `${escapeControls(JSON.stringify({ time, level, message, ...plain(fields) }))}\n`;
}

function forPerson(level: LogLevel, message: string, fields: LogFields): string {
  const time = new Date().toISOString().slice(11, 23);
  const pairs = Object.entries(plain(fields)).map(
    ([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return `${escapeControls(`${time} ${level.padEnd(5)} ${[message, ...pairs].join("  ")}`)}\n`;
}

function escapeControls(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Errors by their message and those of their causes; bigints by their digits. */
function plain(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [
      key,
      value instanceof Error ? messages(value) : typeof value === "bigint" ? String(value) : value,
    ]),
  );
}

function messages(error: Error): string {
  // wrap() has put the causes' messages into the text already; a foreign error's has not.
  const cause = error.cause instanceof Error ? error.cause.message : "";
  return error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}
