import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { finished } from "node:stream/promises";
import { describe, test } from "node:test";
import { openRemoteCommand, type RemoteCommand } from "../client/streaming/index.ts";
import { dial, dialWebSocket } from "../client/streaming/dial.ts";
import { SpdySession } from "../wire/spdy/session.ts";
import { formatStatus } from "../wire/remote-command/status.ts";
import { WebSocketConnection } from "../wire/websocket/connection.ts";
import { openServer } from "./testing/open-server.ts";

const all = { stdin: true, stdout: true, stderr: true, terminal: false };
const transports: readonly ("spdy" | "websocket")[] = ["spdy", "websocket"];

const readAll = (stream: Readable | undefined): Promise<string> =>
  text(stream ?? Readable.from([]));

for (const transport of transports) {
  describe(`exec and attach by ${transport}`, () => {
    const run = (url: string, choice = all): Promise<RemoteCommand> =>
      openRemoteCommand(url, { ...choice, transport });

    test("carry both outputs and the exit code", async () => {
      await using opened = await openServer();
      const command = {
        containerId: "c",
        sandboxId: "s",
        command: ["echo", "a", "b"],
        terminal: false,
      };
      const remote = await run(opened.server.exec(command, all));
      const [out, err] = await Promise.all([readAll(remote.stdout), readAll(remote.stderr)]);
      assert.deepEqual([out, err], ["a b\n", "err a b\n"]);
      assert.deepEqual(await remote.end, { exitCode: 0 });
      for (const code of [1, 130, 255]) {
        const failing = { ...command, command: ["exit", String(code)] };
        const ended = await run(opened.server.exec(failing, all));
        ended.stdout?.resume();
        ended.stderr?.resume();
        assert.deepEqual(await ended.end, { exitCode: code });
      }
    });

    test("report why a command did not run", async () => {
      await using opened = await openServer();
      const command = { containerId: "c", sandboxId: "s", command: ["nope"], terminal: false };
      const remote = await run(opened.server.exec(command, all));
      remote.stdout?.resume();
      remote.stderr?.resume();
      const failure = 'run "nope" in container "c": no such file';
      assert.deepEqual(await remote.end, { failure });
    });

    test("carry stdin to its end, and output after it", async () => {
      await using opened = await openServer();
      for (const url of [
        opened.server.exec(
          { containerId: "c", sandboxId: "s", command: ["cat"], terminal: false },
          all,
        ),
        opened.server.attach({ containerId: "c", sandboxId: "s", terminal: false }, all),
      ]) {
        const remote = await run(url);
        remote.stderr?.resume();
        const block = Buffer.alloc(300_000, "0123456789");
        remote.stdin?.write(block);
        remote.stdin?.end(block);
        const back = await buffer(remote.stdout ?? Readable.from([]));
        assert.ok(back.equals(Buffer.concat([block, block])));
        assert.deepEqual(await remote.end, { exitCode: 0 });
      }
    });

    test("carry the sizes of a terminal, which has no stderr", async () => {
      const { promise: resized, resolve } = Promise.withResolvers<undefined>();
      await using opened = await openServer({
        programs: {
          shell: async ({ stdin, stderr }) => {
            assert.equal(stderr, undefined);
            stdin?.resume();
            await resized;
            return { exitCode: 0 };
          },
        },
      });
      const choice = { ...all, stderr: false, terminal: true };
      const command = { containerId: "c", sandboxId: "s", command: ["shell"], terminal: true };
      const remote = await run(opened.server.exec(command, choice), choice);
      remote.stdout?.resume();
      remote.resize({ width: 80, height: 24 });
      remote.resize({ width: 120, height: 50 });
      while (opened.targets.sizes.length < 2) await new Promise((next) => setImmediate(next));
      resolve(undefined);
      await remote.end;
      assert.deepEqual(opened.targets.sizes, [
        { width: 80, height: 24 },
        { width: 120, height: 50 },
      ]);
    });

    test("lose nothing of a large output, and buffer little of it for a slow reader", async () => {
      await using opened = await openServer();
      const blocks = 640;
      const command = {
        containerId: "c",
        sandboxId: "s",
        command: ["flood", String(blocks)],
        terminal: false,
      };
      const remote = await run(opened.server.exec(command, all));
      remote.stderr?.resume();
      let total = 0;
      let sum = 0;
      for await (const chunk of (remote.stdout ?? []) as AsyncIterable<Buffer>) {
        total += chunk.length;
        for (let i = 0; i < chunk.length; i += 1024) sum += chunk.readUInt8(i);
        await new Promise((next) => setImmediate(next));
      }
      assert.equal(total, blocks * 64 * 1024);
      assert.ok(sum > 0);
      assert.deepEqual(await remote.end, { exitCode: 0 });
    });

    test("abort the command when its client disconnects", async () => {
      await using opened = await openServer();
      const command = { containerId: "c", sandboxId: "s", command: ["sleep"], terminal: false };
      const remote = await run(opened.server.exec(command, all));
      const end = assert.rejects(remote.end, { kind: "unavailable" });
      remote.close();
      await end;
      while (opened.targets.aborted.length === 0) await new Promise((next) => setImmediate(next));
    });

    test("do not run a command before all of its streams are open", async () => {
      const { promise: started, resolve } = Promise.withResolvers<boolean>();
      await using opened = await openServer({
        programs: {
          look: async ({ stdin, stdout, stderr }) => {
            resolve(stdin !== undefined && stdout !== undefined && stderr !== undefined);
            return { exitCode: 0 };
          },
        },
      });
      const url = opened.server.exec(
        { containerId: "c", sandboxId: "s", command: ["look"], terminal: false },
        all,
      );
      const remote = await run(url);
      assert.equal(await started, true);
      remote.stdout?.resume();
      remote.stderr?.resume();
      await remote.end;
    });
  });
}

/** An attach whose client gets the output some turns after it has connected. */
function attachLate({ server, targets }: Awaited<ReturnType<typeof openServer>>) {
  const order: string[] = [];
  targets.attaching = async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise((next) => setImmediate(next));
    order.push("attached");
  };
  const url = server.attach({ containerId: "c", sandboxId: "s", terminal: false }, all);
  return { order, url };
}

test("attach by spdy: the last stream is open when the client gets the output", async () => {
  await using opened = await openServer();
  const { order, url } = attachLate(opened);
  const remote = await openRemoteCommand(url, all);
  order.push("open");
  assert.deepEqual(order, ["attached", "open"]);
  remote.stdin?.end("a");
  remote.stderr?.resume();
  assert.equal(await readAll(remote.stdout), "a");
  assert.deepEqual(await remote.end, { exitCode: 0 });
  // A client that cannot be attached is told why.
  opened.targets.attaching = () => Promise.reject(new Error("its monitor has ended"));
  const next = opened.server.attach({ containerId: "c", sandboxId: "s", terminal: false }, all);
  const failed = await openRemoteCommand(next, all);
  for (const output of [failed.stdout, failed.stderr]) output?.resume();
  assert.deepEqual(await failed.end, { failure: "its monitor has ended" });
});

test("attach by websocket: the empty message comes when the client gets the output", async () => {
  await using opened = await openServer();
  const { order, url } = attachLate(opened);
  const { transport } = await dialWebSocket(url, ["v5.channel.k8s.io"]);
  const { promise: greeted, resolve } = Promise.withResolvers<undefined>();
  const onMessage = ({ piece }: { readonly piece: Buffer }): void => {
    order.push(piece.toString("hex"));
    resolve(undefined);
  };
  const connection = new WebSocketConnection({ transport, role: "client", onMessage });
  await greeted;
  assert.deepEqual(order, ["attached", "01"]);
  connection.destroy();
});

test("exec: a client that closes only one output does not end the command", async () => {
  await using opened = await openServer({
    programs: {
      half: async ({ stdout, stderr }) => {
        if (stdout !== undefined) await finished(stdout).catch(() => undefined);
        stderr?.write("still here");
        return { exitCode: 3 };
      },
    },
  });
  const url = opened.server.exec(
    { containerId: "c", sandboxId: "s", command: ["half"], terminal: false },
    all,
  );
  const remote = await openRemoteCommand(url, all);
  remote.stdout?.destroy();
  assert.equal(await readAll(remote.stderr), "still here");
  assert.deepEqual(await remote.end, { exitCode: 3 });
});

test("exec by spdy: a client that does not open all streams in time is disconnected", async () => {
  await using opened = await openServer({ config: { creationTimeoutSeconds: 0.01 } });
  const url = opened.server.exec(
    { containerId: "c", sandboxId: "s", command: ["sleep"], terminal: false },
    all,
  );
  const { transport } = await dial(url, { method: "POST", headers: { upgrade: "SPDY/3.1" } });
  const session = new SpdySession({ transport, role: "client" });
  await session.openStream(new Map([["streamtype", "error"]])).catch(() => undefined);
  await session.closed;
  assert.deepEqual(opened.targets.aborted, []);
});

test("exec by spdy: each protocol has its own format of the end", async () => {
  await using opened = await openServer();
  const command = { containerId: "c", sandboxId: "s", command: ["exit", "4"], terminal: false };
  const sentence = "command terminated with non-zero exit code: 4";
  const words: readonly (readonly [protocol: string | undefined, end: string])[] = [
    [undefined, sentence],
    ["channel.k8s.io", sentence],
    ["v2.channel.k8s.io", sentence],
    ["v3.channel.k8s.io", sentence],
    ["v4.channel.k8s.io", formatStatus({ exitCode: 4 })],
    ["v5.channel.k8s.io", formatStatus({ exitCode: 4 })],
  ];
  for (const [protocol, end] of words) {
    const url = opened.server.exec(command, { ...all, stdin: false, stderr: false });
    const named = protocol === undefined ? {} : { "x-stream-protocol-version": protocol };
    const dialed = await dial(url, { method: "POST", headers: { upgrade: "SPDY/3.1", ...named } });
    assert.equal(dialed.headers["x-stream-protocol-version"], protocol);
    const session = new SpdySession({ transport: dialed.transport, role: "client" });
    const error = await session.openStream(new Map([["streamtype", "error"]]));
    const stdout = await session.openStream(new Map([["streamtype", "stdout"]]));
    stdout.resume();
    assert.equal(await text(error), end);
    session.destroy();
  }
});
