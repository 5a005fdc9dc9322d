import type { MessageInitShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import { parseLogTime } from "../../base/log-time.ts";
import type { LogLine } from "../../core/container/index.ts";
import * as containers from "../../engine/container/index.ts";
import {
  LogLine_Stream as Stream,
  type LogsRequest,
  type LogsResponseSchema,
} from "../../gen/davit/v1/containers_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

type LogsResponse = MessageInitShape<typeof LogsResponseSchema>;

/** Lines of one message: encoding more would delay other calls. */
const maxLines = 1024;

/** Logs: the log of a container, with backpressure from the client to the file. */
export async function* logs(
  context: Pick<CriContext, "containers">,
  request: LogsRequest,
  call: Pick<RpcCall, "signal">,
): AsyncIterable<LogsResponse> {
  const { containerId, follow, tail } = request;
  const wanted = {
    follow,
    tail: tail === undefined ? undefined : Number(tail),
    sinceNs: timeOf("since_ns", request.sinceNs),
    untilNs: timeOf("until_ns", request.untilNs),
  };
  const batches = containers.readContainerLog(context.containers, containerId, wanted, call.signal);
  let isFirst = true;
  for await (const batch of batches) {
    if (batch.length === 0 && follow && isFirst) yield { lines: [] };
    isFirst = false;
    for (let at = 0; at < batch.length; at += maxLines) {
      yield { lines: batch.slice(at, at + maxLines).map(encoded) };
    }
  }
}

/** Undefined for 0, which is not set. */
function timeOf(field: string, ns: bigint): bigint | undefined {
  if (ns < 0n) {
    throw new RuntimeError(
      "invalid-argument",
      `read log: ${field} must be nanoseconds since 1970; it is ${ns}`,
    );
  }
  return ns === 0n ? undefined : ns;
}

function encoded({ time, stream, partial, text }: LogLine) {
  return {
    timeNs: parseLogTime(time) ?? 0n,
    stream: stream === "stderr" ? Stream.STDERR : Stream.STDOUT,
    text: new Uint8Array(text.buffer as ArrayBuffer, text.byteOffset, text.length),
    partial,
  };
}
