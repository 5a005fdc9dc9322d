import assert from "node:assert/strict";
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { silentLogger } from "../../../base/logger.ts";
import { systemClock } from "../../../base/time.ts";
import { makeFifo, openFifoWriter } from "../../../linux/stream/index.ts";
import { ContainerIo } from "./container-io.ts";
import { CriLog, type CriLogDeps } from "../../../stdio/cri-log.ts";
import { StateLayout } from "../process/state-layout.ts";

test("finish() does not wait for a log whose disk hangs; the log is written when the disk answers", async () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-io-"));
  const paths = new StateLayout(directory);
  const id = "c1";
  mkdirSync(paths.task(id), { recursive: true });
  // A fifo replaces the log file. Nobody reads it, so a write hangs after 64 KiB (pipe(7)).
  const logPath = join(directory, "0.log");
  makeFifo(logPath);
  const disk = openSync(logPath, constants.O_RDWR | constants.O_NONBLOCK);
  writeSync(disk, Buffer.alloc(65_536));
  const choice = { logPath, terminal: true, stdin: false, streaming: false };
  const warnings: string[] = [];
  const log = { ...silentLogger, warn: (text: string) => void warnings.push(text) };
  ContainerIo.make(paths, id, choice);
  const openLog = async (path: string, deps: CriLogDeps): Promise<CriLog> =>
    CriLog.of(path, await open(path, "a"), deps);
  const io = await ContainerIo.open(paths, id, choice, { clock: systemClock, log, openLog });
  const output = "x".repeat(30_000);
  const container = openFifoWriter(ContainerIo.fifoPaths(paths, id, choice).stdout);
  await new Promise<void>((resolve) => void container.stream.end(`${output}\n`, () => resolve()));
  container.close();

  await io.finish();
  assert.match(warnings.join(), /its disk hangs/);

  let text = "";
  while (!text.includes(" F ")) text += await read(disk);
  assert.equal(text.replaceAll(/^\0*\S+ stdout [PF] |\n/gm, ""), output);
  closeSync(disk);
  rmSync(directory, { recursive: true });
});

test("release() while the container runs is not a failure to read its output", async () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-io-"));
  const paths = new StateLayout(directory);
  const id = "c1";
  mkdirSync(paths.task(id), { recursive: true });
  const logPath = join(directory, "0.log");
  const choice = { logPath, terminal: false, stdin: false, streaming: false };
  const warnings: string[] = [];
  const log = { ...silentLogger, warn: (text: string) => void warnings.push(text) };
  ContainerIo.make(paths, id, choice);
  const io = await ContainerIo.open(paths, id, choice, { clock: systemClock, log });
  io.release();
  // Waits for the end of both streams.
  await io.finish();
  assert.deepEqual(warnings, []);
  rmSync(directory, { recursive: true });
});

/** Reads what the pipe contains; waits a turn if it is empty. */
async function read(descriptor: number): Promise<string> {
  const bytes = Buffer.alloc(65_536);
  try {
    return bytes.toString("latin1", 0, readSync(descriptor, bytes));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "EAGAIN");
    await new Promise((resolve) => setImmediate(resolve));
    return "";
  }
}
