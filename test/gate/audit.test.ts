import assert from "node:assert/strict";
import { test } from "node:test";

import { type AuditReport, judgeAudit, type Lock, type Severity } from "../../scripts/audit.ts";

const lock: Lock = {
  packages: { "node_modules/parser": {}, "node_modules/linter": { dev: true } },
};

function report(name: "parser" | "linter", severity: Severity): AuditReport {
  const advisory = { title: "reads too much", url: "https://example.org/1", severity, range: "<2" };
  const nodes = [`node_modules/${name}`];
  return {
    auditReportVersion: 2,
    vulnerabilities: {
      [name]: { name, via: [advisory], nodes },
      above: { name: "above", via: [name], nodes: ["node_modules/above"] },
    },
  };
}

test("what ships fails from moderate on, what is for development from high on", () => {
  const codes = (name: "parser" | "linter"): readonly number[] =>
    (["low", "moderate", "high", "critical"] as const).map(
      (severity) => judgeAudit(report(name, severity), lock).code,
    );
  assert.deepEqual(codes("parser"), [0, 1, 1, 1]);
  assert.deepEqual(codes("linter"), [0, 0, 1, 1]);
  assert.deepEqual(judgeAudit(report("linter", "high"), lock).lines, [
    "linter <2 (development), high: reads too much, https://example.org/1",
    "fix: update these packages",
  ]);
});

test("a registry without advisories is told apart from a question that failed", () => {
  const error = { summary: "", detail: "" };
  const refused = { message: "405 Method Not Allowed - POST https://registry.test/bulk", error };
  assert.deepEqual(judgeAudit(refused, lock), {
    code: 3,
    lines: [`the registry gives no advisories: ${refused.message}`],
  });
  const failed = { error: { code: "ENOLOCK", summary: "This command requires a lockfile." } };
  assert.equal(judgeAudit(failed, lock).code, 1);
  assert.equal(judgeAudit({}, lock).code, 1);
});
