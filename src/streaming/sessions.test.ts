import assert from "node:assert/strict";
import { test } from "node:test";

import { maxSessions, maxSessionsOfPod, Sessions } from "./sessions.ts";

test("Sessions refuse a pod with too many connections, and nobody else", () => {
  const sessions = new Sessions();
  const ends = Array.from({ length: maxSessionsOfPod }, () => sessions.begin("exec", "pod"));
  assert.match(sessions.refusal("pod") ?? "", /there are 256 connections to this pod already/);
  assert.equal(sessions.refusal("other"), undefined);
  sessions.begin("attach", "other");
  assert.deepEqual(sessions.counts, { exec: maxSessionsOfPod, attach: 1, portforward: 0 });
  ends[0]?.();
  assert.equal(sessions.refusal("pod"), undefined);
});

test("Sessions refuse everybody when there are too many of all pods", () => {
  const sessions = new Sessions();
  for (let pod = 0; pod < maxSessions / maxSessionsOfPod; pod++) {
    for (let i = 0; i < maxSessionsOfPod; i++) sessions.begin("portforward", `pod-${pod}`);
  }
  assert.match(sessions.refusal("other") ?? "", /there are 4096 connections already/);
});
