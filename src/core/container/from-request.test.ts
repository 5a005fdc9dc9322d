import assert from "node:assert/strict";
import { test } from "node:test";
import { pathsOf } from "./from-request.ts";

function log(logPath: string, logDirectory: string): readonly [path: string, hasLog: boolean] {
  const paths = pathsOf("c1", { logPath }, { config: { logDirectory } });
  return [paths.logPath, paths.hasLog];
}

test("pathsOf() puts the log into the pod's log directory, without dots and double slashes", () => {
  assert.deepEqual(log("web/0.log", "/var/log/pods/p/"), ["/var/log/pods/p/web/0.log", true]);
  assert.deepEqual(log("a/../0.log", "/var/log/pods//p"), ["/var/log/pods/p/0.log", true]);
  assert.deepEqual(log("/0.log", "/"), ["/0.log", true]);
});

test("pathsOf() has a path of its own for a container without a log", () => {
  assert.deepEqual(log("", "/var/log/pods/p"), ["/var/log/pods/p/c1.log", false]);
  assert.deepEqual(log("", ""), ["/var/log/pods/c1.log", false]);
});
