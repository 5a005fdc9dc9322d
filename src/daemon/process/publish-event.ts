import { createReadStream } from "node:fs";

import { create } from "@bufbuild/protobuf";
import { AnySchema, timestampNow } from "@bufbuild/protobuf/wkt";
import { RuntimeError } from "../../base/errors.ts";
import { Events } from "../../gen/containerd/services/events/ttrpc/v1/events_pb.ts";
import { decodeBounded } from "../../wire/protobuf.ts";
import { TtrpcClient } from "../../wire/ttrpc/index.ts";

const sendMs = 5_000;

/**
 * Sends the event on stdin (an encoded Any) to the daemon that started the shim, as containerd's own
 * program does for shims that cannot send events themselves. `argv` is
 * `--address SOCKET publish --topic TOPIC --namespace NAMESPACE`.
 */
export async function publishEvent(argv: readonly string[]): Promise<void> {
  const valueOf = (name: string): string => {
    const at = argv.findIndex((word) => word === `--${name}` || word === `-${name}`);
    const joined = argv.find((word) => new RegExp(`^--?${name}=`).test(word));
    return (at >= 0 ? argv[at + 1] : joined?.slice(joined.indexOf("=") + 1)) ?? "";
  };
  const address = valueOf("address");
  if (address === "") {
    throw new RuntimeError(
      "invalid-argument",
      "publish event: the option --address with the daemon's socket is missing",
    );
  }
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream("", { fd: 0 })) chunks.push(chunk as Buffer);
  const event = decodeBounded(AnySchema, Buffer.concat(chunks));
  using client = await TtrpcClient.connect(address, { timeoutMs: sendMs });
  const envelope = {
    timestamp: timestampNow(),
    namespace: valueOf("namespace"),
    topic: valueOf("topic"),
    event: create(AnySchema, event),
  };
  await client.call(Events.method.forward, { envelope }, { timeoutMs: sendMs });
}
