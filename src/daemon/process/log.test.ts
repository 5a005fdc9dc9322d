import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogLevel } from "../../base/logger.ts";
import { openLog } from "./log.ts";

/** The texts that a log writes. */
function written(isTTY: boolean): { readonly texts: string[]; write(text: string): void } {
  const texts: string[] = [];
  return { texts, write: (text) => void texts.push(text), ...{ isTTY } };
}

const hostile = "a\nb\u001b[2J\u009b1A\u007f";

test("openLog() asks for its level at each line, in loggers made of it, too", () => {
  const lines = written(false);
  let level: LogLevel = "info";
  const log = openLog(lines, () => level);
  const child = log.with({ pod: "p" });
  child.debug("not yet");
  level = "debug";
  child.debug("now");
  level = "error";
  log.warn("no more");
  assert.equal(lines.texts.length, 1);
  const { time: _, ...line } = JSON.parse(lines.texts[0] ?? "") as Record<string, unknown>;
  assert.deepEqual(line, { level: "debug", message: "now", pod: "p" });
});

test("a line stays a line, whatever is in it", () => {
  const lines = written(false);
  openLog(lines, () => "info").info(`message ${hostile}`, { pod: hostile, command: [hostile] });
  const [text = ""] = lines.texts;
  assert.match(text, /^[ -~]+\n$/);
  const { message, pod, command } = JSON.parse(text) as Record<string, unknown>;
  assert.deepEqual([message, pod, command], [`message ${hostile}`, hostile, [hostile]]);
});

test("the same on a terminal", () => {
  const lines = written(true);
  openLog(lines, () => "info").warn(`message ${hostile}`, { pod: hostile, command: [hostile] });
  assert.match(lines.texts.join(""), /^[ -~]+\n$/);
  assert.match(lines.texts.join(""), /warn {2}message a\\u000ab.* {2}pod=a\\u000ab/);
});
