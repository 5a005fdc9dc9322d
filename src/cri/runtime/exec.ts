import { requestExec } from "../../engine/streaming/index.ts";
import type { ExecRequest } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** Exec: returns a URL that is valid once, for a short time. */
export async function exec(
  context: CriContext,
  request: ExecRequest,
): Promise<{ readonly url: string }> {
  const { containerId, cmd: command, envs, stdin, stdout, stderr, tty: terminal } = request;
  const choice = { stdin, stdout, stderr, terminal };
  return { url: await requestExec(context, { containerId, command, envs }, choice) };
}
