import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";

import { silentLogger } from "../base/logger.ts";
import { makeFifo } from "../linux/stream/index.ts";
import { CriLog } from "./cri-log.ts";
import { CriLogLines, maxPartBytes } from "./cri-log-lines.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-log-"));
after(() => rmSync(directory, { recursive: true }));

const nowNs = 1_700_000_000_012_345_678n;
const head = (tag: string): string => `2023-11-14T22:13:20.012345678Z stdout ${tag} `;

/** The lines of a stream's output, pushed in pieces of `size`. */
function written(output: string, size = output.length): string {
  const lines = new CriLogLines("stdout");
  const bytes = Buffer.from(output);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    pieces.push(lines.push(bytes.subarray(at, at + size), nowNs));
  }
  return Buffer.concat([...pieces, lines.end(nowNs)]).toString();
}

describe("CriLogLines", () => {
  it("writes a line for each line of output, however that is split", () => {
    const want = `${head("F")}one\n${head("F")}\n${head("F")}a  b\n${head("P")}rest\n`;
    for (const size of [1, 2, 3, 100]) assert.equal(written("one\n\na  b\nrest", size), want);
    assert.equal(written(""), "");
  });

  it("cuts a line after 16 KiB, and only then", () => {
    const part = "x".repeat(maxPartBytes);
    assert.equal(written(`${part}\n`), `${head("F")}${part}\n`);
    const three = `${head("P")}${part}\n${head("P")}${part}\n${head("F")}y\n`;
    for (const size of [1000, maxPartBytes, 100_000]) {
      assert.equal(written(`${part}${part}y\n`, size), three, `pieces of ${size}`);
    }
  });
});

describe("CriLog", () => {
  it("appends, continues in a new file after a rotation, and loses nothing", async () => {
    const path = join(directory, "0.log");
    const log = await CriLog.open(path, { log: silentLogger });
    void log.write(Buffer.from("a"));
    await log.reopen(path);
    void log.write(Buffer.from("b"));
    await log.write(Buffer.from(""));
    renameSync(path, `${path}.1`);
    void log.write(Buffer.from("c"));
    await log.reopen(path);
    void log.write(Buffer.from("d"));
    await log.close();
    assert.equal(readFileSync(`${path}.1`, "utf8"), "abc");
    assert.equal(readFileSync(path, "utf8"), "d");
  });

  it("follows no link and opens no fifo at its path", async () => {
    const path = join(directory, "2.log");
    const canary = join(directory, "canary");
    writeFileSync(canary, "canary");
    symlinkSync(canary, path);
    await assert.rejects(CriLog.open(path, { log: silentLogger }), /it is a symbolic link/);
    rmSync(path);
    const log = await CriLog.open(path, { log: silentLogger });
    for (const [n, obstacle] of [makeFifo, (at: string) => symlinkSync(canary, at)].entries()) {
      void log.write(Buffer.from(String(n)));
      renameSync(path, `${path}.${String(n)}`);
      for (const name of [path, join(directory, ".2.log.new")]) obstacle(name);
      await log.reopen(path);
    }
    await log.write(Buffer.from("2"));
    await log.close();
    const texts = [`${path}.0`, `${path}.1`, path].map((each) => readFileSync(each, "utf8"));
    assert.deepEqual(texts, ["0", "1", "2"]);
    assert.equal(readFileSync(canary, "utf8"), "canary");
  });

  it("keeps its file when the new one cannot be created", async () => {
    const path = join(directory, "1.log");
    const log = await CriLog.open(path, { log: silentLogger });
    await assert.rejects(log.reopen(join(directory, "none/1.log")), /none/);
    await log.write(Buffer.from("here"));
    await log.close();
    assert.equal(readFileSync(path, "utf8"), "here");
  });
});
