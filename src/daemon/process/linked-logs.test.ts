import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { linkedLogs } from "./linked-logs.ts";

const directory = realpathSync(mkdtempSync(join(tmpdir(), "davit-linked-logs-")));
after(() => rmSync(directory, { recursive: true }));

test("linkedLogs() warns of a link below the roots, and of none in the path of a root", () => {
  mkdirSync(join(directory, "data/pods"), { recursive: true });
  mkdirSync(join(directory, "log"));
  symlinkSync("data", join(directory, "linked"));
  symlinkSync("../data/pods", join(directory, "log/pods"));
  const at = (name: string): string => join(directory, name);
  assert.equal(linkedLogs([at("log")], at("data/pods")), undefined);
  assert.equal(linkedLogs([at("linked")], at("linked/pods")), undefined);
  assert.match(linkedLogs([], at("linked/pods")) ?? "", /leads to ".*\/data\/pods" through a/);
  assert.match(linkedLogs([at("log")], at("log/pods")) ?? "", /will fail to start/);
  assert.equal(linkedLogs([at("log"), at("log/pods")], at("log/pods")), undefined);
  assert.equal(linkedLogs([at("log")], at("log/none")), undefined);
});
