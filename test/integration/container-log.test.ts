/** The log of a container: the CRI's format, both streams, partial lines, rotation. */
// variants: shim
import assert from "node:assert/strict";
import { existsSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  type ContainerInit,
  container,
  createIn,
  exited,
  inPod,
  logLines,
  Node,
  type Pod,
  runIn,
  script,
  sh,
  start,
  stop,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, until } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let logs = "";
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  logs = path.join(daemon.paths.directory, "logs");
});
after(() => node[Symbol.asyncDispose]());

/** Runs a script with a log; the log's path. */
async function logged(pod: Pod, text: string, more: ContainerInit = {}): Promise<string> {
  const config = script(text, { logPath: "0.log", ...more });
  await exited(daemon, await runIn(pod, config));
  return path.join(logs, "0.log");
}

/** The texts of a log, with the parts of each line joined. */
function wholeLines(file: string): readonly string[] {
  const text = logLines(file).map((line) => `${line.text}${line.tag === "F" ? "\n" : ""}`);
  return text.join("").replace(/\n$/, "").split("\n");
}

/** The body of a test in a pod with a log directory, which goes with it. */
function withLogs(run: (pod: Pod) => Promise<void>): ReturnType<typeof leakless> {
  return leakless(served, async () => {
    try {
      await inPod(daemon, bare({ logDirectory: logs }), run);
    } finally {
      rmSync(logs, { recursive: true, force: true });
    }
  });
}

describe("the log", () => {
  test(
    "has a line for each line, with time and stream",
    withLogs(async (pod) => {
      const begin = Date.now();
      const lines = logLines(await logged(pod, "echo one; echo two >&2; echo; echo 'a  b'"));
      const own = (stream: string): readonly string[] =>
        lines.filter((line) => line.stream === stream).map(({ tag, text }) => `${tag} ${text}`);
      assert.deepEqual(own("stdout"), ["F one", "F ", "F a  b"]);
      assert.deepEqual(own("stderr"), ["F two"]);
      for (const { timestamp } of lines) {
        assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)$/);
        assert.ok(Date.parse(timestamp) >= begin - 1 && Date.parse(timestamp) <= Date.now());
      }
    }),
  );

  test(
    "marks the parts of a long line, and loses none of them",
    withLogs(async (pod) => {
      const text =
        "i=0; while [ $i -lt 3000 ]; do printf 0123456789; i=$((i+1)); done; echo; echo end";
      const lines = logLines(await logged(pod, text));
      const at = lines.findIndex(({ tag }) => tag === "F");
      const long = lines.slice(0, at + 1);
      assert.ok(long.length > 1 && long.slice(0, -1).every(({ tag }) => tag === "P"));
      assert.equal(long.map((line) => line.text).join(""), "0123456789".repeat(3000));
      assert.deepEqual(
        lines.slice(at + 1).map((line) => line.text),
        ["end"],
      );
    }),
  );

  test(
    "has the last line of an output that does not end with a newline",
    withLogs(async (pod) => {
      const lines = logLines(await logged(pod, "echo whole; printf part"));
      assert.equal(
        lines
          .map(({ text }) => text)
          .join("|")
          .replace(/\|$/, ""),
        "whole|part",
      );
      assert.equal(lines[1]?.tag, "P");
    }),
  );

  test(
    "is complete when the container is exited, with all of ten thousand lines",
    withLogs(async (pod) => {
      const text = "i=0; while [ $i -lt 10000 ]; do echo $i; i=$((i+1)); done";
      const lines = wholeLines(await logged(pod, text));
      assert.deepEqual(
        lines,
        Array.from({ length: 10_000 }, (_, n) => String(n)),
      );
    }),
  );

  test(
    "is in directories that davit creates, outlives its container, and no other user can read it",
    withLogs(async (pod) => {
      const id = await runIn(pod, script("echo here", { logPath: "some/where/0.log" }));
      await exited(daemon, id);
      await daemon.client.runtime.removeContainer({ containerId: id });
      const file = path.join(logs, "some/where/0.log");
      assert.deepEqual(wholeLines(file), ["here"]);
      assert.equal(statSync(file).mode & 0o007, 0);
    }),
  );

  test(
    "does not exist before the start, and can have a colon in any name of its path",
    withLogs(async (pod) => {
      const file = path.join(logs, "a:b/0:1.log");
      const id = await createIn(pod, script("echo here", { logPath: "a:b/0:1.log" }));
      assert.ok(!existsSync(file));
      await start(daemon, id);
      await exited(daemon, id);
      assert.deepEqual(wholeLines(file), ["here"]);
    }),
  );

  test(
    "of a terminal is one stream",
    withLogs(async (pod) => {
      const file = await logged(pod, "tty; echo out; echo err >&2", { tty: true });
      const lines = logLines(file);
      assert.deepEqual(new Set(lines.map(({ stream }) => stream)), new Set(["stdout"]));
      const texts = lines.map(({ text }) => text.replace(/\r$/, ""));
      assert.match(texts[0] ?? "", /^\/dev\/(pts\/\d+|console)$/);
      assert.deepEqual(texts.slice(1), ["out", "err"]);
    }),
  );
});

describe("ReopenContainerLog", () => {
  const counting = "i=0; while :; do echo $i; i=$((i+1)); usleep 2000; done";

  test(
    "continues in a new file after a rotation, and loses no line",
    withLogs(async (pod) => {
      const id = await runIn(pod, script(counting, { logPath: "0.log" }));
      const file = path.join(logs, "0.log");
      const rotated = ["0.log.1", "0.log.2", "0.log.3"].map((name) => path.join(logs, name));
      for (const old of rotated) {
        await until("it has written", () => existsSync(file) && readFileSync(file).length > 500);
        renameSync(file, old);
        await daemon.client.runtime.reopenContainerLog({ containerId: id });
        assert.ok(existsSync(file), "the new file is there when the call answers");
      }
      await until("it writes there", () => readFileSync(file).length > 500);
      await stop(daemon, id);
      const texts = [...rotated, file].flatMap((each) => wholeLines(each));
      assert.ok(texts.length > 40);
      assert.deepEqual(
        texts,
        Array.from(texts, (_, n) => String(n)),
      );
    }),
  );

  test(
    "changes nothing if the log was not rotated",
    withLogs(async (pod) => {
      const id = await runIn(pod, script("echo first; sleep 100000", { logPath: "0.log" }));
      const file = path.join(logs, "0.log");
      await until("it has written", () => existsSync(file) && readFileSync(file).length > 0);
      const { ino } = statSync(file);
      await daemon.client.runtime.reopenContainerLog({ containerId: id });
      assert.equal(statSync(file).ino, ino);
      assert.deepEqual(wholeLines(file), ["first"]);
    }),
  );

  test(
    "requires a running container, and creates no file if it fails",
    withLogs(async (pod) => {
      const id = await createIn(pod, script(counting, { logPath: "0.log" }));
      const reopen = (): Promise<unknown> =>
        daemon.client.runtime.reopenContainerLog({ containerId: id });
      const file = path.join(logs, "0.log");
      await assert.rejects(reopen(), failsWith(code.failedPrecondition));
      await start(daemon, id);
      await until("it has written", () => existsSync(file));
      await stop(daemon, id);
      renameSync(file, `${file}.1`);
      await assert.rejects(reopen(), failsWith(code.failedPrecondition));
      assert.ok(!existsSync(file));
      const call = daemon.client.runtime.reopenContainerLog({ containerId: "0".repeat(64) });
      await assert.rejects(call, failsWith(code.notFound));
    }),
  );

  test(
    "of a container without a log is not an error",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod, container());
        await daemon.client.runtime.reopenContainerLog({ containerId: id });
        assert.equal(await sh(daemon, id, "echo on"), "on");
      }),
    ),
  );
});
