import assert from "node:assert/strict";
import { test } from "node:test";
import { changedKeys } from "./changed-keys.ts";
import { defaultConfig, parseConfig } from "./load.ts";

test("changedKeys() returns keys as the file writes them", () => {
  const after = parseConfig(
    `root = "/other"
[server]
max_message_bytes = 2097152
[log]
level = "debug"
[cni]
bin_dirs = ["/usr/lib/cni"]
[tracing]
headers = { X-Key = "secret" }
[runtime.handlers.Kata]
runtime_type = "io.containerd.kata.v2"
`,
    "davit.toml",
  );
  assert.deepEqual(changedKeys(defaultConfig(), after), [
    "root",
    "server.max_message_bytes",
    "log.level",
    "cni.bin_dirs",
    "runtime.handlers",
    "tracing.headers",
  ]);
  assert.deepEqual(changedKeys(after, after), []);
  const other = parseConfig(
    "[runtime.handlers.runc]\n[runtime.handlers.crun]\n",
    "in another order",
  );
  assert.deepEqual(changedKeys(defaultConfig(), other), []);
});
