import assert from "node:assert/strict";
import { test } from "node:test";
import { changedKeys } from "./changed-keys.ts";
import { defaultConfig, parseConfig } from "./load.ts";
import { nriValidator } from "./nri-settings.ts";
import { handlerSection, sections, tomlKey, topLevel } from "./schema.ts";
import { reloadable, takesEffect } from "./takes-effect.ts";
import { policySection, verificationSection } from "./verification-settings.ts";

test("takesEffect() knows every key of the schema, and no other one", () => {
  const tables: readonly (readonly [readonly string[], object])[] = [
    [[], topLevel],
    ...Object.entries(sections).map(([name, { settings }]) => [[name], settings] as const),
    [["images", "verification"], verificationSection],
    [["images", "verification", "policies"], policySection],
    [["nri", "default_validator"], nriValidator],
    [["runtime", "handlers", "crun"], handlerSection],
  ];
  for (const [table, settings] of tables) {
    for (const field of Object.keys(settings)) {
      assert.match(takesEffect([...table, tomlKey(field)]), /^(reload|restart)$/);
    }
  }
  assert.throws(() => takesEffect(["log", "format"]), /no setting: log\.format/);
});

test("reloadable() takes what a reload can change, and keeps the rest", () => {
  const next = parseConfig(
    `root = "/other"
[log]
level = "debug"
[cni]
conf_dir = "/cni"
[runtime]
cgroup_driver = "systemd"
default_handler = "kata"
[runtime.handlers.kata]
path = "kata"
[images.verification]
other_images = "reject"
[nri]
enable = false
[nri.default_validator]
enable = true
`,
    "d.toml",
  );
  const mixed = reloadable(defaultConfig(), next);
  const keys = changedKeys(defaultConfig(), mixed).map(({ key }) => key);
  assert.deepEqual(keys, [
    "log.level",
    "images.verification.other_images",
    "cni.conf_dir",
    "runtime.default_handler",
    "runtime.handlers.kata",
    "nri.default_validator.enable",
  ]);
  const waiting = changedKeys(mixed, next).map(({ key }) => key);
  assert.deepEqual(waiting, ["root", "runtime.cgroup_driver", "nri.enable"]);
});
