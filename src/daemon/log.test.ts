import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogLevel } from "../base/logger.ts";
import { openLog } from "./log.ts";

function sink(isTTY: boolean) {
  const lines: string[] = [];
  return { lines, isTTY, write: (text: string) => lines.push(text) };
}

test("openLog() asks for its level at each line, in loggers made of it, too", () => {
  const { lines, ...out } = sink(false);
  let level: LogLevel = "info";
  const log = openLog(out, () => level);
  const child = log.with({ pod: "p" });
  child.debug("not yet");
  level = "debug";
  child.debug("now");
  level = "error";
  log.warn("no more");
  assert.equal(lines.length, 1);
  const { time: _, ...line } = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  assert.deepEqual(line, { level: "debug", message: "now", pod: "p" });
});

test("openLog() lets no peer move the cursor of a terminal, or begin a line", () => {
  const evil = "a\u001b[2Jb\r\nc\u009b1md\u007f";
  const person = sink(true);
  openLog(person, () => "info").info(evil, { reason: evil, list: [evil] });
  assert.equal(person.lines.length, 1);
  assert.doesNotMatch(person.lines[0]?.slice(0, -1) ?? "", /[\u0000-\u001f\u007f-\u009f]/);
  const json = sink(false);
  openLog(json, () => "info").info(evil);
  assert.equal(json.lines[0]?.match(/\n/g)?.length, 1);
});
