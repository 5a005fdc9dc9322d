import assert from "node:assert/strict";
import { test } from "node:test";
import { formatEntry, parseEntry } from "./entry.ts";

const past = {
  operation: "pull-layer",
  subject: "sha256:1",
  startedMs: 1,
  tookMs: 9,
  stages: [{ stage: "unpack", atMs: 2 }],
  transfer: { image: "docker.io/library/web:1", bytes: 7, tookMs: 5 },
};

test("parseEntry() reads what formatEntry() wrote, and ignores a damaged transfer", () => {
  const entry = { object: "sha256:1", past };
  assert.deepEqual(parseEntry(formatEntry(entry)), entry);
  const damaged = JSON.stringify({ object: "a", ...past, stages: [], transfer: { image: 1 } });
  const { transfer: _none, ...rest } = past;
  assert.deepEqual(parseEntry(damaged)?.past, { ...rest, stages: [] });
});
