/** davit.v1.Containers/Exec: calls that are invalid, commands that do not start, clients that leave or are slow. */
// variants: shim, runc
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { GrpcClient } from "../../src/wire/grpc/client.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { DaemonMemory } from "../support/daemon-memory.ts";
import {
  CommandSession,
  gone,
  openSession,
  type Part,
  processesWith,
  runReaper,
} from "../support/suites/command-sessions.ts";
import {
  byShim,
  closePod,
  exec,
  Node,
  openPod,
  type Pod,
  remove,
  runIn,
  stop,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, openDirectories, until } from "../support/suites/pods.ts";

const mebibyte = 1024 * 1024;

let node: Node;
let daemon: TestDaemon;
let pod: Pod;
let id = "";
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  openDirectories(daemon);
  pod = await openPod(daemon, bare());
  id = await runReaper(pod);
});
after(async () => {
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

type Start = Parameters<typeof openSession>[3];
const shell = (text: string, start?: Start, options?: Parameters<typeof openSession>[4]) =>
  openSession(daemon, id, ["/bin/sh", "-c", text], start, options);

describe("an invalid call", () => {
  const rejects = async (session: CommandSession, message: RegExp): Promise<void> => {
    await assert.rejects(session.end, failsWith(code.invalidArgument, message));
  };

  test("whose first message is not a start", async () => {
    const parts: readonly Part[] = [
      { case: "stdin", value: Buffer.from("x") },
      { case: "signal", value: "SIGTERM" },
      { case: "size", value: { width: 1, height: 1 } },
      { case: "stdinEnd", value: {} },
    ];
    for (const first of parts) {
      await using session = new CommandSession(daemon, first);
      await rejects(session, /the first message must be start/);
    }
    await using silent = new CommandSession(daemon, undefined);
    silent.endMessages();
    await rejects(silent, /the first message must be start/);
  });

  test("that is not a message at all", async () => {
    using client = new GrpcClient({ path: daemon.paths.socket });
    async function* garbage(): AsyncGenerator<Uint8Array> {
      yield Buffer.from("\u00ff\u00ff\u00ffgarbage", "latin1");
    }
    await assert.rejects(async () => {
      for await (const _ of client.stream("/davit.v1.Containers/Exec", garbage())) assert.fail();
    }, failsWith(code.invalidArgument));
  });

  for (const [what, start, part, message] of [
    ["a second start", {}, { case: "start", value: {} }, /a second start/],
    ["stdin without stdin", {}, { case: "stdin", value: Buffer.from("x") }, /has no stdin/],
    [
      "a size without a terminal",
      {},
      { case: "size", value: { width: 1, height: 1 } },
      /no terminal/,
    ],
    [
      "a size of 0",
      { terminal: { width: 80, height: 24 } },
      { case: "size", value: { width: 0, height: 24 } },
      /must be 1 to 65535/,
    ],
    ["an unknown signal", {}, { case: "signal", value: "SIGWHAT" }, /no signal "SIGWHAT"/],
  ] as const) {
    test(`${what} ends the command that runs`, async () => {
      const mark = `100${performance.now().toFixed(3).replace(".", "")}`;
      await using session = openSession(daemon, id, ["sleep", mark], start);
      await session.started();
      await until("it runs", () => processesWith(mark).length > 0);
      await session.send(part);
      await rejects(session, message);
      await gone(mark);
    });
  }

  test("names what is wrong with the start", async () => {
    const open = (command: readonly string[], start?: Start) =>
      openSession(daemon, id, command, start);
    await using empty = open([]);
    await rejects(empty, /command is empty/);
    await using relative = open(["true"], { workingDir: "tmp" });
    await rejects(relative, /"tmp" is not an absolute path/);
    await using user = open(["true"], { user: "app:" });
    await rejects(user, /must be USER, UID/);
    await using unnamed = open(["true"], { env: [{ name: "", value: Buffer.from("x") }] });
    await rejects(unnamed, /a key is empty/);
    await using small = open(["true"], { terminal: { width: 80, height: 0 } });
    await rejects(small, /must be 1 to 65535/);
  });

  test("for a container that is not there, or has ended", async () => {
    await using none = openSession(daemon, "0000", ["true"]);
    await assert.rejects(none.end, failsWith(code.notFound, /0000/));
    const ended = await runIn(pod);
    await stop(daemon, ended);
    await using late = openSession(daemon, ended, ["true"]);
    await assert.rejects(late.end, failsWith(code.failedPrecondition, /is exited, not running/));
    await remove(daemon, ended);
  });
});

describe("a command that cannot be started", () => {
  for (const terminal of [undefined, { width: 80, height: 24 }]) {
    const how = terminal === undefined ? "without" : "with";
    test(`fails with the message of the OCI runtime, ${how} a terminal`, async () => {
      const start = terminal === undefined ? {} : { terminal };
      await using session = openSession(daemon, id, ["no-such-command"], start);
      await assert.rejects(session.end, /no-such-command/);
      assert.deepEqual(session.kinds, []);
    });

    test(`fails for a directory that does not exist, ${how} a terminal`, async () => {
      const start = { workingDir: "/no/such", ...(terminal && { terminal }) };
      await using session = openSession(daemon, id, ["true"], start);
      await assert.rejects(
        session.end,
        failsWith(code.invalidArgument, /working directory "\/no\/such"/),
      );
      assert.deepEqual(session.kinds, []);
    });
  }
});

describe("a client that leaves", () => {
  const marked = (): { readonly mark: string; readonly text: string } => {
    const mark = `200${performance.now().toFixed(3).replace(".", "")}`;
    return { mark, text: `sleep ${mark} & sleep ${mark}; true` };
  };

  test(
    "by cancelling its call ends the command with its session",
    leakless(served, async () => {
      const { mark, text } = marked();
      const controller = new AbortController();
      await using session = shell(text, { stdin: true }, { signal: controller.signal });
      await session.started();
      await until("it runs", () => processesWith(`sleep\0${mark}`).length === 2);
      controller.abort();
      await assert.rejects(session.end);
      await gone(mark);
    }),
  );

  test("by passing its deadline ends the command", async () => {
    const { mark, text } = marked();
    const request = { containerId: id, command: ["/bin/sh", "-c", text] };
    async function* start() {
      yield { part: { case: "start", value: request } } as const;
    }
    await assert.rejects(async () => {
      for await (const _ of daemon.client.containers.exec(start(), { timeoutMs: 1_000 }));
    }, failsWith(code.deadlineExceeded));
    await gone(mark);
  });

  test(
    "by losing its connection ends the command with its session",
    leakless(served, async () => {
      const { mark, text } = marked();
      await using session = shell(text, { terminal: { width: 80, height: 24 }, stdin: true });
      await session.started();
      await until("it runs", () => processesWith(`sleep\0${mark}`).length === 2);
      session.disconnect();
      await assert.rejects(session.end);
      await gone(mark);
    }),
  );

  test("does not end the command's stdin before the command", async () => {
    const controller = new AbortController();
    const file = `/tmp/eof-${performance.now()}`;
    await using session = shell(
      `cat > /dev/null; touch ${file}`,
      { stdin: true },
      { signal: controller.signal },
    );
    await session.started();
    await session.type("half of it");
    controller.abort();
    await assert.rejects(session.end);
    await gone(file);
    assert.equal((await exec(daemon, id, ["test", "-e", file])).exitCode, 1);
  });

  test("by ending its messages before stdin ends is gone, too", async () => {
    const { mark, text } = marked();
    await using session = shell(text, { stdin: true });
    await session.started();
    session.endMessages();
    await assert.rejects(session.end, failsWith(code.aborted, /without the end of stdin/));
    await gone(mark);
  });
});

describe("back-pressure", () => {
  test("a reader that is slow does not make the daemon grow, and gets all of 100 MiB", {
    timeout: 240_000,
  }, async () => {
    using memory = await DaemonMemory.attach(daemon.pid);
    const before = await memory.use();
    let pause = Promise.withResolvers<undefined>();
    const paused = pause.promise;
    let blocks = true;
    await using session = shell(
      "head -c 104857600 /dev/zero",
      {},
      {
        keeps: false,
        beforeEach: ({ part }) => (blocks && part.case === "stdout" ? paused : undefined),
      },
    );
    await session.started();
    // Enough to write all, if anything took it.
    await sleep(3_000);
    const stalled = await memory.use();
    assert.ok(
      stalled.resident - before.resident < 16 * mebibyte,
      `grew by ${(stalled.resident - before.resident) / mebibyte} MiB while nothing was read`,
    );
    blocks = false;
    pause.resolve(undefined);
    pause = Promise.withResolvers();
    assert.equal(await session.end, 0);
    assert.equal(session.bytes, 100 * mebibyte);
    const after = await memory.use();
    const grown = (after.resident - before.resident) / mebibyte;
    // V8 frees the buffers of messages only at its next collection.
    assert.ok(grown < 64, `grew by ${grown} MiB`);
  });

  test("a command that reads nothing stops the client", { timeout: 120_000 }, async () => {
    const before = readFileSync(`/proc/${daemon.pid}/status`, "utf8");
    await using session = openSession(daemon, id, ["sleep", "1000"], { stdin: true });
    await session.started();
    const chunk = Buffer.alloc(64 * 1024);
    let sent = 0;
    const sending = (async () => {
      for (; sent < 1600; sent++) await session.send({ case: "stdin", value: chunk });
    })();
    await sleep(2_000);
    assert.ok(sent * chunk.length < 8 * mebibyte, `${sent} chunks were taken`);
    const resident = (text: string): number => Number(/^RssAnon:\s+(\d+)/m.exec(text)?.[1]);
    const grown = resident(readFileSync(`/proc/${daemon.pid}/status`, "utf8")) - resident(before);
    assert.ok(grown < 24 * 1024, `grew by ${grown} KiB`);
    session.disconnect();
    await sending;
  });
});

test("a runtime that is killed is an error, and leaves no command", { skip: byShim }, async () => {
  const mark = `300${performance.now().toFixed(3).replace(".", "")}`;
  await using session = openSession(daemon, id, ["sleep", mark]);
  await session.started();
  // The command line of what runs it ends like this, too.
  const isCommand = (pid: number): boolean =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8") === `sleep\0${mark}\0`;
  const command = await until("it runs", () => processesWith(mark).find(isCommand));
  const parent = Number(
    /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${command}/status`, "utf8"))?.[1],
  );
  assert.match(readFileSync(`/proc/${parent}/comm`, "utf8"), /^(?:crun|davit-waiter|davit-exec)$/m);
  process.kill(parent, "SIGKILL");
  await assert.rejects(session.end, /exec .*(SIGKILL|signal|was killed)/);
  await gone(mark);
});
