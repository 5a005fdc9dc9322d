import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { RuntimeError } from "../../../base/errors.ts";
import { silentLogger } from "../../../base/logger.ts";
import {
  StreamInitSchema,
  Streaming,
} from "../../../gen/containerd/services/streaming/v1/streaming_pb.ts";
import {
  DataSchema,
  WindowUpdateSchema,
} from "../../../gen/containerd/types/transfer/streaming_pb.ts";
import { TtrpcClient, TtrpcServer, type TtrpcStream } from "../../../wire/ttrpc/index.ts";
import { openInputStream, openOutputStream, streamAddress, streamUrl } from "./streams.ts";

/** The server's side of a stream. */
interface Peer {
  readonly name: string;
  readonly stream: TtrpcStream;
  /** The next message, as its type and bytes; undefined at the end. */
  readonly next: () => Promise<
    { readonly typeUrl: string; readonly value: Uint8Array } | undefined
  >;
}

let directory = "";
let server: TtrpcServer;
let client: TtrpcClient;
/** What the server does with a stream after it has answered its first message. */
let serve: (peer: Peer) => Promise<void>;

const any = (typeUrl: string, value: Uint8Array): Uint8Array =>
  toBinary(AnySchema, create(AnySchema, { typeUrl, value }));
const dataOf = (text: string): Uint8Array =>
  any(DataSchema.typeName, toBinary(DataSchema, create(DataSchema, { data: Buffer.from(text) })));
const updateOf = (update: number): Uint8Array =>
  any(
    WindowUpdateSchema.typeName,
    toBinary(WindowUpdateSchema, create(WindowUpdateSchema, { update })),
  );

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "davit-streams-"));
  const handle = async (_request: Uint8Array, stream: TtrpcStream): Promise<void> => {
    const messages = stream[Symbol.asyncIterator]();
    const next: Peer["next"] = async () => {
      const message = await messages.next();
      return message.done === true ? undefined : fromBinary(AnySchema, message.value);
    };
    const first = await next();
    const { id: name } = fromBinary(StreamInitSchema, first?.value ?? new Uint8Array());
    if (name === "refused") return;
    if (name === "failed") throw new RuntimeError("not-found", "no stream of this name");
    stream.send(any("google.protobuf.Empty", new Uint8Array()));
    await serve({ name, stream, next });
  };
  const method = `${Streaming.typeName}/${Streaming.method.stream.name}`;
  const methods = new Map([[method, { kind: "stream", handle } as const]]);
  server = new TtrpcServer({ methods, log: silentLogger });
  const socket = join(directory, "s");
  await server.listen(socket, { mode: 0o600 });
  client = await TtrpcClient.connect(socket, { timeoutMs: 10_000 });
});
afterEach(async () => {
  client.close();
  await server.stop();
  rmSync(directory, { recursive: true });
});

describe("openOutputStream()", () => {
  it("reads what the shim sends, up to its end, and opens the window as it reads", async () => {
    const updates: number[] = [];
    serve = async ({ name, stream, next }) => {
      assert.equal(name, "c1-stdout");
      const text = "x".repeat(48 * 1024);
      for (const each of [1, 2, 3]) {
        const message = await next();
        updates.push(fromBinary(WindowUpdateSchema, message?.value ?? new Uint8Array()).update);
        stream.send(dataOf(`${each}${text}`));
      }
    };
    const output = await openOutputStream(client, "c1-stdout");
    const chunks = await output.stream.toArray();
    const text = Buffer.concat(chunks as Buffer[]).toString();
    assert.equal(text.replaceAll("x", ""), "123");
    assert.equal(text.length, 3 * (48 * 1024 + 1));
    assert.deepEqual(updates, [65_536, 65_536, 65_536]);
    output.close();
  });

  it("does not ask for more while nobody reads", async () => {
    const asked: number[] = [];
    const sent = Promise.withResolvers<unknown>();
    serve = async ({ stream, next }) => {
      for (;;) {
        const message = await next();
        if (message === undefined) return;
        asked.push(fromBinary(WindowUpdateSchema, message.value).update);
        stream.send(dataOf("x".repeat(65_536)));
        if (asked.length === 1) sent.resolve(undefined);
      }
    };
    const output = await openOutputStream(client, "c1-stdout");
    output.stream.read(0);
    await sent.promise;
    // A further message of the server would have been asked for by now.
    await openOutputStream(client, "c2-stdout").then((other) => other.close());
    assert.ok(asked.length <= 2, String(asked.length));
    const closed = once(output.stream, "close");
    output.close();
    await closed;
  });

  it("fails for a message that is not data, and where the shim refuses the stream", async () => {
    serve = ({ stream }) => {
      stream.send(updateOf(1));
      return Promise.resolve();
    };
    const output = await openOutputStream(client, "c1-stdout");
    await assert.rejects(output.stream.toArray(), /read stream "c1-stdout": the shim sent no data/);
    const refused = openOutputStream(client, "refused");
    await assert.rejects(refused, /open stream "refused" of a shim: it ended the stream/);
    const failed = openOutputStream(client, "failed");
    await assert.rejects(failed, /open stream "failed" of a shim: .*no stream of this name/);
  });
});

describe("openInputStream()", () => {
  it("sends as much as the shim takes, and the end", async () => {
    const received: string[] = [];
    const done = Promise.withResolvers<unknown>();
    serve = async ({ stream, next }) => {
      for (const bytes of [3, 40_000, 1000]) {
        stream.send(updateOf(bytes));
        for (let left = bytes; left > 0; ) {
          const message = await next();
          if (message === undefined) return;
          const { data } = fromBinary(DataSchema, message.value);
          left -= data.length;
          assert.ok(left >= 0, "more than the window");
          received.push(Buffer.from(data).toString());
        }
      }
      // The end of the input.
      done.resolve(await next());
    };
    const input = await openInputStream(client, "c1-stdin");
    input.stream.write("abcd");
    input.stream.end("y".repeat(40_999));
    assert.equal(await done.promise, undefined);
    assert.equal(received.join(""), `abcd${"y".repeat(40_999)}`);
    assert.ok(received.every((text) => text.length <= 32 * 1024));
    input.close();
  });

  it("fails writes when the shim takes no more", async () => {
    serve = ({ stream }) => {
      stream.send(updateOf(2));
      return Promise.resolve();
    };
    const input = await openInputStream(client, "c1-stdin");
    const failed = once(input.stream, "error");
    input.stream.write("abcd");
    const [error] = (await failed) as Error[];
    assert.match(error?.message ?? "", /write stream "c1-stdin": /);
  });
});

describe("streamUrl()", () => {
  it("is containerd's form", () => {
    const url = streamUrl(streamAddress("/run/s/1"), "c1-stdout");
    assert.equal(url, "ttrpc+unix:///run/s/1?streaming_id=c1-stdout");
    assert.equal(streamAddress("\0name"), "ttrpc+unix://@name");
  });
});
