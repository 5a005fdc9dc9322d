import assert from "node:assert/strict";
import { test } from "node:test";
import { cellText, cellWidth, cutLine, fitCell } from "./cells.ts";

test("cellWidth() counts the cells that a terminal uses", () => {
  const widths = {
    web: 3,
    "": 0,
    日本語: 6,
    ｗｅｂ: 6,
    한국: 4,
    "🚀": 2,
    é: 1,
    "e\u0301": 1,
    "…": 1,
    "▁█": 2,
  };
  for (const [text, width] of Object.entries(widths)) assert.equal(cellWidth(text), width, text);
});

test("fitCell() cuts and pads to the exact width, also through a wide character", () => {
  const fit = (text: string, width: number, right = false): string =>
    fitCell(text, width, { right, ellipsis: "~" });
  assert.equal(fit("web", 5), "web  ");
  assert.equal(fit("web", 5, true), "  web");
  assert.equal(fit("web-server", 5), "web-~");
  assert.equal(fit("日本語", 5), "日本~");
  assert.equal(fit("日本語", 4), "日~ ");
  assert.equal(fit("web", 0), "");
  for (const text of ["日本語x", "a🚀b🚀c🚀", "e\u0301".repeat(9)]) {
    for (let width = 1; width < 9; width += 1)
      assert.equal(cellWidth(fit(text, width)), width, text);
  }
});

test("cellText() leaves nothing that moves the cursor or reverses the line", () => {
  assert.equal(cellText("a\u001b[2Jb\r\n\u009bc\u2028"), "a?[2Jb???c?");
  assert.equal(cellText("a\u202eb\u200d\u200b\ufe0fc"), "abc");
  assert.equal(cellText("\ud800x"), "?x");
});

test("cutLine() does not count colors, and closes them", () => {
  const line = "\u001b[31mred\u001b[39m and more";
  assert.equal(cutLine(line, 12), line);
  assert.equal(cutLine(line, 2), "\u001b[31mre\u001b[0m");
  assert.equal(cutLine("日本語", 5), "日本");
  assert.equal(cutLine("plain", 3), "pla");
});
