import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { Packing } from "./packing.ts";

async function* pieces(failure?: Error): AsyncGenerator<Buffer> {
  await Promise.resolve();
  yield Buffer.alloc(512);
  if (failure !== undefined) throw failure;
}

test("Packing reports a truncated archive, but not a lost reader", async () => {
  const sink = new PassThrough().resume();
  const cut = new Packing(pieces(new Error("open page.html: no such file")));
  await assert.rejects(pipeline(Readable.from(cut, { objectMode: false }), sink));
  assert.throws(() => {
    cut.check("copy site");
  }, /copy site: open page\.html: no such file/);

  const whole = new Packing(pieces());
  const unread = Readable.from(whole, { objectMode: false });
  for await (const piece of unread) {
    assert.equal((piece as Buffer).length, 512);
    break;
  }
  whole.check("copy site");
});
