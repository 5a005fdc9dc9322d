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
  const texts = changedKeys(defaultConfig(), after).map((each) => Object.values(each).join(" | "));
  assert.deepEqual(texts, [
    'root | "/var/lib/davit" | "/other"',
    "server.max_message_bytes | 16777216 | 2097152",
    'log.level | "info" | "debug"',
    'cni.bin_dirs | ["/opt/cni/bin", "/usr/lib/cni"] | ["/usr/lib/cni"]',
    'runtime.handlers.Kata | none | { runtime_type = "io.containerd.kata.v2" }',
    'tracing.headers | {} | { X-Key = "***" }',
  ]);
  assert.equal(changedKeys(after, defaultConfig())[4]?.after, "none");
  const annotated = parseConfig('[runtime.handlers.crun]\npod_annotations = ["a"]\n', "d.toml");
  assert.deepEqual(changedKeys(defaultConfig(), annotated), [
    { key: "runtime.handlers.crun.pod_annotations", before: "[]", after: '["a"]' },
  ]);
  assert.deepEqual(changedKeys(after, after), []);
  const other = parseConfig(
    "[runtime.handlers.runc]\n[runtime.handlers.crun]\n",
    "in another order",
  );
  assert.deepEqual(changedKeys(defaultConfig(), other), []);
});
