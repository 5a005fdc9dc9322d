import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultConfig, parseConfig } from "../../config/load.ts";
import { handlerHoldback } from "./handlers.ts";

const none = { shims: false, layerLimits: false, ownIds: false };

test("handlerHoldback() keeps handlers that need what the daemon was started without", () => {
  const next = parseConfig(
    `[runtime]
default_handler = "vm"
[runtime.handlers.vm]
runtime_type = "io.containerd.kata.v2"
[runtime.handlers.crun]
enabled = false
[runtime.handlers.small]
path = "crun"
writable_layer_limit = 1000000
[runtime.handlers.runc]
user_namespaces = "auto"
[runtime.handlers.plain]
path = "crun"
`,
    "d.toml",
  );
  const { config, reasons } = handlerHoldback(none)(defaultConfig(), next);
  assert.deepEqual(Object.keys(config.runtime.handlers).sort(), ["crun", "plain", "runc"]);
  assert.equal(config.runtime.defaultHandler, "crun");
  assert.equal(config.runtime.handlers["runc"]?.userNamespaces, "");
  assert.deepEqual([...reasons.keys()].sort(), [
    "runtime.default_handler",
    ...["runc", "small", "vm"].map((name) => `runtime.handlers.${name}`),
  ]);
  const all = { shims: true, layerLimits: true, ownIds: true };
  assert.deepEqual(handlerHoldback(all)(defaultConfig(), next).config, next);
});
