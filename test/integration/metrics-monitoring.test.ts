/** The files of packaging/monitoring, checked by Prometheus' own tool. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { prometheusProgram } from "../support/prometheus.ts";

const directory = path.resolve(import.meta.dirname, "../../packaging/monitoring");

function promtool(args: readonly string[]): string {
  const options = { encoding: "utf8", cwd: directory } as const;
  const { status, stdout, stderr } = spawnSync(prometheusProgram("promtool"), args, options);
  assert.equal(status, 0, `${stdout}${stderr}`);
  return stdout;
}

test("davit-alerts.yaml has valid rules", () => {
  assert.match(promtool(["check", "rules", "davit-alerts.yaml"]), /SUCCESS: \d+ rules found/);
});

test("each alert of davit-alerts.yaml fires when it should", () => {
  promtool(["test", "rules", "davit-alerts-test.yaml"]);
  const read = (file: string): string => readFileSync(path.join(directory, file), "utf8");
  const alerts = [...read("davit-alerts.yaml").matchAll(/^ *- alert: (\w+)$/gm)];
  const tests = [...read("davit-alerts-test.yaml").matchAll(/^ *- name: (\w+)$/gm)];
  assert.deepEqual(
    tests.map(([, name]) => name),
    alerts.map(([, name]) => name),
  );
});

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly { readonly expr: string; readonly datasource: { uid: string } }[];
}

test("davit-dashboard.json has valid queries, and its data source is a variable", () => {
  const text = readFileSync(path.join(directory, "davit-dashboard.json"), "utf8");
  const { panels } = JSON.parse(text) as { readonly panels: readonly Panel[] };
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const targets = panels.flatMap((panel) => panel.targets ?? []);
  assert.ok(targets.length > 30);
  assert.deepEqual(
    new Set(targets.map(({ datasource }) => datasource.uid)),
    new Set(["${datasource}"]),
  );
  const rules = targets.map(({ expr }, at) => ({
    record: `query:${at}`,
    expr: expr.replaceAll("$__rate_interval", "5m").replaceAll(/\$(job|instance)/g, ".*"),
  }));
  const temporary = mkdtempSync(path.join(tmpdir(), "davit-dashboard-"));
  try {
    const file = path.join(temporary, "rules.yaml");
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
    promtool(["check", "rules", file]);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
});
