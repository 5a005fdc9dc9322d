import process from "node:process";
import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import type { RemoteCommand } from "../../client/streaming/index.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, codeOfProgram, exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { containerOption } from "../objects/container-option.ts";
import { pickContainer } from "../objects/pick.ts";
import { readEnv } from "../run-image/env.ts";
import { doing, reasonOf } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

// The time that the server may need to kill the command after its timeout.
const endMs = 10_000;

/** `davit exec`. */
export const exec: Command = {
  name: "exec",
  section: "Inspection and debugging",
  summary: "Run a command in a container",
  details:
    "With -i, stdin is sent to the command and its output is printed as it arrives; with -t, the command\n" +
    "has a terminal. The command is killed when you detach (Ctrl-P Ctrl-Q in a terminal) or the connection\n" +
    "is lost. Without -i and -t, the output is printed after the command has exited, up to 16 MiB, and the\n" +
    "command has no stdin. The exit code is that of the command, except: 125, davit could not run it; 126,\n" +
    "the program cannot be executed; 127, it was not found in the container; 124, the timeout has expired. A\n" +
    "pod can be named instead of its only container, or its only running one. --user, --workdir and --env\n" +
    "require davit as the server, and print the output as it arrives.",
  operands: [
    { name: "CONTAINER", complete: "container" },
    { name: "COMMAND", rest: true },
  ],
  options: {
    interactive: { short: "i", doc: "Send stdin to the command" },
    tty: { short: "t", doc: "Allocate a terminal with the size of this one" },
    container: containerOption,
    user: {
      short: "u",
      value: "USER[:GROUP]",
      doc: "User and group of the command: names of the container, or numbers",
    },
    workdir: { short: "w", value: "PATH", doc: "Working directory of the command" },
    env: {
      short: "e",
      value: "NAME[=VALUE]",
      many: true,
      doc: "Set a variable; without a value, to that of this shell (repeatable)",
    },
    "env-file": {
      value: "FILE",
      many: true,
      doc: "Set the variables of a file, a NAME=VALUE in each line (repeatable)",
      complete: "file",
    },
  },
  examples: [
    { line: "davit exec web ls -l /", does: "Run a program" },
    { line: "davit exec -it web sh", does: "Run an interactive shell" },
    { line: "davit exec -u nobody -w /tmp -e A=1 web env", does: "Run a program as another user" },
    {
      line: "davit exec --timeout 5s web/nginx sh -c 'ps | wc -l'",
      does: "Run a script for 5 s at most",
    },
  ],
  client: true,
  run: async (call) => {
    const streams = streamOptions.some((name) => call.options.has(name));
    try {
      return await withServer(call, (server) =>
        streams ? execWithStreams(call, server) : run(call, server),
      );
    } catch (error) {
      if (error instanceof UsageError) throw error;
      const code = exitCodeOf(error);
      const keepsCode = code === exitCode.timeout || code === exitCode.interrupted;
      const message = messageOf(error);
      const failed = /^(run|exec) /.test(message) ? codeOfProgram(message) : exitCode.execFailed;
      throw new CommandFailure(keepsCode ? code : failed, message, { cause: error });
    }
  },
};

/** The options that the answer of ExecSync does not allow. */
const streamOptions = ["interactive", "tty", "user", "workdir", "env", "env-file"];

/** Runs the command with streams and without a time limit: --timeout applies to the server's response only. */
export async function execWithStreams(call: Call, server: Server): Promise<number> {
  const [word = "", ...cmd] = call.operands;
  const { joinProcess } = await import("../streams/interactive.ts");
  const found = await pickContainer(word, new Objects(server), call.options.text("container"));
  const stdin = call.options.has("interactive");
  const terminal = useTerminal(call, stdin);
  const what = `run ${JSON.stringify(cmd[0])} in container "${containerPath(found)}"`;
  const { signal } = server;
  const request = { containerId: found.container.id, cmd, stdin, terminal };
  const open = readContext(call) === undefined ? openByAddress : openByDavit;
  const remote = await doing(what, open(call, server, request));
  const end = await joinProcess(remote, { stdin, terminal, signal });
  if (end === "detached") return exitCode.done;
  if ("failure" in end) throw new RuntimeError("unknown", `${what}: ${reasonOf(end.failure)}`);
  return end.exitCode > 255 ? exitCode.execFailed : end.exitCode;
}

/** A command to run with streams. */
interface StreamRequest {
  readonly containerId: string;
  readonly cmd: readonly string[];
  readonly stdin: boolean;
  readonly terminal: boolean;
}

/** What the CRI has no fields for. */
interface CommandContext {
  readonly user: string;
  readonly workingDir: string;
  readonly env: readonly { readonly name: string; readonly value: Uint8Array<ArrayBuffer> }[];
}

/** Undefined if no option sets any of it. Throws a UsageError for a directory that is not absolute. */
function readContext({ options }: Call): CommandContext | undefined {
  const env = readEnv(options, process.env);
  const [user = "", workingDir = ""] = [options.text("user"), options.text("workdir")];
  if (workingDir !== "" && !workingDir.startsWith("/")) {
    throw options.invalid("workdir", `is "${workingDir}": must be an absolute path`);
  }
  if (user === "" && workingDir === "" && env.length === 0) return undefined;
  const encoder = new TextEncoder();
  const variables = env.map(({ name, value }) => ({ name, value: encoder.encode(value) }));
  return { user, workingDir, env: variables };
}

async function openByAddress(
  _call: Call,
  server: Server,
  { containerId, cmd, stdin, terminal }: StreamRequest,
): Promise<RemoteCommand> {
  const { openRemoteCommand } = await import("../../client/streaming/index.ts");
  const streams = { stdin, stdout: true, stderr: !terminal };
  const request = { containerId, cmd: [...cmd], tty: terminal, ...streams };
  const { url } = await server.client.runtime.exec(request, server.limit());
  return await openRemoteCommand(url, { ...streams, terminal, signal: server.signal });
}

async function openByDavit(
  call: Call,
  server: Server,
  { containerId, cmd, stdin, terminal }: StreamRequest,
): Promise<RemoteCommand> {
  const { openDavitExec } = await import("../../client/streaming/index.ts");
  const { columns, rows } = process.stdout as { readonly columns?: number; readonly rows?: number };
  const start = {
    ...{ containerId, command: [...cmd], stdin },
    ...(terminal && { terminal: { width: columns ?? 80, height: rows ?? 24 } }),
    ...readContext(call),
  };
  try {
    return await openDavitExec(
      server.client,
      { ...start, env: [...(start.env ?? [])] },
      server.signal,
    );
  } catch (error) {
    if (!isKind(error, "unimplemented")) throw error;
    throw new RuntimeError(
      "unimplemented",
      "the server does not support --user, --workdir and --env: the CRI has no fields for them; " +
        `use a program of the container, such as env A=1 ${cmd[0] ?? ""}`,
      { cause: error },
    );
  }
}

/**
 * Whether the command gets a terminal. As in kubectl, it gets none if stdin is not a terminal: the command
 * would never see the end of stdin, and `exec -it` in a script would hang.
 */
function useTerminal(call: Call, stdin: boolean): boolean {
  if (!call.options.has("tty")) return false;
  if (!stdin || process.stdin.isTTY) return true;
  call.terminal.err("davit exec: stdin is not a terminal, so the command gets none\n");
  return false;
}

async function run(call: Call, server: Server): Promise<number> {
  const [word = "", ...cmd] = call.operands;
  const found = await pickContainer(word, new Objects(server), call.options.text("container"));
  const timeoutMs = call.options.durationMs("timeout");
  const timeout = BigInt(Math.ceil((timeoutMs ?? 0) / 1000));
  const request = { containerId: found.container.id, cmd, timeout };
  const { signal } = server;
  const options =
    timeoutMs === undefined ? { signal } : { signal, timeoutMs: Number(timeout) * 1000 + endMs };
  const what = `run ${JSON.stringify(cmd[0])} in container "${containerPath(found)}"`;
  try {
    const answer = await doing(what, server.client.runtime.execSync(request, options));
    call.terminal.out(answer.stdout);
    call.terminal.err(answer.stderr);
    // Exit codes are bytes: 256 must not become 0.
    return answer.exitCode > 255 ? exitCode.execFailed : answer.exitCode;
  } catch (error) {
    if (!isKind(error, "deadline-exceeded") || timeoutMs === undefined) throw error;
    throw new CommandFailure(
      exitCode.timeout,
      `${what}: killed after the timeout of ${timeoutMs / 1000} s; use a longer --timeout`,
      { cause: error },
    );
  }
}
