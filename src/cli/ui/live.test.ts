import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { Live } from "./live.ts";

/** A response whose client reads only when the test says so. */
class SlowResponse extends EventEmitter {
  readonly written: string[] = [];
  writableNeedDrain = false;
  readonly destroyed = false;

  write(text: string): boolean {
    this.written.push(text);
    this.writableNeedDrain = true;
    return false;
  }

  drain(): void {
    this.writableNeedDrain = false;
    this.emit("drain");
  }
}

function open(live: Live): SlowResponse {
  const response = new SlowResponse();
  // Only what Live uses of a response.
  assert.ok(live.open(response as unknown as ServerResponse));
  return response;
}

const link = (message: string) => ({ ok: false, message });

test("Live sends a slow page the newest state only", () => {
  const live = new Live(() => undefined);
  live.set("link", link("0"));
  const page = open(live);
  for (let n = 1; n <= 1_000; n++) live.set("link", link(String(n)));
  live.set("pods", []);
  assert.equal(page.written.length, 1, "nothing is written before the page reads");
  page.drain();
  page.drain();
  page.drain();
  assert.deepEqual(page.written.slice(1), [
    '{"link":{"ok":false,"message":"1000"}}\n',
    '{"pods":[]}\n',
  ]);
});

test("Live does not send what has not changed", () => {
  const live = new Live(() => undefined);
  const page = open(live);
  page.drain();
  live.set("pods", []);
  page.drain();
  live.set("pods", []);
  assert.equal(page.written.length, 2);
});

test("Live keeps text from becoming a line", () => {
  const live = new Live(() => undefined);
  const page = open(live);
  page.drain();
  live.set("link", link('a\n{"pods":[]}\n'));
  assert.equal(page.written[1]?.split("\n").length, 2);
});

test("Live has a limit of pages, and counts them", () => {
  const counts: number[] = [];
  const live = new Live((pages) => counts.push(pages));
  const pages = Array.from({ length: 16 }, () => open(live));
  assert.ok(!live.open(new SlowResponse() as unknown as ServerResponse));
  pages[0]?.emit("close");
  open(live);
  assert.deepEqual(counts.slice(-3), [16, 15, 16]);
});
