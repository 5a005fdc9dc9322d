import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { RuntimeError } from "../../../base/errors.ts";
import { processStartTime } from "../../../linux/process/index.ts";
import { TtrpcStatusError } from "../../../wire/ttrpc/index.ts";
import type { PodShim } from "../process/pod-shims.ts";
import { CaptureCall } from "./capture-call.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "davit-call-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const never = new AbortController().signal;
const own = { pid: process.pid, startTime: String(processStartTime(process.pid)) };

/** A call that the answer ends, of a shim with that process. */
function callOf(answer: Promise<unknown>, of: PodShim["process"] = own) {
  const images = join(directory, "images");
  mkdirSync(images, { recursive: true });
  const config = join(directory, "criu.conf");
  writeFileSync(config, "tcp-close\n");
  const shim = { task: { call: () => answer }, process: of } as unknown as PodShim;
  const request = { images, work: directory, closeTcp: false, leaveRunning: true };
  const call = new CaptureCall(shim, "c", request, config);
  return { call, images, isRefused: () => readFileSync(config, "utf8") !== "tcp-close\n" };
}

describe("CaptureCall.result()", () => {
  test("resolves when the shim has answered and CRIU's last image exists", async () => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const { call, images, isRefused } = callOf(promise);
    assert.equal(call.isAnswered, false);
    writeFileSync(join(images, "inventory.img"), "");
    resolve({});
    await call.result(never);
    assert.deepEqual([call.isAnswered, isRefused()], [true, false]);
  });

  const unavailable = new RuntimeError("unavailable", "the peer closed it");
  const gone = { pid: process.pid, startTime: "1" };
  for (const [name, answer, of, expected, refuses] of [
    [
      "without images",
      Promise.resolve({}),
      own,
      { kind: "unknown", message: /has written no images of it: use a handler with a path/ },
      true,
    ],
    [
      "that cannot be read",
      Promise.reject(new RuntimeError("unknown", "malformed response")),
      own,
      { kind: "unknown", message: /cannot read \(malformed response\): use a handler/ },
      true,
    ],
    [
      "of a shim without checkpoints",
      Promise.reject(new TtrpcStatusError("unimplemented", "no such method")),
      own,
      { kind: "unimplemented", message: /has no checkpoints \(no such method\): use a handler/ },
      false,
    ],
    [
      "that is a failure",
      Promise.reject(new TtrpcStatusError("unknown", "criu failed")),
      own,
      { kind: "unknown", message: "criu failed" },
      false,
    ],
    [
      "that is the end of the shim",
      Promise.reject(unavailable),
      gone,
      { kind: "failed-precondition", message: /has ended, and the container with it: create the/ },
      true,
    ],
    [
      "that is the end of the connection",
      Promise.reject(unavailable),
      own,
      {
        kind: "unavailable",
        message: /connection to its shim was lost \(.*\): try again, or stop/,
      },
      true,
    ],
  ] as const) {
    test(`rejects for an answer ${name}`, async () => {
      answer.catch(() => undefined);
      const { call, isRefused } = callOf(answer, of);
      await assert.rejects(call.result(never), expected);
      assert.deepEqual([call.isAnswered, isRefused()], [true, refuses]);
      assert.equal(call.hasShimEnded, of === gone);
    });
  }

  test("ends with its signal, lets no CRIU begin later, and knows of a late answer", async () => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const { call, isRefused } = callOf(promise);
    const stop = new AbortController();
    const result = call.result(stop.signal);
    stop.abort(new RuntimeError("deadline-exceeded", "too late"));
    await assert.rejects(result, { kind: "deadline-exceeded", message: "too late" });
    assert.deepEqual([call.isAnswered, isRefused()], [false, true]);
    resolve({});
    await call.answered;
    assert.equal(call.isAnswered, true);
  });
});
