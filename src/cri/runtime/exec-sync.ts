import { execSync as exec } from "../../engine/container/index.ts";
import type { ExecSyncRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Runs a command in a container; each stream of its output is cut at 16 MiB. */
export async function execSync(
  context: CriContext,
  request: ExecSyncRequest,
  call: RpcCall,
): Promise<{ stdout: Uint8Array; stderr: Uint8Array; exitCode: number }> {
  const { containerId, cmd, timeout } = request;
  const input = { containerId, command: cmd, timeoutSeconds: timeout };
  return exec(context.containers, input, call.signal);
}
