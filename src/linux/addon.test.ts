import assert from "node:assert/strict";
import { constants } from "node:os";
import { test } from "node:test";

import { nativeError } from "./addon.ts";

test("a program without its seccomp filter says what to run; other failed calls do not", () => {
  const failed = (call: string): string =>
    nativeError(Object.assign(new Error(call), { errno: constants.errno.EINVAL, path: "/bin/x" }))
      .message;
  assert.match(failed("seccomp"), /^seccomp "\/bin\/x" \(run davit doctor --only kernel\): /);
  assert.match(failed("execve"), /^execve "\/bin\/x": /);
});
