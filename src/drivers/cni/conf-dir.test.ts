import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { type Logger, silentLogger } from "../../base/logger.ts";
import { makeFifo } from "../../linux/stream/index.ts";
import { ConfDir } from "./conf-dir.ts";

const conf = (name: string, plugins: readonly object[] | undefined = [{ type: "a" }]): string =>
  JSON.stringify({ cniVersion: "1.0.0", name, plugins });

describe("ConfDir", () => {
  let base: string;
  let dir: string;
  let subject: ConfDir;
  let warnings: string[];
  let onScan: () => void;

  const log: Logger = {
    ...silentLogger,
    warn: (message, fields) => warnings.push(`${message} ${JSON.stringify(fields)}`),
  };

  // An hour between scans, so that only the watch can find a change.
  const open = async (rescanIntervalMs = 3_600_000, settleMs = 50): Promise<void> => {
    subject = new ConfDir({ dir, log, rescanIntervalMs, settleMs, onScan: () => onScan() });
    await subject.scan();
  };
  const name = (): string | undefined => subject.state.network?.list.name;

  /** Waits for a scan after which the network has this name. */
  const untilName = async (want: string | undefined): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => reject(new Error(`still ${String(name())}`)), 10_000);
    onScan = () => {
      if (name() === want) resolve(undefined);
    };
    onScan();
    await promise.finally(() => clearTimeout(timer));
  };

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), "cni-conf-"));
    dir = join(base, "net.d");
    warnings = [];
    onScan = () => undefined;
  });
  afterEach(() => {
    subject[Symbol.dispose]();
    rmSync(base, { recursive: true });
  });

  test("takes the first file in lexical order", async () => {
    mkdirSync(join(dir, "00-directory.conflist"), { recursive: true });
    writeFileSync(join(dir, "20-b.conflist"), conf("b"));
    writeFileSync(join(dir, "10-a.conflist"), conf("a"));
    writeFileSync(join(dir, "00-other.txt"), conf("txt"));
    writeFileSync(join(dir, ".05-hidden.conflist.swp"), conf("swp"));
    await open();
    assert.equal(name(), "a");
    assert.equal(subject.state.network?.file, join(dir, "10-a.conflist"));
  });

  test("takes .conf and .json with a single plugin", async () => {
    mkdirSync(dir);
    writeFileSync(join(dir, "2.json"), '{"cniVersion":"0.3.1","name":"json","type":"a"}');
    await open();
    assert.equal(name(), "json");
    writeFileSync(join(dir, "1.conf"), '{"cniVersion":"0.3.1","name":"conf","type":"a"}');
    await untilName("conf");
  });

  test("skips an invalid file, and logs it once", async () => {
    mkdirSync(dir);
    writeFileSync(join(dir, "1.conflist"), "{");
    writeFileSync(join(dir, "2.conflist"), conf("good"));
    await open();
    assert.equal(name(), "good");
    assert.equal(subject.state.invalid.length, 1);
    writeFileSync(join(dir, "3.conflist"), conf("more"));
    await subject.scan();
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", /skipped invalid.*1\.conflist.*parse JSON/);
  });

  test("skips a FIFO without waiting for a writer", async () => {
    mkdirSync(dir);
    makeFifo(join(dir, "10-a.conflist"));
    writeFileSync(join(dir, "20-b.conflist"), conf("b"));
    await open();
    assert.equal(name(), "b");
    assert.match(warnings.join(), /10-a\.conflist.*it is a named pipe, not a file/);
  });

  test("does not take the next file's network while the first is half written", async () => {
    mkdirSync(dir);
    writeFileSync(join(dir, "1.conflist"), conf("first"));
    writeFileSync(join(dir, "2.conflist"), conf("second"));
    // Only the test scans, because a scan by the watch would count as the second one.
    await open(3_600_000, 3_600_000);
    writeFileSync(join(dir, "1.conflist"), "{");
    await subject.scan();
    assert.equal(name(), "first");
    writeFileSync(join(dir, "1.conflist"), conf("whole"));
    await subject.scan();
    assert.equal(name(), "whole");
    writeFileSync(join(dir, "1.conflist"), "{");
    await subject.scan();
    assert.equal(name(), "whole");
    await subject.scan();
    assert.equal(name(), "second");
  });

  test("watches a directory that was created again, with any inode", async () => {
    mkdirSync(dir);
    await open();
    rmSync(dir, { recursive: true });
    mkdirSync(dir);
    await subject.scan();
    writeFileSync(join(dir, "1.conflist"), conf("again"));
    await untilName("again");
  });

  test("explains why there is no network", async () => {
    await open();
    assert.match(
      subject.state.reason ?? "",
      /net\.d": it does not exist; install a network plugin/,
    );
    mkdirSync(dir);
    await subject.scan();
    assert.match(subject.state.reason ?? "", /^no network configuration in ".*net\.d": install/);
    writeFileSync(join(dir, "1.conflist"), "{");
    await subject.scan();
    assert.match(
      subject.state.reason ?? "",
      /^no valid network configuration in ".*net\.d": "1\.conflist": parse JSON: /,
    );
  });

  test("follows the directory as it is created, changed, replaced and removed", async () => {
    await open();
    mkdirSync(dir);
    writeFileSync(join(dir, "1.conflist"), conf("first"));
    await untilName("first");
    writeFileSync(join(dir, "tmp"), conf("renamed"));
    renameSync(join(dir, "tmp"), join(dir, "1.conflist"));
    await untilName("renamed");
    const next = join(base, "next");
    mkdirSync(next);
    writeFileSync(join(next, "1.conflist"), conf("swapped"));
    renameSync(dir, join(base, "old"));
    renameSync(next, dir);
    await untilName("swapped");
    writeFileSync(join(dir, "1.conflist"), conf("written"));
    await untilName("written");
    rmSync(dir, { recursive: true });
    await untilName(undefined);
    mkdirSync(dir);
    writeFileSync(join(dir, "1.conflist"), conf("back"));
    await untilName("back");
  });

  test("finds by scanning what no watch reported", async () => {
    dir = join(base, "not", "yet", "there"); // no directory to watch, nor its parent
    await open(10);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "1.conflist"), conf("late"));
    await untilName("late");
  });

  test("adds plugins from the directory named like the network", async () => {
    const types = (): unknown => subject.state.network?.list.plugins.map(({ type }) => type);
    mkdirSync(join(dir, "net"), { recursive: true });
    writeFileSync(join(dir, "1.conflist"), conf("net"));
    writeFileSync(join(dir, "net", "2.conf"), '{"type":"c"}');
    writeFileSync(join(dir, "net", "1.conf"), '{"type":"b"}');
    await open();
    assert.deepEqual(types(), ["a", "b", "c"]);
    writeFileSync(join(dir, "net", "2.conf"), '{"type":"longer"}');
    await subject.scan();
    assert.deepEqual(types(), ["a", "b", "longer"]);
  });
});
