import assert from "node:assert/strict";
import { test } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { defaultConfig, parseConfig } from "../../config/load.ts";
import { LiveConfig } from "./live-config.ts";

test("LiveConfig.reload() uses the level of the log, and says what waits for a restart", () => {
  const told: string[] = [];
  const tell: Logger["info"] = (message, fields) =>
    told.push(`${message} ${JSON.stringify(fields ?? {})}`);
  const log: Logger = { ...silentLogger, info: tell, warn: tell, error: tell };
  const live = new LiveConfig(defaultConfig());

  live.reload(() => parseConfig('root = "/elsewhere"\n[log]\nlevel = "debug"\n', "d.toml"), log);
  assert.equal(live.value.log.level, "debug");
  assert.equal(live.value.root, "/var/lib/davit");
  assert.match(
    told[0] ?? "",
    /^reloaded the configuration {"cause":"SIGHUP","changed":\["log\.level"\]}$/,
  );
  assert.match(told[1] ?? "", /when davit restarts; pods keep running {"keys":\["root"\]}$/);

  told.length = 0;
  live.reload(() => parseConfig('[log]\nlevel = "loud"\n[cni]\nx = 1\n', "d.toml"), log);
  live.reload(() => {
    throw new Error("no such file");
  }, log);
  assert.equal(live.value.log.level, "debug");
  assert.deepEqual(
    told.map((line) => /previous one: (d\.toml:\d|no such file)/.exec(line)?.[1]),
    ["d.toml:2", "d.toml:4", "no such file"],
  );
});
