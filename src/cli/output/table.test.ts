import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { type Column, formatTable } from "./table.ts";
import { recordedTerminal } from "./testing/recorded-terminal.ts";

interface Row {
  readonly name: string;
  readonly size: string;
}

const columns: readonly Column<Row>[] = [
  { title: "NAME", of: ({ name }) => name, paint: (_, style) => style.green },
  { title: "SIZE", of: ({ size }) => size, right: true },
  { title: "MORE", of: ({ name }) => name.toUpperCase(), wide: true },
];
const rows: readonly Row[] = [
  { name: "a", size: "12345" },
  { name: "longer", size: "1" },
];

test("formatTable() makes each column as wide as its widest cell", () => {
  const { style } = recordedTerminal();
  assert.equal(
    formatTable(rows, columns, { style }),
    "NAME      SIZE\na        12345\nlonger       1\n",
  );
  assert.equal(
    formatTable(rows, columns, { style, wide: true }),
    "NAME      SIZE   MORE\na        12345   A\nlonger       1   LONGER\n",
  );
  assert.equal(formatTable([], columns, { style }), "NAME   SIZE\n");
});

test("formatTable() has the same widths with colors", () => {
  const { style } = recordedTerminal({ isTTY: true });
  const coloured = formatTable(rows, columns, { style });
  assert.ok(coloured.includes("\u001b[32mlonger\u001b[39m"));
  const plain = formatTable(rows, columns, { style: recordedTerminal().style });
  assert.equal(stripVTControlCharacters(coloured), plain);
});

test("formatTable() removes control characters", () => {
  const { style } = recordedTerminal();
  const text = formatTable([{ name: "a\u001b[2J\nb", size: "" }], columns, { style });
  assert.equal(text, "NAME      SIZE\na?[2J?b\n");
});

test("formatTable() wraps wide cells in a narrow terminal", () => {
  const style = recordedTerminal().style;
  const images = [
    { name: "docker.io/library/busybox:1.37", size: "4.3MB" },
    { name: "pause", size: "1 of 2" },
  ];
  const shown = (width: number): string => formatTable(images, columns, { style, width });
  assert.equal(shown(39), formatTable(images, columns, { style }));
  assert.equal(
    shown(30),
    [
      "NAME                   SIZE",
      "docker.io/library/    4.3MB",
      "busybox:1.37",
      "pause                1 of 2",
      "",
    ].join("\n"),
  );
  assert.equal(shown(10), formatTable(images, columns, { style }), "no width of words is so small");
});
