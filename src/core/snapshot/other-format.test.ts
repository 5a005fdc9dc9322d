import assert from "node:assert/strict";
import { test } from "node:test";
import { OtherFormat, unpackInAnyFormat } from "./other-format.ts";

test("unpackInAnyFormat() unpacks once more when the format is refused, and only then", async () => {
  const refusals: Error[] = [new OtherFormat("too many files"), new OtherFormat("again")];
  let count = 0;
  const unpack = async (): Promise<void> => {
    count++;
    const refusal = refusals.shift();
    if (refusal !== undefined) throw refusal;
  };
  await assert.rejects(unpackInAnyFormat(unpack), /again/);
  assert.equal(count, 2);
  refusals.push(new OtherFormat("too many files"));
  await unpackInAnyFormat(unpack);
  assert.equal(count, 4);
  refusals.push(new Error("no space"));
  await assert.rejects(unpackInAnyFormat(unpack), /no space/);
  assert.equal(count, 5);
});
