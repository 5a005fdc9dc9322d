import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type LayerProgress, readPulls } from "../lifecycle/pull-progress.ts";
import { LiveLines } from "./live-lines.ts";
import { formatLayer, formatTotal, showPull } from "./pull-lines.ts";
import { recordedTerminal } from "./testing/recorded-terminal.ts";

const { style } = recordedTerminal();

/** A terminal that interprets the two sequences of LiveLines, and its current screen. */
class Screen {
  live = true;
  rows: string[] = [""];

  write = (text: string): void => {
    for (const part of text.split(/(\r?\u001b\[\d*A|\u001b\[J|\n)/)) {
      const up = /\u001b\[(\d+)A/.exec(part)?.[1];
      if (up !== undefined) this.rows.splice(this.rows.length - 1 - Number(up), Infinity, "");
      else if (part === "\n") this.rows.push("");
      else if (part !== "\u001b[J") this.rows.push(`${this.rows.pop() ?? ""}${part}`);
    }
  };

  columns = (): number => 40;
}

describe("LiveLines", () => {
  test("redraws live lines below permanent lines", () => {
    const screen = new Screen();
    let now = 0;
    using lines = new LiveLines(screen, () => now);
    const first = lines.add((ms) => [`a ${ms}`]);
    using second = lines.add((ms) => [`b ${ms}`, "b2"]);
    assert.deepEqual(screen.rows, ["a 0", ""], "the second comes with the next picture");
    now = 7;
    lines.print("done");
    assert.deepEqual(screen.rows, ["done", "a 7", "b 7", "b2", ""]);
    now = 9;
    first[Symbol.dispose]();
    assert.deepEqual(screen.rows, ["done", "b 9", "b2", ""]);
    second[Symbol.dispose]();
    assert.deepEqual(screen.rows, ["done", ""]);
  });

  test("prints lines of another stream above the live lines", () => {
    const screen = new Screen();
    using lines = new LiveLines(screen, () => 0);
    using _first = lines.add(() => ["a"]);
    lines.above(() => screen.write("of stdout\n"));
    assert.deepEqual(screen.rows, ["of stdout", "a", ""]);
    lines.print("done");
    assert.deepEqual(screen.rows, ["of stdout", "done", "a", ""]);
  });

  test("truncates long lines, and erases live lines at the end", () => {
    const screen = new Screen();
    const lines = new LiveLines(screen);
    lines.add(() => [`\u001b[31m${"x".repeat(50)}\u001b[39m`]);
    assert.deepEqual(screen.rows, ["x".repeat(39), ""]);
    lines[Symbol.dispose]();
    assert.deepEqual(screen.rows, [""]);
  });

  test("prints only permanent lines if the output is not a terminal", () => {
    const screen = new Screen();
    screen.live = false;
    using lines = new LiveLines(screen);
    using _pull = showPull(lines, style, "image", () => undefined);
    lines.print("done");
    assert.deepEqual(screen.rows, ["done", ""]);
  });
});

test("showPull() keeps the last layers when the server no longer reports them", () => {
  const screen = new Screen();
  let now = 0;
  using lines = new LiveLines(screen, () => now);
  const layer = {
    digest: "sha256:abc",
    sizeBytes: 1000,
    fetchedBytes: 500,
    state: "fetching",
  } as const;
  let reported: readonly (typeof layer)[] | undefined = [layer];
  using _pull = showPull(
    lines,
    style,
    "image",
    () => reported,
    () => 0,
  );
  now = 1500;
  reported = undefined;
  lines.print("-");
  assert.equal(screen.rows.length, 4);
  assert.match(screen.rows[1] ?? "", /^\S image {2}1\.5 s$/);
  assert.match(screen.rows[2] ?? "", /^ {4}abc {2}\[=+> +\]/);
});

test("formatLayer() shows at most the total size", () => {
  const layer = { digest: "sha256:0123456789abcdef", sizeBytes: 1_000_000 };
  const shown = (fetchedBytes: number, state: LayerProgress["state"]): string =>
    formatLayer({ ...layer, fetchedBytes, state }, style).replace(/ +/g, " ");
  assert.equal(shown(0, "waiting"), " 0123456789ab waiting 1.0MB");
  assert.equal(shown(0, "fetching"), " 0123456789ab [> ] 0B / 1.0MB");
  assert.equal(shown(500_000, "fetching"), " 0123456789ab [============> ] 500kB / 1.0MB");
  assert.equal(shown(1_000_000, "fetching"), " 0123456789ab unpacking 1.0MB");
  assert.equal(shown(1_000_000, "unpacking"), " 0123456789ab unpacking 1.0MB");
  assert.equal(shown(1_000_000, "done"), " 0123456789ab done 1.0MB");
  assert.equal(formatTotal(undefined), "");
  assert.equal(
    formatTotal([
      { ...layer, fetchedBytes: 500_000, state: "fetching" },
      { ...layer, fetchedBytes: 1_000_000, state: "done" },
    ]),
    "1.5MB / 2.0MB",
  );
});

test("readPulls() parses the pulls of davit, and ignores anything else", () => {
  const layer = { digest: "sha256:a", sizeBytes: 10, fetchedBytes: 5, state: "fetching" };
  const unpacking = { ...layer, state: "unpacking" };
  const layers = [layer, { ...layer, state: "new" }, 7, unpacking];
  const text = JSON.stringify([{ image: "a", layers }, {}]);
  assert.deepEqual([...readPulls(text)], [["a", [layer, unpacking]]]);
  for (const other of ["", "{}", "null", '["a"]', '[{"image":1}]']) {
    assert.equal(readPulls(other).size, 0, other);
  }
});
