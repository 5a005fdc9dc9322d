import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { after, describe, test } from "node:test";
import { criMethods } from "../../cri/index.ts";
import type { FamilyInfo } from "../../telemetry/prometheus/index.ts";
import { Metrics } from "./metrics.ts";

const repo = new URL("../../../", import.meta.url);
const read = (file: string): string => readFileSync(new URL(file, repo), "utf8");

const gate = { version: "1.2.3", context: () => undefined, soon: () => Promise.resolve() };
const metrics = new Metrics({
  version: "1.2.3",
  calls: { size: 2 },
  server: { waitingCalls: 1, methods: criMethods(gate).keys() },
});
after(() => metrics[Symbol.asyncDispose]());

const families = metrics.registry.families();

/** The series of a histogram or a summary have other names than its family. */
function seriesNames({ name, type }: FamilyInfo): readonly string[] {
  if (type === "histogram") return ["_bucket", "_sum", "_count"].map((each) => name + each);
  return type === "summary" ? [name, `${name}_sum`, `${name}_count`] : [name];
}

/** The series that a text names, without a list of a few exceptions: words that only look like series. */
function namedIn(text: string): ReadonlySet<string> {
  return new Set(text.match(/\bdavit_[a-z0-9_]+/g));
}

describe("the metrics of a daemon that is not built yet", () => {
  test("have the process, the calls and the operations", async () => {
    const text = await metrics.text();
    for (const line of [
      /^davit_rpc_in_flight 2$/m,
      /^davit_queue_length\{queue="calls"\} 1$/m,
      /^davit_sandboxes\{state="ready"\} 0$/m,
      /^davit_operations_total\{operation="run-pod-sandbox",result="error"\} 0$/m,
      /^davit_build_info\{version="1\.2\.3",/m,
      /^davit_process_open_fds \d+$/m,
    ]) {
      assert.match(text, line);
    }
    assert.ok(!text.includes("davit_network_ready"));
  });

  test("follow the rules for names and help", () => {
    for (const { name, help, type, labels } of families) {
      assert.match(name, /^davit_[a-z0-9_]+$/);
      assert.equal(type === "counter", name.endsWith("_total"), name);
      assert.match(help, /^[A-Z].*\.$/, name);
      for (const label of labels) {
        assert.ok(!/^(pod|sandbox|container|image|namespace|id)$/.test(label), `${name}: ${label}`);
      }
    }
  });
});

describe("what names the metrics", () => {
  const known = new Set(families.flatMap(seriesNames));

  for (const file of ["davit-dashboard.json", "davit-alerts.yaml", "davit-alerts-test.yaml"]) {
    test(`packaging/monitoring/${file} names only series that exist`, () => {
      const named = namedIn(read(`packaging/monitoring/${file}`));
      assert.ok(named.size > 10);
      // Texts refer to families.
      const names = new Set([...known, ...families.map(({ name }) => name)]);
      assert.deepEqual(
        [...named].filter((name) => !names.has(name)),
        [],
      );
    });
  }

  test("the dashboard shows every family", () => {
    const named = namedIn(read("packaging/monitoring/davit-dashboard.json"));
    const missing = families.filter(
      (family) => !seriesNames(family).some((name) => named.has(name)),
    );
    assert.deepEqual(
      missing.map(({ name }) => name),
      ["davit_process_heap_bytes"],
    );
  });

  test("docs/metrics.md has every family (DAVIT_UPDATE_DOCS=1 writes its table)", () => {
    const [begin, end] = ["<!-- the series -->\n", "<!-- end of the series -->\n"];
    const text = read("docs/metrics.md");
    const [head = "", rest = ""] = text.split(begin);
    const [table = "", tail = ""] = rest.split(end);
    const made = `\n${formatTable(families)}\n`;
    if (process.env["DAVIT_UPDATE_DOCS"] === "1")
      writeFileSync(new URL("docs/metrics.md", repo), `${head}${begin}${made}${end}${tail}`);
    else assert.equal(table, made);
    const names = new Set([...known, ...families.map(({ name }) => name)]);
    assert.deepEqual(
      [...namedIn(head + tail)].filter((name) => !names.has(name)),
      [],
    );
  });
});

function formatTable(rows: readonly FamilyInfo[]): string {
  const lines = rows.map(({ name, type, labels, help }) => {
    const named = labels.map((label) => `\`${label}\``).join(", ");
    return `| \`${name}\` | ${type} | ${named} | ${help} |`;
  });
  return ["| series | type | labels | meaning |", "|---|---|---|---|", ...lines, ""].join("\n");
}
