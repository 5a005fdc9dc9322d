import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createTerminal } from "./terminal.ts";
import type { Report } from "../../doctor/examine.ts";
import { countFindings, formatReport, reportToJson } from "./doctor-report.ts";

const { style } = createTerminal({ write: () => true }, { write: () => true }, {});

const report: Report = {
  groups: [
    {
      group: "disk",
      title: "Disk",
      findings: [
        {
          id: "disk.full",
          severity: "error",
          found: "no room\u001b[31m on root",
          why: "pods fail",
          fix: { text: "make room" },
        },
        {
          id: "disk.directory-missing",
          severity: "note",
          found: "no state",
          why: "it is made",
          fix: { text: "mkdir x", apply: () => Promise.resolve("made x") },
        },
        { id: "disk.fine", severity: "ok", found: "root has room", why: "" },
      ],
    },
    { group: "daemon", title: "Daemon", findings: [] },
  ],
  leftOut: ["daemon: none runs"],
  fixed: ["made the directory y"],
  isLate: false,
};

describe("formatReport()", () => {
  test("shows what is well in a line, the rest with why and fix, the worst last", () => {
    assert.equal(
      formatReport(report, style),
      `Disk (disk)
  ok       root has room
  note     no state  disk.directory-missing
           it is made
           fix: mkdir x (or --fix)
  error    no room [31m on root  disk.full
           pods fail
           fix: make room

Left out
  daemon: none runs

Done by --fix
  made the directory y

1 error, 1 note; 1 check passed
`,
    );
  });

  test("wraps at words where the terminal is narrow, and leaves what can be copied whole", () => {
    const finding = {
      id: "disk.full",
      severity: "error",
      found: "the directory /var/lib/davit has no room",
      why: "records and images cannot be written",
      fix: { text: "remove images: davit rmi --unused" },
    } as const;
    const groups = [{ group: "disk", title: "Disk", findings: [finding] }];
    const text = formatReport({ ...report, groups, leftOut: [], fixed: [] }, style, 46);
    assert.equal(
      text.slice(0, text.indexOf("\n\n")),
      `Disk (disk)
  error    the directory /var/lib/davit has no
           room  disk.full
           records and images cannot be
           written
           fix: remove images: davit rmi
           --unused`,
    );
  });

  test("says in a line that all checks passed", () => {
    const ok = { id: "disk.fine", severity: "ok", found: "room", why: "" } as const;
    const groups = [{ group: "disk", title: "Disk", findings: [ok] }];
    const text = formatReport({ ...report, groups, leftOut: [], fixed: [] }, style);
    assert.match(text, /\n1 check passed\n$/);
  });
});

describe("reportToJson()", () => {
  test("has all that the table has", () => {
    assert.deepEqual(JSON.parse(JSON.stringify(reportToJson(report))), {
      summary: { error: 1, warning: 0, note: 1, ok: 1 },
      findings: [
        {
          id: "disk.full",
          group: "disk",
          severity: "error",
          found: "no room\u001b[31m on root",
          why: "pods fail",
          fix: "make room",
          fixable: false,
          mend: "make room",
        },
        {
          id: "disk.directory-missing",
          formerId: "disk.folder-missing",
          group: "disk",
          severity: "note",
          found: "no state",
          why: "it is made",
          fix: "mkdir x",
          fixable: true,
          mend: "mkdir x",
        },
        { id: "disk.fine", group: "disk", severity: "ok", found: "root has room" },
      ],
      leftOut: ["daemon: none runs"],
      fixed: ["made the directory y"],
    });
    assert.equal(countFindings(report).error, 1);
  });
});
