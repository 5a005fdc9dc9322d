import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { after, describe, test } from "node:test";

import type { DescriptorStream } from "../stream/descriptor-stream.ts";
import { openFds, until } from "../testing/leaks.ts";
import { ask, Monitored, type MonitorOptions } from "../testing/monitored.ts";

const streams = new Set<DescriptorStream>();
after(() => {
  for (const stream of streams) stream.destroy();
});

function connect(monitored: Monitored, kind: string): DescriptorStream {
  const stream = monitored.connect(kind);
  streams.add(stream);
  return stream;
}

/** What a client gets until the end, each stream by itself. */
async function outputOf(
  stream: DescriptorStream,
): Promise<{ readonly out: string; readonly err: string }> {
  const parts: Record<number, Buffer[]> = { 2: [], 3: [] };
  for await (const packet of stream as AsyncIterable<Buffer>) {
    assert.ok(packet.length <= 8192);
    (parts[packet[0] ?? 0] ?? assert.fail(`packet of type ${packet[0]}`)).push(packet.subarray(1));
  }
  return { out: String(Buffer.concat(parts[2] ?? [])), err: String(Buffer.concat(parts[3] ?? [])) };
}

const startWith = (script: string, ...flags: readonly string[]): Promise<Monitored> =>
  Monitored.start(script, { log: "log", flags } satisfies MonitorOptions);

/** Waits until the monitor has dealt with all that came before. */
async function settled(monitored: Monitored): Promise<void> {
  const client = connect(monitored, "c");
  assert.match((await ask(client, "stat")) ?? "", /^ok \d+ \d+$/);
  client.destroy();
}

describe("clients of davit-monitor", () => {
  test("get output from their start on, and its end with the container", async () => {
    using monitored = await startWith(
      "echo early; read line; echo $line; echo err >&2; exit 2",
      "--stdin",
    );
    await monitored.untilIn("log", "early");
    const outputs = [connect(monitored, "o"), connect(monitored, "o")].map(outputOf);
    await settled(monitored);
    const writer = connect(monitored, "i");
    writer.write("late\n");
    const expected = { out: "late\n", err: "err\n" };
    assert.deepEqual(await Promise.all([...outputs, outputOf(writer)]), [
      expected,
      expected,
      expected,
    ]);
    assert.equal(await monitored.exitCode(), "2");
  });

  test("end the input of --stdin-once, and not that of --stdin", async () => {
    for (const [flag, end] of [
      ["--stdin-once", "shutdown"],
      ["--stdin-once", "close"],
      ["--stdin", "shutdown"],
      ["--stdin", "close"],
    ] as const) {
      using monitored = await startWith("cat; echo ended; exec sleep 100", flag);
      // Neither what output clients send nor their end is input.
      const reader = connect(monitored, "o");
      reader.end("not input");
      const writer = connect(monitored, "i");
      writer.write("first\n");
      await monitored.untilIn("log", "first\n");
      if (end === "shutdown") writer.end();
      else writer.destroy();
      const next = connect(monitored, "i");
      next.write("second\n");
      await monitored.untilIn("log", flag === "--stdin" ? "second\n" : "ended\n");
      await settled(monitored);
      const texts = monitored
        .read("log")
        .split("\n")
        .map((line) => line.split(" ").slice(3).join(" "));
      assert.deepEqual(
        texts,
        flag === "--stdin" ? ["first", "second", ""] : ["first", "ended", ""],
        `${flag} ${end}`,
      );
    }
  });

  test("have their input written whole, even if the container reads it late", async () => {
    using monitored = await startWith(
      "until [ -e go ]; do sleep 0.05; done; sha256sum; exit 3",
      "--stdin-once",
    );
    const bytes = Buffer.alloc(700_001, "0123456789\n");
    const writer = connect(monitored, "i");
    writer.end(bytes);
    const { createHash } = await import("node:crypto");
    await settled(monitored); // others are served meanwhile
    const { writeFileSync } = await import("node:fs");
    writeFileSync(monitored.path("go"), "");
    assert.equal(await monitored.exitCode(), "3");
    assert.match(
      monitored.read("log"),
      new RegExp(createHash("sha256").update(bytes).digest("hex")),
    );
  });

  test("that close after their input lose none of it", async () => {
    using monitored = await startWith(
      "until [ -e go ]; do sleep 0.05; done; wc -c",
      "--stdin-once",
    );
    const writer = connect(monitored, "i");
    // What fits neither into the pipe nor into the monitor is in the socket when the client is gone.
    writer.write(Buffer.alloc(90_000, "x"));
    await until("all is sent", () => writer.writableLength === 0);
    writer.destroy();
    await settled(monitored);
    const { writeFileSync } = await import("node:fs");
    writeFileSync(monitored.path("go"), "");
    await monitored.exitCode();
    assert.match(monitored.read("log"), / F 90000\n/);
  });

  test("that take nothing for 2 s are disconnected, and others are served meanwhile", async () => {
    using monitored = await Monitored.start(
      "read line; head -c 30000000 /dev/zero; echo > written; exec sleep 100",
      { flags: ["--stdin"] },
    );
    const slow = connect(monitored, "o");
    await settled(monitored);
    const writer = connect(monitored, "i");
    let size = 0;
    writer.on("data", (packet: Buffer) => {
      size += packet.length - 1;
    });
    writer.write("go\n");
    await until("output comes", () => size > 0);
    const begin = performance.now();
    await settled(monitored);
    await until("all is written", () => existsSync(monitored.path("written")), 20_000);
    assert.ok(performance.now() - begin > 1000, "the container waited");
    await until("the other one has it", () => size === 30_000_000);
    // It gets what was in its queue, and then the end.
    const { out } = await outputOf(slow);
    assert.ok(out.length > 100_000 && out.length < 29_000_000, String(out.length));
    await settled(monitored);
  });

  test("that pause for less lose nothing, also of the last output", async () => {
    using monitored = await startWith("read line; head -c 20000000 /dev/zero; exit 9", "--stdin");
    const readers = [connect(monitored, "o"), connect(monitored, "o")];
    await settled(monitored);
    const writer = connect(monitored, "i");
    writer.end("go\n");
    writer.resume();
    const sizes = readers.map(async (reader, n) => {
      let size = 0;
      let pauseAt = 1_000_000;
      for await (const packet of reader as AsyncIterable<Buffer>) {
        size += packet.length - 1;
        if (n === 0 || size < pauseAt) continue;
        pauseAt = size + 6_300_000;
        await delay(700);
      }
      return size;
    });
    assert.equal(await monitored.exitCode(), "9");
    assert.deepEqual(await Promise.all(sizes), [20_000_000, 20_000_000]);
  });

  test("that ask and do not read the answers are disconnected", async () => {
    using monitored = await startWith("exec sleep 100");
    const controller = connect(monitored, "c");
    for (let n = 0; n < 20_000 && !controller.destroyed; n++) controller.write("stat");
    await until("it is disconnected", () => clientsOf(monitored) === 0);
    await settled(monitored);
  });

  test("are 32 at most, and one that does not say what it is loses its place", async () => {
    using monitored = await startWith("exec sleep 100");
    const clients = Array.from({ length: 40 }, (_, n) => connect(monitored, n < 28 ? "o" : ""));
    let ended = 0;
    for (const client of clients) client.once("end", () => ended++).resume();
    await until("eight are disconnected", () => ended === 8);
    await delay(100);
    assert.equal(ended, 8);
    await until("those without a word are disconnected", () => ended === 12, 20_000);
    assert.equal(clientsOf(monitored), 28);
    const late = connect(monitored, "c");
    assert.equal(await ask(late, "stat"), "ok 0 0");
    late.destroy();
    for (const client of clients) client.destroy();
    await until("all have left", () => clientsOf(monitored) === 0);
    await settled(monitored);
  });

  test("leave room for requests, however many have output", async () => {
    using monitored = await startWith("exec sleep 100", "--stdin");
    let ended = 0;
    for (let n = 0; n < 31; n++) {
      connect(monitored, n % 2 === 0 ? "o" : "i")
        .once("end", () => ended++)
        .resume();
    }
    await until("those that are too many are disconnected", () => ended === 3);
    const requests = connect(monitored, "c");
    assert.equal(await ask(requests, "stat"), "ok 0 0");
    assert.equal(clientsOf(monitored), 29);
  });

  test("survive any bytes, and so does the monitor", async () => {
    using monitored = await startWith("cat", "--stdin");
    const { pid } = monitored.child;
    const fds = openFds(pid).size;
    const { randomBytes, randomInt } = await import("node:crypto");
    const words = [
      "log",
      "size",
      "stat",
      "size 1 2",
      "size 99999999999999999999 1",
      "size  ",
      "o",
      "i",
      "c",
      "\0",
    ];
    const closed: Promise<unknown>[] = [];
    for (let n = 0; n < 300; n++) {
      const client = connect(monitored, ["", "o", "c", "i", "cc"][n % 5] ?? "");
      client.resume();
      for (let m = 0; m < 6; m++) {
        const isWord = randomInt(2) === 0;
        client.write(
          isWord ? (words[randomInt(words.length)] ?? "") : randomBytes(randomInt(1, 8192)),
        );
      }
      if (n % 3 === 0) client.end();
      if (n % 3 === 1) client.destroy();
      if (n % 3 !== 1) setTimeout(() => client.destroy(), 5);
      closed.push(once(client, "close"));
      // The queue of connections is in order: an answer says that all before were accepted.
      if (n % 10 === 9) {
        await Promise.all(closed.splice(0));
        await settled(monitored);
      }
    }
    await until("all are gone", () => clientsOf(monitored) === 0);
    await settled(monitored);
    await until("no descriptor is left", () => openFds(pid).size === fds);
  });

  test("that send descriptors leave none with the monitor", async () => {
    using monitored = await startWith("cat", "--stdin");
    const { pid } = monitored.child;
    const count = openFds(pid).size;
    const { openSync, closeSync } = await import("node:fs");
    const fd = openSync("/etc/passwd", "r");
    try {
      for (const kind of ["o", "i", "c", ""]) {
        const client = connect(monitored, kind);
        client.resume();
        await settled(monitored);
        for (const text of ["log", "stat", "x", "size 1 1"]) {
          try {
            client.sendDescriptor(Buffer.from(text), fd);
          } catch {
            // It was disconnected.
          }
          await settled(monitored);
        }
        client.destroy();
      }
    } finally {
      closeSync(fd);
    }
    await until("no descriptor is left", () => openFds(pid).size === count);
  });

  test("get an answer to each request, in order", async () => {
    using monitored = await startWith("echo one; echo two >&2; exec sleep 100");
    await monitored.untilIn("log", "two");
    await monitored.untilIn("log", "one");
    const client = connect(monitored, "c");
    assert.equal(await ask(client, "stat"), "ok 2 0");
    assert.equal(await ask(client, "log"), "error no descriptor");
    assert.equal(await ask(client, "size 10 20"), "error 25");
    assert.equal(await ask(client, "size 10"), "error 22");
    assert.equal(await ask(client, "size 10 65536"), "error 22");
    assert.equal(await ask(client, "size 1 2 "), "error 22");
    for (const text of ["", "st", "stats", "STAT", "x".repeat(8000)].slice(1)) {
      assert.equal(await ask(client, text), "error unknown request", text.slice(0, 9));
    }
    const answers: string[] = [];
    client.on("data", (packet: Buffer) => answers.push(String(packet)));
    for (const text of ["stat", "no", "size 1 1"]) client.write(text);
    await until("three answers", () => answers.length === 3);
    assert.deepEqual(answers, ["ok 2 0", "error unknown request", "error 25"]);
  });

  test("use the terminal, and set its size", async () => {
    using monitored = await startWith(
      'stty size; read line; echo "got $line"; stty size; echo err >&2; exit 4',
      "--terminal",
      "--stdin-once",
    );
    const watcher = outputOf(connect(monitored, "o"));
    await monitored.untilIn("log", "0 0\r\n");
    const client = connect(monitored, "c");
    assert.equal(await ask(client, "size 43 132"), "ok");
    const writer = connect(monitored, "i");
    writer.write("typed\n");
    assert.equal(await monitored.exitCode(), "4");
    const { out, err } = await watcher;
    assert.match(out, /typed\r\ngot typed\r\n43 132\r\nerr\r\n$/);
    assert.equal(err, "");
    const lines = monitored
      .read("log")
      .split("\n")
      .map((line) => line.split(" ").slice(1).join(" "));
    assert.deepEqual(lines.slice(0, -1), [
      "stdout F 0 0\r",
      "stdout F typed\r",
      "stdout F got typed\r",
      "stdout F 43 132\r",
      "stdout F err\r",
    ]);
  });

  test("of a terminal end nothing, and only the first may write with --stdin-once", async () => {
    using monitored = await startWith("cat", "--terminal", "--stdin-once");
    const writer = connect(monitored, "i");
    writer.write("one\n");
    await monitored.untilIn("log", "one");
    writer.end();
    await settled(monitored);
    const next = connect(monitored, "i");
    next.write("two\n");
    await settled(monitored);
    await delay(100);
    assert.doesNotMatch(monitored.read("log"), /two/);
    assert.match(readFileSync(`/proc/${monitored.pid}/stat`, "utf8"), /^\d+ \(\w+\) S/);
  });

  test("leave a terminal that nobody has open without work", async () => {
    using monitored = await startWith(
      "exec </dev/null >/dev/null 2>&1; echo > closed; exec sleep 100",
      "--terminal",
    );
    await until("the terminal is closed", () => {
      try {
        return monitored.read("closed") !== "";
      } catch {
        return false;
      }
    });
    const ticks = (): number => {
      const fields = readFileSync(`/proc/${monitored.child.pid}/stat`, "utf8").split(" ");
      return Number(fields[13]) + Number(fields[14]);
    };
    const before = ticks();
    await delay(1000);
    assert.ok(ticks() - before <= 3, `${ticks() - before} ticks`);
    await settled(monitored);
  });
});

/** The clients that are connected: the monitor's sockets but the one that listens. */
function clientsOf(monitored: Monitored): number {
  const targets = [...openFds(monitored.child.pid).values()];
  return targets.filter((target) => target.startsWith("socket:")).length - 1;
}
