import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { runsOf } from "./variants.ts";

describe("runsOf()", () => {
  test("returns one run for a file without variants", () => {
    assert.deepEqual(runsOf("test/a.test.ts", "/** A suite. */\n"), [
      { file: "test/a.test.ts", name: "test/a.test.ts", env: {} },
    ]);
  });

  test("returns one more run for each declared variant, with its environment", () => {
    const runs = runsOf(
      "test/a.test.ts",
      "/** A suite. */\n// variants: shim, untuned\nimport x;\n",
    );
    assert.deepEqual(runs, [
      { file: "test/a.test.ts", name: "test/a.test.ts", env: {} },
      {
        file: "test/a.test.ts",
        name: "test/a.test.ts (shim)",
        env: { DAVIT_TEST_HANDLER: "shim" },
      },
      {
        file: "test/a.test.ts",
        name: "test/a.test.ts (untuned)",
        env: { DAVIT_TEST_TUNING: "off" },
      },
    ]);
  });

  test("ignores a declaration that is not a line of its own", () => {
    const text = "/**\n *     // variants: shim\n */\n";
    assert.equal(runsOf("test/a.test.ts", text).length, 1);
  });

  test("refuses an unknown variant, and names the known ones", () => {
    assert.throws(() => runsOf("test/a.test.ts", "// variants: kata\n"), {
      message:
        'read the variants of test/a.test.ts: "kata" is not one of shim, runc, untuned, conmon, plugins',
    });
  });
});
