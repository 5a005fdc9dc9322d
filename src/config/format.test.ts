import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "smol-toml";
import { formatConfig, formatDefaultConfig } from "./format.ts";
import { defaultConfig, parseConfig } from "./load.ts";

test("parsing formatDefaultConfig() gives the defaults, also with the commented keys", () => {
  const toml = formatDefaultConfig();
  assert.deepEqual(parseConfig(toml, "default"), defaultConfig());
  const mentioned = toml.replace(/^# ([a-z_]+ = )/gm, "$1");
  assert.notEqual(mentioned, toml);
  assert.deepEqual(parseConfig(mentioned, "default"), defaultConfig());
});

test("formatDefaultConfig() explains every key in lines of limited width", () => {
  const lines = formatDefaultConfig().split("\n");
  const explained = new Set<string>();
  for (const [index, line] of lines.entries()) {
    assert.ok(line.length <= 100, line);
    const key = /^(?:# )?([a-z_]+) = /.exec(line)?.[1];
    if (key !== undefined && /^# [^=]+$/.test(lines[index - 1] ?? "")) explained.add(key);
  }
  const { handlers, ...runtime } = parse(formatDefaultConfig())["runtime"] as Record<
    string,
    object
  >;
  for (const key of Object.keys(runtime)) assert.ok(explained.has(key), key);
  assert.ok(handlers);
  for (const key of ["runtime_type", "options", "enabled", "cni_conf_dir", "listen", "root"]) {
    assert.ok(explained.has(key), key);
  }
});

test("parsing formatConfig() gives the same configuration", () => {
  const config = parseConfig(
    `root = "/a \\" b"
    [runtime]
    default_handler = "a.b"
    [runtime.handlers.crun]
    enabled = false
    [runtime.handlers."a.b"]
    controller = "shim"
    runtime_type = "x.y"
    options = { a = [1, 2.5, { b = "c" }], "d e" = true }
    pod_annotations = ["k.*"]`,
    "test",
  );
  assert.deepEqual(parseConfig(formatConfig(config), "shown"), config);
});
