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

test("parseEntry() reads the pods of a pull, and ignores damaged ones", () => {
  const pods = [{ namespace: "prod", name: "web", uid: "u1" }];
  const entry = { object: "app", past: { ...past, operation: "pull-image", pods } };
  assert.deepEqual(parseEntry(formatEntry(entry)), entry);
  for (const damaged of ["x", [], [null, 1, { name: "web" }]]) {
    const line = JSON.stringify({ object: "app", ...past, stages: [], pods: damaged });
    assert.equal(parseEntry(line)?.past.pods, undefined);
  }
});

test("parseEntry() reads what formatEntry() wrote, and ignores a damaged transfer", () => {
  const entry = { object: "sha256:1", past };
  assert.deepEqual(parseEntry(formatEntry(entry)), entry);
  const damaged = JSON.stringify({ object: "a", ...past, stages: [], transfer: { image: 1 } });
  const { transfer: _none, ...rest } = past;
  assert.deepEqual(parseEntry(damaged)?.past, { ...rest, stages: [] });
});
