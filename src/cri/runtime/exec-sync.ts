import * as containers from "../../engine/container/index.ts";
import type { ExecSyncRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** The space for the tags and lengths of the two streams and for the exit code. */
const framingBytes = 64;

interface Answer {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
}

/** ExecSync: runs a command in a container. Its output is truncated to the maximum size of an answer. */
export async function execSync(
  context: CriContext,
  request: ExecSyncRequest,
  call: RpcCall,
): Promise<Answer> {
  const { containerId, cmd, timeout } = request;
  const input = { containerId, command: cmd, timeoutSeconds: timeout };
  const answer = await containers.execSync(context.containers, input, call.signal);
  return cutToFit(answer, context.maxMessageBytes - framingBytes);
}

/**
 * Truncates both streams to `room` bytes together, which is not an error (api.proto, ExecSyncResponse).
 * Each stream gets half of the bytes and what the other one does not use.
 */
export function cutToFit(answer: Answer, room: number): Answer {
  const { stdout, stderr } = answer;
  if (stdout.length + stderr.length <= room) return answer;
  const half = Math.floor(room / 2);
  const ofStderr = Math.min(stderr.length, Math.max(half, room - stdout.length));
  return {
    ...answer,
    stdout: stdout.subarray(0, room - ofStderr),
    stderr: stderr.subarray(0, ofStderr),
  };
}
