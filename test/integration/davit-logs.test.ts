/** davit.v1.Containers/Logs: logs without access to their files, from a real daemon and with what containers do to them. */
// variants: shim
import assert from "node:assert/strict";
import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { CriClient } from "../../src/client/cri-client.ts";
import { LogLine_Stream, type LogsRequest } from "../../src/gen/davit/v1/containers_pb.ts";
import { makeFifo } from "../../src/linux/stream/index.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  createIn,
  exited,
  inPod,
  Node,
  type Pod,
  remove,
  runIn,
  script,
  start,
  stop,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, until } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let logs = "";
let file = "";
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  logs = path.join(daemon.paths.directory, "logs");
  file = path.join(logs, "0.log");
});
after(() => node[Symbol.asyncDispose]());

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

const run = (pod: Pod, text: string): Promise<string> =>
  runIn(pod, script(text, { logPath: "0.log" }));

type Wanted = Partial<Pick<LogsRequest, "follow" | "tail" | "sinceNs" | "untilNs">>;

/** What a reader with a connection of its own has got. */
interface Reading extends Disposable {
  /** The bytes of both streams, as the container wrote them. */
  readonly text: () => string;
  readonly lines: () => number;
  /** The number in the last line; for a writer that counts. */
  readonly last: () => number;
  /** Resolves when the log is followed, or has ended. */
  readonly opened: Promise<unknown>;
  readonly end: Promise<void>;
}

/** Reads a log. `onMessage` is awaited after each message: the reader reads no more until then. */
function reading(
  containerId: string,
  wanted: Wanted = {},
  onMessage: () => Promise<void> = () => Promise.resolve(),
): Reading {
  const client = new CriClient(daemon.paths.socket);
  const opened = Promise.withResolvers<undefined>();
  const parts: Buffer[] = [];
  let lines = 0;
  const read = async (): Promise<void> => {
    for await (const message of client.containers.logs({ containerId, ...wanted })) {
      for (const { text, partial } of message.lines) {
        parts.push(Buffer.from(text));
        if (!partial) parts.push(Buffer.from("\n"));
      }
      lines += message.lines.length;
      opened.resolve(undefined);
      await onMessage();
    }
  };
  const end = read();
  const open = Promise.race([opened.promise, end]);
  for (const each of [end, open]) each.catch(() => undefined);
  return {
    text: () => Buffer.concat(parts).toString("latin1"),
    lines: () => lines,
    last: () => Number(parts.findLast((part) => part.length > 1)),
    opened: open,
    end,
    [Symbol.dispose]: () => {
      client.close();
    },
  };
}

async function textOf(containerId: string, wanted: Wanted = {}): Promise<string> {
  using log = reading(containerId, wanted);
  await log.end;
  return log.text();
}

/** The lines "0" to "count - 1", and "end". */
function counted(count: number): string {
  return `${Array.from({ length: count }, (_, n) => `${n}\n`).join("")}end\n`;
}

/** Fails with the place of the first difference: the texts are too long to be shown. */
function assertSame(found: string, wanted: string): void {
  if (found === wanted) return;
  const [own, other] = [found.split("\n"), wanted.split("\n")];
  const at = own.findIndex((line, n) => line !== other[n]);
  assert.fail(
    `line ${at} of ${own.length} is ${own[at]} after ${own[at - 1]}; of ${other.length}, it is ${other[at]}`,
  );
}

async function rotate(containerId: string): Promise<void> {
  renameSync(file, `${file}.old`);
  await daemon.client.runtime.reopenContainerLog({ containerId });
}

describe("Logs of a container that has ended", () => {
  test(
    "has its output with streams, times and partial lines",
    withLogs(async (pod) => {
      const beginNs = BigInt(Date.now() - 1) * 1_000_000n;
      const long = "x".repeat(100_000);
      const id = await run(
        pod,
        `echo a; echo b >&2; printf '\\0\\377\\n'; echo ${long}; printf end`,
      );
      await exited(daemon, id);
      const all: { text: string; stream: LogLine_Stream; partial: boolean; timeNs: bigint }[] = [];
      for await (const { lines } of daemon.client.containers.logs({
        containerId: id.slice(0, 12),
      })) {
        for (const { text, ...line } of lines) {
          all.push({ ...line, text: Buffer.from(text).toString("latin1") });
        }
      }
      const of = (stream: LogLine_Stream): string =>
        all
          .filter((line) => line.stream === stream)
          .map(({ text, partial }) => `${text}${partial ? "" : "\n"}`)
          .join("");
      assert.equal(of(LogLine_Stream.STDERR), "b\n");
      assert.equal(of(LogLine_Stream.STDOUT), `a\n\0\xff\n${long}\nend`);
      assert.ok(all.some(({ partial }) => partial));
      const endNs = BigInt(Date.now() + 1) * 1_000_000n;
      for (const { timeNs } of all) assert.ok(timeNs >= beginNs && timeNs <= endNs);

      const [first] = all;
      assert.ok(first !== undefined);
      assert.equal(await textOf(id, { untilNs: first.timeNs }), "");
      assert.equal((await textOf(id, { sinceNs: first.timeNs })).length, 100_011);
      assert.equal(await textOf(id, { sinceNs: endNs }), "");
      assert.equal(await textOf(id, { tail: 0n, follow: true }), "end");
    }),
  );

  test(
    "has the end of a large log without reading it all",
    withLogs(async (pod) => {
      const id = await run(pod, "echo begin");
      await exited(daemon, id);
      const fd = openSync(file, "a");
      const line = `2026-01-31T12:00:00.000000000Z stdout F ${"x".repeat(60)}\n`;
      const block = Buffer.from(line.repeat(10_000));
      for (let n = 0; n < 52; n += 1) writeSync(fd, block);
      writeSync(fd, line.replace(/x+/, "last"));
      closeSync(fd);
      assert.ok(statSync(file).size > 50 << 20);
      const before = readBytes(daemon.pid);
      assert.equal(await textOf(id, { tail: 2n }), `${"x".repeat(60)}\nlast\n`);
      assert.ok(readBytes(daemon.pid) - before < 4 << 20, "it reads the end of the file only");
      using whole = reading(id);
      await whole.end;
      assert.equal(whole.lines(), 520_002);
    }),
  );

  test(
    "is refused where the container has none, or its file is gone",
    withLogs(async (pod) => {
      const without = await runIn(pod, script("echo a"));
      await assert.rejects(
        textOf(without),
        failsWith(code.failedPrecondition, /read the log of container .*: it has no log/),
      );
      const id = await run(pod, "echo a");
      await exited(daemon, id);
      rmSync(file);
      await assert.rejects(textOf(id), failsWith(code.notFound, /0\.log": no such file/));
      assert.equal(await textOf(id, { follow: true }), "");
      await assert.rejects(textOf("0".repeat(64)), failsWith(code.notFound, /container/));
    }),
  );
});

/** The bytes that a process has read by read(2) and similar calls, proc_pid_io(5). */
function readBytes(pid: number): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
}

describe("Logs that are followed", () => {
  test(
    "have each line of a fast writer once, over rotations, until the container has ended",
    withLogs(async (pod) => {
      // Pauses, since two readers on two processors do not keep up with a loop that only writes.
      const counting =
        "i=0; until [ -e /stop ]; do echo $i; i=$((i+1)); [ $((i % 100)) = 0 ] && usleep 5000; done; echo end";
      const id = await createIn(pod, script(counting, { logPath: "0.log" }));
      using early = reading(id, { follow: true });
      await early.opened;
      await start(daemon, id);
      await until("it writes", () => early.lines() > 1_000);
      using late = reading(id, { follow: true, tail: 5n });
      await late.opened;
      for (let n = 0; n < 6; n += 1) {
        await rotate(id);
        const written = Number(/ (\d+)\n$/.exec(readFileSync(`${file}.old`, "latin1"))?.[1]);
        // One that is more than four rotations behind is given up.
        await until("both have more", () => early.last() > written && late.last() > written);
      }
      const touch = { containerId: id, cmd: ["touch", "/stop"], timeout: 10n };
      await daemon.client.runtime.execSync(touch);
      await early.end;
      await late.end;
      // Without "end", and what follows its newline.
      const all = counted(early.text().split("\n").length - 2);
      assertSame(early.text(), all);
      const rest = late.text();
      assertSame(rest, all.slice(-rest.length));
      assert.ok(rest.length < early.text().length);
      assert.equal(
        (await daemon.client.runtime.containerStatus({ containerId: id })).status?.state,
        2,
      );
    }),
  );

  test(
    "have each line although the reader stands still over rotations, and the daemon does not grow",
    withLogs(async (pod) => {
      const id = await run(
        pod,
        `i=0; while [ $i -lt 60000 ]; do echo $i; i=$((i+1)); [ -e /fast ] || usleep 1000; done; echo end; until [ -e /stop ]; do usleep 1000; done`,
      );
      const gate = Promise.withResolvers<undefined>();
      using log = reading(id, { follow: true }, () =>
        log.lines() > 0 ? gate.promise : Promise.resolve(),
      );
      await until("it has lines", () => log.lines() > 0);
      const before = residentMiB(daemon.pid);
      for (let n = 0; n < 3; n += 1) {
        await until("it has written", () => existsSync(file) && statSync(file).size > 2_000);
        await rotate(id);
        // As kubelet does with files beyond its limit.
        rmSync(`${file}.old`);
      }
      const { runtime } = daemon.client;
      await runtime.execSync({ containerId: id, cmd: ["touch", "/fast"], timeout: 10n });
      await until("it has ended its lines", () => readFileSync(file, "utf8").endsWith("F end\n"));
      // Much more than what a client and a daemon hold for each other.
      const more = `2026-01-31T12:00:00.000000000Z stdout F ${"x".repeat(60)}\n`.repeat(10_000);
      for (let n = 0; n < 64; n += 1) appendFileSync(file, more);
      await runtime.execSync({ containerId: id, cmd: ["touch", "/stop"], timeout: 10n });
      await exited(daemon, id);
      assert.ok(residentMiB(daemon.pid) - before < 48);
      gate.resolve(undefined);
      await log.end;
      const text = log.text();
      assertSame(text.slice(0, counted(60_000).length), counted(60_000));
      assert.equal(text.length, counted(60_000).length + 640_000 * 61);
      assert.ok(residentMiB(daemon.pid) - before < 96);
    }),
  );

  test(
    "end when the container is removed, and prevent nothing",
    withLogs(async (pod) => {
      const id = await run(pod, "echo a; sleep 100000");
      using log = reading(id, { follow: true });
      await until("the line is there", () => log.text() === "a\n");
      await stop(daemon, id);
      await log.end;
      const created = await createIn(pod, script("echo never", { logPath: "1.log" }));
      using waiting = reading(created, { follow: true });
      await waiting.opened;
      await remove(daemon, created);
      await waiting.end;
      assert.equal(waiting.text(), "");
    }),
  );

  test(
    "end for a client that leaves, and 64 are served at once",
    withLogs(async (pod) => {
      const id = await run(pod, "echo a; sleep 100000");
      using one = reading(id, { follow: true });
      await one.opened;
      const others = Array.from({ length: 63 }, () => reading(id, { follow: true }));
      await Promise.all(others.map(({ opened }) => opened));
      await assert.rejects(textOf(id), failsWith(code.resourceExhausted, /64 logs are being read/));
      for (const other of others) other[Symbol.dispose]();
      await until("there is room again", () =>
        textOf(id).then(
          (text) => text === "a\n",
          () => false,
        ),
      );
      assert.equal(one.text(), "a\n");
    }),
  );
});

/** The memory of a process that is in use, in MiB. */
function residentMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

describe("A log that somebody has replaced", () => {
  test(
    "is refused if it is a link, a pipe or a device, and its container is not disturbed",
    withLogs(async (pod) => {
      const id = await run(pod, "echo a; sleep 100000");
      const secret = path.join(daemon.paths.directory, "secret");
      writeFileSync(secret, "2026-01-31T12:00:00.000000000Z stdout F secret\n");
      await until("it has written", () => existsSync(file) && statSync(file).size > 0);
      for (const [make, words] of [
        [() => symlinkSync(secret, file), /it is a symbolic link, not a file/],
        [() => makeFifo(file), /it is a named pipe, not a file/],
        [() => symlinkSync("/dev/zero", file), /it is a symbolic link, not a file/],
      ] as const) {
        using following = reading(id, { follow: true });
        await until("it follows", () => following.text() === "a\n");
        renameSync(file, `${file}.old`);
        make();
        await assert.rejects(following.end, failsWith(code.failedPrecondition, words));
        assert.equal(following.text(), "a\n");
        for (const follow of [false, true]) {
          await assert.rejects(textOf(id, { follow }), failsWith(code.failedPrecondition, words));
        }
        renameSync(`${file}.old`, file);
      }
      // A link instead of the directory.
      renameSync(logs, `${logs}.real`);
      symlinkSync(`${logs}.real`, logs);
      const words = /logs" is a symbolic link, and logs are not/;
      await assert.rejects(textOf(id), failsWith(code.failedPrecondition, words));
      rmSync(logs);
      renameSync(`${logs}.real`, logs);
      assert.equal(await textOf(id), "a\n");
      rmSync(secret);
    }),
  );

  test(
    "is read in bounded memory, whatever is in it",
    withLogs(async (pod) => {
      const id = await run(pod, "echo a; sleep 100000");
      await until("it has written", () => existsSync(file) && statSync(file).size > 0);
      const before = residentMiB(daemon.pid);
      appendFileSync(file, "yesterday stdout F no time\n\n\0\0\n2026-01-31T12:00:00Z stderr F ");
      // NUL without a newline, which takes no space on the disk.
      const hole = 512 << 20;
      truncateSync(file, statSync(file).size + hole);
      appendFileSync(file, "end\n2026-01-31T12:00:01Z stdout F last\n");
      assert.equal(await textOf(id, { tail: 1n }), "last\n");
      const short: string[] = [];
      let longest = 0;
      let bytes = 0;
      for await (const { lines } of daemon.client.containers.logs({ containerId: id })) {
        for (const { text, stream, partial } of lines) {
          longest = Math.max(longest, text.length);
          if (stream === LogLine_Stream.STDERR) bytes += text.length;
          else short.push(`${Buffer.from(text).toString("latin1")}${partial ? "+" : ""}`);
        }
      }
      assert.deepEqual(short, ["a", "no time", "", "\0\0", "last"]);
      assert.equal(bytes, hole + "end".length);
      assert.ok(longest < 1 << 20, `${longest}`);
      assert.ok(residentMiB(daemon.pid) - before < 96);
    }),
  );
});
