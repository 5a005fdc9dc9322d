import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { stages } from "./stages.ts";

test("docs/troubleshooting.md explains stages that exist", () => {
  const file = new URL("../../../docs/troubleshooting.md", import.meta.url);
  const [, table = ""] = /^\| stage \|.*\n((?:\|.*\n)*)/m.exec(readFileSync(file, "utf8")) ?? [];
  const cells = table.split("\n").map((row) => row.split("|")[1] ?? "");
  const named = cells.flatMap((cell) => cell.match(/(?<=`)[a-z-]+(?=`)/g) ?? []);
  assert.ok(named.length > 10);
  const known = new Set<string>(Object.values(stages).flat());
  assert.deepEqual(
    named.filter((stage) => !known.has(stage)),
    [],
  );
});
