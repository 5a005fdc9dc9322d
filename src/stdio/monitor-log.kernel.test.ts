/**
 * The logs that davit-monitor writes (native/monitor/log.h), compared with CriLogLines, which writes those of shims.
 */
import assert from "node:assert/strict";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, test } from "node:test";

import { formatLogTime, parseLogTime } from "../base/log-time.ts";
import { mountTmpfs, unmount } from "../linux/mount/index.ts";
import { until } from "../linux/testing/leaks.ts";
import { ask, Monitored } from "../linux/testing/monitored.ts";
import { CriLogLines, type LogStream } from "./cri-log-lines.ts";

/** Writes out.bin to stdout and err.bin to stderr, in pieces of random sizes. */
const writer = `
import os, random, sys
random.seed(int(sys.argv[1]))
data = [open("out.bin", "rb").read(), open("err.bin", "rb").read()]
at = [0, 0]
while at[0] < len(data[0]) or at[1] < len(data[1]):
  s = random.randrange(2)
  n = random.choice([1, 3, 50, 4096, 16383, 16384, 16385, 32768, 70000])
  os.write(s + 1, data[s][at[s]:at[s] + n])
  at[s] += n
`;

/** A generator that a seed repeats. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Lines of lengths around the limit of a part, and empty ones; about half end without a newline. */
function randomOutput(random: (below: number) => number): Buffer {
  const lengths = [0, 1, 20, 200, 5000, 16383, 16384, 16385, 32768, 32769, 50_000];
  const pieces: Buffer[] = [];
  for (let n = 0; n < 60; n++) {
    const length = lengths[random(lengths.length)] ?? 0;
    pieces.push(Buffer.alloc(length, 33 + random(200)), Buffer.from("\n"));
  }
  const all = Buffer.concat(pieces);
  return random(2) === 0 ? all : all.subarray(0, all.length - 1 - random(300));
}

/** The records of one stream without their times. */
function textsOf(log: string, stream: LogStream): string[] {
  return log.split("\n").flatMap((line) => {
    const [, name = "", rest = ""] = / (stdout|stderr) (.*)$/s.exec(line) ?? [];
    return name === stream && line.indexOf(` ${stream} `) === 30 ? [rest] : [];
  });
}

const record = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] .*$/s;

describe("the log of davit-monitor", () => {
  test("has the records that CriLogLines writes, however the output is cut", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      using monitored = await Monitored.start(
        `until [ -e go ]; do sleep 0.01; done; exec python3 writer.py ${seed}`,
        { log: "log" },
      );
      const random = generator(seed);
      const output = { stdout: randomOutput(random), stderr: randomOutput(random) };
      writeFileSync(monitored.path("writer.py"), writer);
      writeFileSync(monitored.path("out.bin"), output.stdout);
      writeFileSync(monitored.path("err.bin"), output.stderr);
      const before = BigInt(Date.now()) * 1_000_000n;
      writeFileSync(monitored.path("go"), "");
      assert.equal(await monitored.exitCode(), "0");
      const log = readFileSync(monitored.path("log"), "latin1");
      for (const stream of ["stdout", "stderr"] as const) {
        const lines = new CriLogLines(stream);
        const expected = [lines.push(output[stream], 0n), lines.end(0n)]
          .map((text) => text.toString("latin1"))
          .join("");
        assert.deepEqual(textsOf(log, stream), textsOf(expected, stream), `seed ${seed} ${stream}`);
      }
      const after = BigInt(Date.now() + 1) * 1_000_000n;
      for (const line of log.split("\n").slice(0, -1)) {
        assert.match(line, record);
        const time = parseLogTime(line.slice(0, 30)) ?? assert.fail(line.slice(0, 60));
        assert.ok(time >= before && time <= after);
        assert.equal(formatLogTime(time), line.slice(0, 30));
      }
    }
  });

  test("has a line when its newline comes, and a part at 16 KiB, after a while or at the end", async () => {
    using monitored = await Monitored.start(
      "cat; printf 'no newline'; printf 'nor here' >&2; exit 0",
      {
        log: "log",
        flags: ["--stdin-once"],
      },
    );
    const client = monitored.connect("i");
    const tags = (): string[] =>
      textsOf(monitored.read("log"), "stdout").map(
        (text) => `${text.slice(0, 2)}${text.length - 2}`,
      );
    client.write("prompt> answer\n");
    await monitored.untilIn("log", "F prompt> answer\n");
    client.write("\n");
    client.write(Buffer.alloc(16_384, "x"));
    await until("the empty line is there", () => tags().length === 2);
    await until("the incomplete line is there", () => tags().length === 3);
    client.write("\n");
    await until("it is whole", () => tags().length === 4);
    client.end(Buffer.concat([Buffer.alloc(16_385, "y"), Buffer.from("\n")]));
    await monitored.exitCode();
    assert.deepEqual(tags(), ["F 14", "F 0", "P 16384", "F 0", "P 16384", "F 1", "P 10"]);
    assert.deepEqual(textsOf(monitored.read("log"), "stderr"), ["P nor here"]);
    client.destroy();
  });

  test("is replaced while the container writes 10 MB/s, without a lost or doubled line", async (t) => {
    const flood = [
      "import os, time",
      "n = 0; begin = time.monotonic()",
      "while not os.path.exists('stop'):",
      "  os.write(1, b''.join(b'%09d %s\\n' % (n + i, b'.' * ((n + i) * 7 % 180)) for i in range(1000))); n += 1000",
      "  time.sleep(max(0, begin + n * 100 / 10e6 - time.monotonic()))",
    ].join("\n");
    using monitored = await Monitored.start(`exec python3 -c "$(cat <<'EOF'\n${flood}\nEOF\n)"`, {
      log: "log.0",
    });
    const client = monitored.connect("c");
    const times: number[] = [];
    await until("it writes", () => statSync(monitored.path("log.0")).size > 0);
    for (let n = 1; n <= 20; n++) {
      await delay(60);
      const fd = openSync(monitored.path(`log.${n}`), "a");
      const begin = performance.now();
      assert.equal(await ask(client, "log", fd), "ok");
      times.push(performance.now() - begin);
      closeSync(fd);
      const size = statSync(monitored.path(`log.${n - 1}`)).size;
      assert.ok(size > 0);
      await until("the next one is used", () => statSync(monitored.path(`log.${n}`)).size > 0);
      assert.equal(
        statSync(monitored.path(`log.${n - 1}`)).size,
        size,
        "the old one is not written any more",
      );
    }
    writeFileSync(monitored.path("stop"), "");
    await monitored.exitCode();
    client.destroy();
    let bytes = 0;
    let next = 0;
    for (let n = 0; n <= 20; n++) {
      const log = readFileSync(monitored.path(`log.${n}`), "latin1");
      bytes += log.length;
      assert.ok(log.endsWith("\n"), "each log ends with a whole line");
      for (const line of log.split("\n").slice(0, -1)) {
        const expected = `F ${String(next).padStart(9, "0")} ${".".repeat((next * 7) % 180)}`;
        assert.equal(line.slice(38), expected);
        next++;
      }
    }
    assert.ok(bytes > 10e6, `${bytes} bytes`);
    t.diagnostic(
      `${next} lines, ${bytes} bytes, longest switch ${Math.max(...times).toFixed(1)} ms`,
    );
  });

  test("loses whole records on a full disk, and continues when there is room", async () => {
    using directory = new Monitored("true");
    await directory.exitCode();
    const disk = directory.path("disk");
    mkdirSync(disk);
    await mountTmpfs(disk, { sizeBytes: 64 * 1024, mode: 0o700 });
    try {
      const log = join(disk, "log");
      writeFileSync(join(disk, "other"), Buffer.alloc(20_000));
      using monitored = await Monitored.start("cat; exec sleep 100", { log, flags: ["--stdin"] });
      const client = monitored.connect("i");
      const controller = monitored.connect("c");
      const counts = async (): Promise<readonly [written: number, dropped: number]> => {
        const [, written, dropped] = (await ask(controller, "stat"))?.split(" ") ?? [];
        return [Number(written), Number(dropped)];
      };
      let sent = 0;
      for (; sent < 50; sent++)
        client.write(`${String(sent).padStart(4, "0")}${"x".repeat(3000)}\n`);
      let sum: readonly [number, number] = [0, 0];
      for (const end = Date.now() + 10_000; sum[0] + sum[1] < 50 && Date.now() < end; )
        sum = await counts();
      assert.equal(sum[0] + sum[1], 50);
      assert.ok(sum[0] > 5 && sum[1] > 5, sum.join());
      const lines = readFileSync(log, "latin1").split("\n");
      assert.equal(lines.length, sum[0] + 1);
      for (const line of lines.slice(0, -1)) assert.match(line, /^.{30} stdout F \d{4}x{3000}$/);
      rmSync(join(disk, "other"));
      client.write("room again\n");
      await until("there is a new line", () => readFileSync(log, "latin1").includes("room again"));
      const now = readFileSync(log, "latin1").split("\n");
      assert.deepEqual(now.slice(0, lines.length - 1), lines.slice(0, -1));
      assert.match(now.at(-2) ?? "", /^.{30} stdout F room again$/);
      client.destroy();
      controller.destroy();
    } finally {
      await unmount(disk);
    }
  });

  test("is emptied before a record that would make it larger than --log-max", async () => {
    using monitored = await Monitored.start("cat; seq 1 5000; exit 0", {
      log: "log",
      flags: ["--stdin-once", "--log-max", "10000"],
    });
    const client = monitored.connect("i");
    client.write(`${"a".repeat(4000)}\n${"b".repeat(4000)}\n`);
    await monitored.untilIn("log", "bb\n");
    client.write(`${"c".repeat(4000)}\n`);
    await monitored.untilIn("log", "cc\n");
    assert.deepEqual(textsOf(monitored.read("log"), "stdout"), [`F ${"c".repeat(4000)}`]);
    // A record that is larger by itself is written whole.
    client.end(`${"d".repeat(12_000)}\n`);
    await monitored.exitCode();
    const log = monitored.read("log");
    assert.ok(log.length <= 10_000 && log.length > 1000, String(log.length));
    const numbers = textsOf(log, "stdout").map((text) => Number(text.slice(2)));
    assert.deepEqual(
      numbers,
      Array.from(numbers, (_, n) => 5000 - numbers.length + 1 + n),
    );
    client.destroy();
  });

  test("can be a device, and then nothing is logged", async () => {
    using monitored = await Monitored.start("cat", { log: "log", flags: ["--stdin-once"] });
    const client = monitored.connect("i");
    client.write("one\n");
    await monitored.untilIn("log", "one");
    const controller = monitored.connect("c");
    const none = openSync("/dev/null", "w");
    assert.equal(await ask(controller, "log", none), "ok");
    closeSync(none);
    client.write("two\n");
    assert.equal(String((await onceData(client)).subarray(1)), "two\n");
    assert.equal(await ask(controller, "stat"), "ok 1 0");
    for (const mode of ["r", "r+"]) {
      const file = openSync(monitored.path("log"), mode);
      assert.equal(await ask(controller, "log", file), "error no log");
      closeSync(file);
    }
    const file = openSync(monitored.path("log"), "a");
    assert.equal(await ask(controller, "log", file), "ok");
    closeSync(file);
    client.end("three");
    await monitored.exitCode();
    assert.deepEqual(textsOf(monitored.read("log"), "stdout"), ["F one", "P three"]);
    assert.deepEqual(readdirSync(monitored.exits), ["c1"]);
    client.destroy();
    controller.destroy();
  });

  test("changes to the new file only if its sender gets the answer", async () => {
    using monitored = await Monitored.start("cat", { log: "log", flags: ["--stdin-once"] });
    const controller = monitored.connect("c");
    await ask(controller, "stat");
    const file = openSync(monitored.path("new"), "a");
    monitored.child.kill(19); // SIGSTOP
    controller.sendDescriptor(Buffer.from("log"), file);
    controller.refuseInput();
    monitored.child.kill(18);
    closeSync(file);
    const client = monitored.connect("i");
    client.end("where\n");
    await monitored.exitCode();
    assert.deepEqual(textsOf(monitored.read("log"), "stdout"), ["F where"]);
    assert.equal(monitored.read("new"), "");
    client.destroy();
    controller.destroy();
  });
});

async function onceData(stream: ReturnType<Monitored["connect"]>): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const onData = (packet: Buffer): void => {
    if (!String(packet).includes("two")) return;
    stream.off("data", onData);
    resolve(packet);
  };
  stream.on("data", onData);
  return promise;
}
