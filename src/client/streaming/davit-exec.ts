import { once } from "node:events";
import { PassThrough, Writable } from "node:stream";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import type {
  ExecRequestSchema,
  ExecResponse,
  ExecStartSchema,
} from "../../gen/davit/v1/containers_pb.ts";
import type { CommandEnd } from "../../wire/remote-command/status.ts";
import type { CriClient } from "../cri-client.ts";
import type { RemoteCommand } from "./remote-command.ts";
import { RequestQueue } from "./request-queue.ts";

type Requests = RequestQueue<MessageInitShape<typeof ExecRequestSchema>>;

/**
 * Runs a command by davit's own Exec, which takes variables, a user and a directory. Resolves when it runs. Rejects
 * with `unimplemented` on other servers. The outputs must be read, or the command stops.
 */
export async function openDavitExec(
  client: Pick<CriClient, "containers">,
  start: MessageInitShape<typeof ExecStartSchema>,
  signal?: AbortSignal,
): Promise<RemoteCommand> {
  const closing = new AbortController();
  const ends = signal === undefined ? closing.signal : AbortSignal.any([closing.signal, signal]);
  const requests: Requests = new RequestQueue();
  requests.push({ part: { case: "start", value: start } });
  const stdin = start.stdin === true ? stdinOf(requests) : undefined;
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const responses = client.containers.exec(requests, { signal: ends })[Symbol.asyncIterator]();
  const first = await responses.next().catch((error: unknown) => {
    requests.end();
    throw error;
  });
  const end = read(first, responses, { stdout, stderr }).finally(() => {
    requests.end();
    stdin?.destroy();
    stdout.end();
    stderr.end();
  });
  end.catch(() => undefined); // the caller may read the outputs first
  return {
    stdin,
    stdout,
    stderr: start.terminal === undefined ? stderr : undefined,
    resize: ({ width, height }) => {
      requests.push({ part: { case: "size", value: { width, height } } });
    },
    end,
    close: () => closing.abort(),
  };
}

/** Passes outputs on, no faster than they are read, until the command has ended. */
async function read(
  first: IteratorResult<ExecResponse>,
  responses: AsyncIterator<ExecResponse>,
  outputs: { readonly stdout: PassThrough; readonly stderr: PassThrough },
): Promise<CommandEnd> {
  let end: CommandEnd | undefined;
  for (let next = first; next.done !== true; next = await responses.next()) {
    const { part } = next.value;
    if (part.case === "end") end = { exitCode: part.value.exitCode };
    if (part.case !== "stdout" && part.case !== "stderr") continue;
    const output = outputs[part.case];
    if (output.destroyed || output.write(part.value)) continue;
    await Promise.race([once(output, "drain"), once(output, "close")]);
  }
  if (end !== undefined) return end;
  throw new RuntimeError("unavailable", "run command: the server did not tell how it ended");
}

function stdinOf(requests: Requests): Writable {
  const stdin = new Writable({
    write: (chunk: Buffer, _encoding, callback) => {
      requests.push({ part: { case: "stdin", value: chunk } }, () => callback());
    },
    final: (callback) => {
      requests.push({ part: { case: "stdinEnd", value: {} } }, () => callback());
    },
  });
  // A command may end before it has read everything.
  return stdin.on("error", () => undefined);
}
