import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { linkedLogs } from "./linked-logs.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "davit-linked-logs-")));
after(() => rmSync(folder, { recursive: true }));

test("linkedLogs() tells of a link below the roots, and of none in the path of a root", () => {
  mkdirSync(join(folder, "data/pods"), { recursive: true });
  mkdirSync(join(folder, "log"));
  symlinkSync("data", join(folder, "linked"));
  symlinkSync("../data/pods", join(folder, "log/pods"));
  const at = (name: string): string => join(folder, name);
  assert.equal(linkedLogs([at("log")], at("data/pods")), undefined);
  assert.equal(linkedLogs([at("linked")], at("linked/pods")), undefined);
  assert.match(linkedLogs([], at("linked/pods")) ?? "", /leads to ".*\/data\/pods" through a/);
  assert.match(linkedLogs([at("log")], at("log/pods")) ?? "", /will not start/);
  assert.equal(linkedLogs([at("log"), at("log/pods")], at("log/pods")), undefined);
  assert.equal(linkedLogs([at("log")], at("log/none")), undefined);
});
