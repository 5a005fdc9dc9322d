import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createTerminal } from "./terminal.ts";
import type { Report } from "../../doctor/index.ts";
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
          found: "no space\u001b[31m on root",
          why: "pods fail",
          fix: { text: "free space" },
        },
        {
          id: "disk.directory-missing",
          formerId: "disk.folder-missing",
          severity: "note",
          found: "no state",
          why: "it is created",
          fix: { text: "mkdir x", apply: () => Promise.resolve("created x") },
        },
        { id: "disk.fine", severity: "ok", found: "root has space", why: "" },
      ],
    },
    { group: "daemon", title: "Daemon", findings: [] },
  ],
  skipped: ["daemon: not running"],
  fixed: ["created the directory y"],
  timedOut: false,
};

describe("formatReport()", () => {
  test("shows passed checks in a line, other findings with reason and fix, errors last", () => {
    assert.equal(
      formatReport(report, style),
      `Disk (disk)
  ok       root has space
  note     no state  disk.directory-missing
           it is created
           fix: mkdir x (or --fix)
  error    no space [31m on root  disk.full
           pods fail
           fix: free space

Skipped
  daemon: not running

Fixed
  created the directory y

1 error, 1 note; 1 check passed
`,
    );
  });

  test("wraps at words in a narrow terminal, and keeps paths and options whole", () => {
    const finding = {
      id: "disk.full",
      severity: "error",
      found: "the directory /var/lib/davit has no space",
      why: "records and images cannot be written",
      fix: { text: "remove images: davit rmi --unused" },
    } as const;
    const groups = [{ group: "disk", title: "Disk", findings: [finding] }];
    const text = formatReport({ ...report, groups, skipped: [], fixed: [] }, style, 46);
    assert.equal(
      text.slice(0, text.indexOf("\n\n")),
      `Disk (disk)
  error    the directory /var/lib/davit has no
           space  disk.full
           records and images cannot be
           written
           fix: remove images: davit rmi
           --unused`,
    );
  });

  test("reports in one line that all checks passed", () => {
    const ok = { id: "disk.fine", severity: "ok", found: "space", why: "" } as const;
    const groups = [{ group: "disk", title: "Disk", findings: [ok] }];
    const text = formatReport({ ...report, groups, skipped: [], fixed: [] }, style);
    assert.match(text, /\n1 check passed\n$/);
  });
});

describe("reportToJson()", () => {
  test("contains the same findings as the text", () => {
    assert.deepEqual(JSON.parse(JSON.stringify(reportToJson(report))), {
      summary: { error: 1, warning: 0, note: 1, ok: 1 },
      findings: [
        {
          id: "disk.full",
          group: "disk",
          severity: "error",
          found: "no space\u001b[31m on root",
          why: "pods fail",
          fix: "free space",
          fixable: false,
          mend: "free space",
        },
        {
          id: "disk.directory-missing",
          formerId: "disk.folder-missing",
          group: "disk",
          severity: "note",
          found: "no state",
          why: "it is created",
          fix: "mkdir x",
          fixable: true,
          mend: "mkdir x",
        },
        { id: "disk.fine", group: "disk", severity: "ok", found: "root has space" },
      ],
      leftOut: ["daemon: not running"],
      fixed: ["created the directory y"],
    });
    assert.equal(countFindings(report).error, 1);
  });
});
