import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { errnoName, kindOfErrno, SystemError, systemError } from "./system-error.ts";

describe("SystemError", () => {
  test("has the kind of its errno and names the action", () => {
    const error = systemError('open "/x"', Object.assign(new Error("raw"), { code: "EMFILE" }));
    assert.ok(error instanceof SystemError);
    assert.deepEqual([error.kind, error.code], ["resource-exhausted", "EMFILE"]);
    assert.equal(error.message, 'open "/x": too many open files in this process (EMFILE)');
    assert.equal(systemError("again", error), error);
  });

  test("has a kind for every errno that callers handle", () => {
    const kinds = {
      ENOENT: "not-found",
      EEXIST: "already-exists",
      EACCES: "permission-denied",
      EPERM: "permission-denied",
      ENOSPC: "resource-exhausted",
      ENFILE: "resource-exhausted",
      EDQUOT: "resource-exhausted",
      EBUSY: "failed-precondition",
      EINVAL: "invalid-argument",
      ENOSYS: "unimplemented",
      EOPNOTSUPP: "unimplemented",
      EIO: "internal",
    };
    for (const [code, kind] of Object.entries(kinds)) assert.equal(kindOfErrno(code), kind, code);
  });

  test("names errnos by the kernel's names", () => {
    assert.deepEqual([2, 8, 9, 40, 95, 4000].map(errnoName), [
      "ENOENT",
      "ENOEXEC",
      "EBADF",
      "ELOOP",
      "EOPNOTSUPP",
      "E4000",
    ]);
  });
});
