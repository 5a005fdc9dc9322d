import assert from "node:assert/strict";
import { test } from "node:test";
import { type KnownProgram, missingFixes } from "./known-fixes.ts";

const ids = (program: KnownProgram, text: string): readonly string[] =>
  missingFixes(program, text).map((found) => found.slice(0, found.indexOf(",")));

const runc = (version: string): readonly string[] => ids("runc", `runc version ${version}\n`);

test("versions before the first fixed one have the defect; it and later ones do not", () => {
  assert.deepEqual(ids("crun", "crun version 1.21\ncommit: abc\n"), ["CVE-2026-47766"]);
  assert.deepEqual(ids("crun", "crun version 1.27.1\n"), ["CVE-2026-47766"]);
  assert.deepEqual(ids("crun", "crun version 1.28\n"), []);
  assert.deepEqual(ids("crun", "crun version 2.0\n"), []);
  assert.deepEqual(ids("conmon", "conmon version 2.1.1\n"), ["CVE-2022-1708"]);
  assert.deepEqual(ids("conmon", "conmon version 2.1.12\n"), []);
});

test("each release branch has its own fixed version; a branch without one has the defect", () => {
  const first = ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"];
  assert.deepEqual(runc("1.1.11"), ["CVE-2024-21626", ...first, "CVE-2026-41579"]);
  assert.deepEqual(runc("1.2.7"), [...first, "CVE-2026-41579"]);
  assert.deepEqual(runc("1.2.8"), ["CVE-2026-41579"]);
  assert.deepEqual(runc("1.3.3"), ["CVE-2026-41579"]);
  assert.deepEqual(runc("1.3.6"), []);
  assert.deepEqual(runc("1.4.0-rc.2"), [...first, "CVE-2026-41579"]);
  assert.deepEqual(runc("1.4.3"), []);
  assert.deepEqual(runc("1.5.0"), []);
});

test("a distribution's revision has the fixes that it backported, and so have later revisions", () => {
  const debian = (revision: string): readonly string[] =>
    ids("runc", `runc version 1.1.15+ds1\ncommit: 1.1.15+ds1-${revision}\nspec: 1.0.2\n`);
  assert.deepEqual(debian("2+deb13u1"), ["CVE-2025-52881"]);
  assert.deepEqual(debian("2+deb13u12"), ["CVE-2025-52881"]);
  assert.equal(debian("2").length, 4);
  assert.equal(debian("2+deb13u0").length, 4);
});

test("versions before the first one with a defect do not have it", () => {
  assert.deepEqual(ids("portmap", "CNI portmap plugin v1.5.1\n"), []);
  assert.deepEqual(ids("portmap", "CNI portmap plugin v1.6.0\n"), ["CVE-2025-67499"]);
  assert.deepEqual(ids("portmap", "CNI portmap plugin v1.9.0\n"), []);
});

test("a text without a version has no known defects", () => {
  assert.deepEqual(ids("portmap", "CNI portmap plugin version unknown\n"), []);
  assert.deepEqual(ids("crun", ""), []);
});
