import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";

import { type CoveredFile, isMeasured, judgeCoverage } from "./coverage.ts";

const repo = path.resolve(import.meta.dirname, "../..");

function file(name: string, lines: number, branches: number): CoveredFile {
  return {
    path: path.join(repo, name),
    totalLineCount: 200,
    coveredLineCount: 2 * lines,
    totalBranchCount: 100,
    coveredBranchCount: branches,
  };
}

const files = [file("src/engine/a.ts", 90, 40), file("src/engine/sandbox/b.ts", 50, 60)];

test("a directory's figures are those of all files below it", () => {
  const { table, totals, problems } = judgeCoverage(files, {
    "src/engine": { lines: 70, branches: 50 },
  });
  assert.deepEqual(problems, []);
  assert.match(totals, /src\/engine +2 +70\.0 % +50\.0 %$/);
  assert.match(
    table,
    /src\/engine +1 +90\.0 % +40\.0 %\nsrc\/engine\/sandbox +1 +50\.0 % +60\.0 %\n/,
  );
});

test("each figure below its floor is a problem, a directory without files as well", () => {
  const { problems } = judgeCoverage(files, {
    "src/engine": { lines: 70.1, branches: 51 },
    "src/eng": { lines: 1, branches: 0 },
  });
  assert.deepEqual(
    problems.map((text) => text.replace(/,.*/, "")),
    [
      "lines of src/engine: 70.0 % covered",
      "branches of src/engine: 50.0 % covered",
      "lines of src/eng: 0.0 % covered",
    ],
  );
});

test("tests of other directories are not measured", () => {
  assert.ok(isMeasured("src/engine/network/teardown.test.ts"));
  assert.ok(!isMeasured("src/cri/services.test.ts"));
});
