import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { test } from "node:test";
import { WebSocketConnection } from "../websocket/connection.ts";
import type { MessagePiece } from "../websocket/frames.ts";
import { channelProtocols, Channels } from "./channels.ts";
import { formatStatus, parseStatus } from "./status.ts";
import { formatSize, readSizes, type Size } from "./sizes.ts";
import { Readable } from "node:stream";
import { acceptWebSocketCommand } from "./websocket-peer.ts";

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const all = { stdin: true, stdout: true, stderr: true, terminal: false };

function protocol(name: string): { base64: boolean; closeSignal: boolean; status: boolean } {
  const found = channelProtocols.get(name);
  assert.ok(found);
  return found;
}

/** A client that sends messages. */
function rawClient(): {
  client: WebSocketConnection;
  server: ReturnType<typeof duplexPair>[0];
  said: string[];
} {
  const [server, transport] = duplexPair();
  const said: string[] = [];
  let message = "";
  const client = new WebSocketConnection({
    transport,
    role: "client",
    onMessage: ({ piece, first, last }: MessagePiece) => {
      message = (first ? "" : message) + piece.toString("latin1");
      if (last) said.push(message);
    },
  });
  return { client, server, said };
}

test("acceptWebSocketCommand() uses channels: first messages, outputs, status, close", async () => {
  const { client, server, said } = rawClient();
  const peer = acceptWebSocketCommand(server, protocol("v4.channel.k8s.io"), all);
  client.send("binary", [Buffer.from([0]), Buffer.from("in")], () => undefined);
  peer.streams.stdout?.write("out");
  peer.streams.stderr?.write("err");
  peer.streams.stdin?.once("data", (chunk: Buffer) => said.push(`stdin ${chunk.toString()}`));
  await settled();
  await peer.finish({ exitCode: 3 });
  assert.equal(await client.closed, undefined);
  assert.deepEqual(
    said.filter((line) => !line.startsWith("stdin")),
    ["\x01", "\x01out", "\x02err", `\x03${formatStatus({ exitCode: 3 })}`],
  );
  assert.ok(said.includes("stdin in"));
});

test("acceptWebSocketCommand() uses base64 with the digit of the channel", async () => {
  const { client, server, said } = rawClient();
  const peer = acceptWebSocketCommand(server, protocol("base64.channel.k8s.io"), all);
  const stdin = peer.streams.stdin;
  assert.ok(stdin);
  client.send(
    "text",
    [Buffer.from(`0${Buffer.from("foo\n").toString("base64")}`)],
    () => undefined,
  );
  client.send("text", [Buffer.from("0")], () => undefined);
  const [line] = (await stdin.take(1).toArray()) as Buffer[];
  assert.equal(line?.toString(), "foo\n");
  peer.streams.stdout?.write("\n");
  await peer.finish({ exitCode: 2 });
  await client.closed;
  const failure = Buffer.from("command terminated with non-zero exit code: 2").toString("base64");
  assert.deepEqual(said, ["1", "1Cg==", `3${failure}`]);
});

test("Channels close after invalid base64", async () => {
  for (const bad of ["0Zm9", "0Z!9v", "0=aaa"]) {
    const { client, server } = rawClient();
    acceptWebSocketCommand(server, protocol("v4.base64.channel.k8s.io"), all);
    client.send("text", [Buffer.from(bad)], () => undefined);
    assert.match((await client.closed)?.message ?? "", /code 1007/, bad);
  }
});

test("Channels: v5 ends stdin by its close signal, which v4 does not have", async () => {
  for (const [name, ends] of [
    ["v5.channel.k8s.io", true],
    ["v4.channel.k8s.io", false],
  ] as const) {
    const { client, server } = rawClient();
    const { streams } = acceptWebSocketCommand(server, protocol(name), all);
    client.send("binary", [Buffer.from([0]), Buffer.from("all")], () => undefined);
    client.send("binary", [Buffer.from([255, 0])], () => undefined);
    const stdin = streams.stdin;
    assert.ok(stdin);
    if (ends) {
      assert.equal(await text(stdin), "all");
    } else {
      client.send("binary", [Buffer.from([0]), Buffer.from("more")], () => undefined);
      let seen = "";
      for await (const chunk of stdin as AsyncIterable<Buffer>) {
        seen += chunk.toString();
        if (seen.length >= 7) break;
      }
      assert.equal(seen, "allmore");
    }
    client.destroy();
  }
});

test("Channels drop data on channels that are not open", async () => {
  const { client, server, said } = rawClient();
  const peer = acceptWebSocketCommand(server, protocol("v5.channel.k8s.io"), {
    ...all,
    stdin: false,
  });
  for (const channel of [0, 1, 4, 9, 254]) {
    client.send("binary", [Buffer.from([channel]), Buffer.from("x")], () => undefined);
  }
  client.send("binary", [Buffer.from([255, 9])], () => undefined);
  client.send("binary", [Buffer.alloc(0)], () => undefined);
  await settled();
  assert.equal(peer.streams.stdin, undefined);
  await peer.finish({ exitCode: 0 });
  assert.equal(await client.closed, undefined);
  assert.equal(said.at(-1), `\x03${formatStatus({ exitCode: 0 })}`);
});

test("Channels of both sides carry large streams with back-pressure", async () => {
  const [ours, theirs] = duplexPair();
  const client = new Channels(ours, "client", protocol("v5.channel.k8s.io"));
  const server = new Channels(theirs, "server", protocol("v5.channel.k8s.io"));
  const [sending, receiving] = [client.open(0), server.open(0)];
  const block = Buffer.alloc(128 * 1024, "abc");
  let written = 0;
  for (let turn = 0; turn < 400; turn++) {
    if (!sending.writableNeedDrain) {
      sending.write(block);
      written += block.length;
    }
    await settled();
  }
  assert.ok(server.connection.unreadBytes <= 5 * 1024 * 1024);
  assert.ok(written < 10 * 1024 * 1024, `${written} bytes taken`);
  sending.end();
  assert.equal((await buffer(receiving)).length, written);
  client.connection.destroy();
});

test("formatStatus() is what kubectl reads exit codes from, and parseStatus() reads it", () => {
  assert.equal(formatStatus({ exitCode: 0 }), '{"metadata":{},"status":"Success"}');
  assert.equal(
    formatStatus({ exitCode: 130 }),
    '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: 130",' +
      '"reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"130"}]}}',
  );
  const failure = { failure: 'run "x": no such file' };
  assert.match(formatStatus(failure), /"reason":"InternalError".*"code":500/);
  for (const end of [{ exitCode: 0 }, { exitCode: 255 }, failure]) {
    assert.deepEqual(parseStatus(formatStatus(end)), end);
  }
  assert.throws(() => parseStatus("{"), { kind: "internal" });
  assert.throws(() => parseStatus("null"), { kind: "internal" });
  assert.throws(
    () => parseStatus('{"reason":"NonZeroExitCode","details":{"causes":[]}}'),
    /no exit code/,
  );
});

test("readSizes() reads sizes however they are cut, and ends at what is none", async () => {
  const bytes = Buffer.from(
    formatSize({ width: 80, height: 24 }) + '{"Width":1,"Height":-1}{"Width":2',
  );
  const read = async (chunks: Iterable<Buffer>): Promise<Size[]> => {
    const sizes: Size[] = [];
    for await (const size of readSizes(Readable.from(chunks))) sizes.push(size);
    return sizes;
  };
  assert.deepEqual(await read([...bytes].map((byte) => Buffer.from([byte]))), [
    { width: 80, height: 24 },
  ]);
  assert.deepEqual(await read([bytes, Buffer.from(',"Height":3}')]), [
    { width: 80, height: 24 },
    { width: 2, height: 3 },
  ]);
  assert.deepEqual(await read([Buffer.from("{no json}")]), []);
  assert.deepEqual(
    await read([Buffer.alloc(2000, "x"), Buffer.from('{"Width":1,"Height":1}')]),
    [],
  );
});
