import assert from "node:assert/strict";
import { constants } from "node:os";
import { describe, test } from "node:test";

import { type ErrorKind, RuntimeError } from "../../../base/errors.ts";
import { parseAnswer } from "./answer.ts";

const { ENOENT, EACCES, EMFILE } = constants.errno;

function failureOf(text: string): RuntimeError {
  try {
    parseAnswer(text, "create", "/usr/bin/crun");
  } catch (error) {
    if (error instanceof RuntimeError) return error;
    throw error;
  }
  return assert.fail("it must throw");
}

describe("parseAnswer()", () => {
  test("returns the pid of a process that was created", () => {
    assert.equal(parseAnswer("created 4711\n", "create", "/usr/bin/crun"), 4711);
  });

  const failures: readonly (readonly [text: string, kind: ErrorKind, message: RegExp])[] = [
    [
      "failed 1\nexecutable file `nope` not found in $PATH\n",
      "unknown",
      /^OCI runtime create: executable file `nope` not found in \$PATH$/,
    ],
    [
      'failed 1\ntime="x" level=warning msg="w"\ntime="x" level=error msg="no \\"such\\" file"\n',
      "unknown",
      /^OCI runtime create: no "such" file$/,
    ],
    ["failed 2\n", "unknown", /^OCI runtime create: exit code 2$/],
    ["failed 137\n", "unknown", /^OCI runtime create: signal 9$/],
    [
      `failed exec ${ENOENT}\n`,
      "not-found",
      /^OCI runtime create: execute "\/usr\/bin\/crun" \(install .*\): .*ENOENT/,
    ],
    [`failed exec ${EACCES}\n`, "permission-denied", /EACCES/],
    [
      "failed pid\n",
      "unknown",
      /"\/usr\/bin\/crun" succeeded but wrote no --pid-file; set the path/,
    ],
    [
      `failed pipe ${EMFILE}\n`,
      "resource-exhausted",
      /^start davit-monitor: make the pipes of the container: too many open files/,
    ],
    [`failed attach ${EACCES}\n`, "permission-denied", /socket "attach" of the bundle/],
    ["", "unknown", /^start davit-monitor: it ended before/],
    ["created 0\n", "unknown", /unknown answer "created 0\\n"; install davit again/],
    ["created 12", "unknown", /unknown answer/],
    ["failed toString 1\n", "unknown", /unknown answer/],
    ["{}", "unknown", /unknown answer/],
  ];
  for (const [text, kind, message] of failures) {
    test(`explains ${JSON.stringify(text)}`, () => {
      const error = failureOf(text);
      assert.equal(error.kind, kind);
      assert.match(error.message, message);
    });
  }
});
