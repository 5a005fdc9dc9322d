import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import { parseConfig } from "../../config/load.ts";
import { LiveConfig } from "../process/live-config.ts";
import { Networks } from "./networks.ts";

/** The watches of this process: proc(5), fdinfo. */
function watches(): number {
  const infos = readdirSync("/proc/self/fdinfo").map((fd) => `/proc/self/fdinfo/${fd}`);
  const texts = infos.filter(existsSync).map((path) => readFileSync(path, "utf8"));
  return texts.join("").match(/^inotify wd:/gm)?.length ?? 0;
}

test("a refused reload closes every directory of networks that it has opened", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "davit-networks-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const name of ["a", "b", "c"]) mkdirSync(join(root, name));
  const configOf = (main: string, others = "") =>
    parseConfig(`root = "${root}"\n[cni]\nconf_dir = "${join(root, main)}"\n${others}`, "d.toml");
  const live = new LiveConfig(configOf("a"));
  await using _networks = await Networks.open(live, {
    bootId: "boot",
    log: silentLogger,
    onPluginRun: () => undefined,
  });
  const before = watches();
  assert.ok(before > 0);
  const handler = `[runtime.handlers.other]\npath = "runc"\ncni_conf_dir = "${join(root, "c")}"\n`;
  const { refused } = await live.reload(
    { cause: "test" },
    { log: silentLogger, read: () => configOf("b", handler) },
  );
  assert.match(refused.join(), /use CNI directory ".*b"/);
  assert.equal(watches(), before);
});
