import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { findPlugins } from "./find.ts";

let root = "";
const inPlugins = (file: string): string => join(root, "plugins", file);
const inConf = (file: string): string => join(root, "conf", file);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "davit-find-"));
  for (const name of ["plugins", "conf"]) mkdirSync(join(root, name), { mode: 0o755 });
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

function program(file: string, { mode = 0o755, content = Buffer.from("#!/bin/sh\n") } = {}): void {
  writeFileSync(inPlugins(file), content);
  chmodSync(inPlugins(file), mode);
}

const find = () =>
  findPlugins({ pluginDirectory: join(root, "plugins"), configDirectory: join(root, "conf") });

describe("findPlugins", () => {
  it("finds programs with their configurations, in order", async () => {
    for (const file of ["50-c", "10-a-b", "10-a"]) program(file);
    program("notes.txt", { mode: 0o644 });
    mkdirSync(inPlugins("20-directory"));
    writeFileSync(inConf("10-a.conf"), "of 10-a");
    writeFileSync(inConf("a.conf"), "not this");
    writeFileSync(inConf("c.conf"), "of c");
    symlinkSync(inPlugins("50-c"), inPlugins("60-link"));
    const { found, refused } = await find();
    assert.deepEqual(refused, []);
    assert.deepEqual(
      found.map(({ path, name: { index, base }, config }) => [path, index, base, config]),
      [
        [inPlugins("10-a"), "10", "a", "of 10-a"],
        [inPlugins("10-a-b"), "10", "a-b", ""],
        [inPlugins("50-c"), "50", "c", "of c"],
        [inPlugins("60-link"), "60", "link", ""],
      ],
    );
  });

  it("finds nothing where there is no directory", async () => {
    rmSync(join(root, "plugins"), { recursive: true });
    assert.deepEqual(await find(), { found: [], refused: [] });
  });

  it("refuses what it must not start, and finds the others", async () => {
    program("plugin");
    program("1-short");
    program("xx-letters");
    program("10-");
    program("10-a b");
    program("20-writable", { mode: 0o775 });
    program("30-module", { content: Buffer.from("0061736d0100000000", "hex") });
    program("40-good");
    program("50-config");
    mkdirSync(inConf("50-config.conf"));
    program("60-fifo");
    execFileSync("mkfifo", [inConf("60-fifo.conf")]);
    const { found, refused } = await find();
    assert.deepEqual(
      found.map(({ name }) => name.base),
      ["good"],
    );
    const reasons: Record<string, RegExp> = {
      "1-short": /two digits/,
      "10-": /must have 1 to 255/,
      "10-a b": /letters, digits/,
      "20-writable": /can be changed by others.*mode 775.*chmod go-w/,
      "30-module": /WebAssembly/,
      "50-config": /50-config.conf" must be a file/,
      "60-fifo": /60-fifo.conf" must be a file/,
      plugin: /"NN-name"/,
      "xx-letters": /two digits/,
    };
    assert.deepEqual(refused.map(({ file }) => file).sort(), Object.keys(reasons).sort());
    for (const { file, reason } of refused) assert.match(reason, reasons[file] ?? /never/, file);
  });

  it("starts nothing of a directory that others can change", async () => {
    program("10-a");
    chmodSync(join(root, "plugins"), 0o777);
    const { found, refused } = await find();
    assert.deepEqual(found, []);
    assert.match(refused[0]?.reason ?? "", /can be changed by others/);
  });
});
