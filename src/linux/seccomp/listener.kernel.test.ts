import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SeccompListener } from "./listener.ts";

// Filters of real containers are in test/integration/seccomp-notifier.test.ts.

test("SeccompListener refuses a message without a descriptor, and takes the place of an earlier one", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "davit-seccomp-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "seccomp.sock");
  for (const text of ["{}", ""]) {
    const refused = Promise.withResolvers<unknown>();
    using _listener = new SeccompListener(path, {
      onFilter: () => refused.reject(new Error("it was taken")),
      onError: (error) => refused.resolve(error),
    });
    const socket = connect(path).on("error", () => undefined);
    socket.end(text);
    assert.match(String(await refused.promise), /receive a seccomp filter/);
    socket.destroy();
  }
});
