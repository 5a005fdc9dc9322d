import process from "node:process";
import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickContainer } from "../objects/pick.ts";
import { doing, reasonOf } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

// What the server may need to end the command after its time is over.
const endMs = 10_000;

/** `davit exec`. */
export const exec: Command = {
  name: "exec",
  section: "Look inside",
  summary: "Run a command in a container and print what it wrote",
  details:
    "With -i what is typed goes to the command, and its output comes as it writes it; with -t it has\n" +
    "a terminal. It ends when you leave: by Ctrl-P Ctrl-Q at a terminal, or when the connection is lost.\n" +
    "Without either, by ExecSync: the output comes when the command has ended, up to 16 MiB of it, and\n" +
    "it has no input. The exit code is the command's own. Of davit are 125, it failed to run it; 127,\n" +
    "there is no such program in the container; 124, its time was over. A pod stands for its only\n" +
    "container, or the only one that runs.",
  operands: [
    { name: "CONTAINER", complete: "container" },
    { name: "COMMAND", rest: true },
  ],
  options: {
    interactive: { short: "i", doc: "Send stdin" },
    tty: { short: "t", doc: "Give the command a terminal of this one's size" },
  },
  examples: [
    { line: "davit exec web ls -l /", does: "Run one program" },
    { line: "davit exec -it web sh", does: "A shell" },
    { line: "davit exec --timeout 5s web/nginx sh -c 'ps | wc -l'", does: "A shell, for 5 s" },
  ],
  client: true,
  run: async (call) => {
    const streams = call.options.has("interactive") || call.options.has("tty");
    try {
      return await withServer(call, (server) => (streams ? join(call, server) : run(call, server)));
    } catch (error) {
      if (error instanceof UsageError) throw error;
      const code = exitCodeOf(error);
      const own = code === exitCode.timeout || code === exitCode.interrupted;
      const message = messageOf(error);
      // The words of crun and of runc.
      const noProgram = /executable file .*not found/.test(message);
      const failed = noProgram ? exitCode.noProgram : exitCode.execFailed;
      throw new CommandFailure(own ? code : failed, message, { cause: error });
    }
  },
};

/** With streams, for as long as it takes: --timeout is for the server's answer alone. */
async function join(call: Call, server: Server): Promise<number> {
  const [word = "", ...cmd] = call.operands;
  const { openRemoteCommand } = await import("../../client/streaming/index.ts");
  const { joinProcess } = await import("../streams/interactive.ts");
  const found = await pickContainer(word, new Objects(server));
  const stdin = call.options.has("interactive");
  const terminal = wantsTerminal(call, stdin);
  const streams = { stdin, stdout: true, stderr: !terminal };
  const request = { containerId: found.container.id, cmd, tty: terminal, ...streams };
  const what = `run ${JSON.stringify(cmd[0])} in container "${containerPath(found)}"`;
  const { url } = await doing(what, server.client.runtime.exec(request, server.limit()));
  const { signal } = server;
  const remote = await doing(what, openRemoteCommand(url, { ...streams, terminal, signal }));
  const end = await joinProcess(remote, { stdin, terminal, signal });
  if (end === "detached") return exitCode.done;
  if ("failure" in end) throw new RuntimeError("unknown", `${what}: ${reasonOf(end.failure)}`);
  return end.exitCode > 255 ? exitCode.execFailed : end.exitCode;
}

/**
 * A terminal never tells its command the end of what is no terminal: a script's `exec -it` would wait
 * forever. So it gets none then, as with kubectl.
 */
function wantsTerminal(call: Call, stdin: boolean): boolean {
  if (!call.options.has("tty")) return false;
  if (!stdin || process.stdin.isTTY) return true;
  call.terminal.err("davit exec: stdin is no terminal, so the command gets none\n");
  return false;
}

async function run(call: Call, server: Server): Promise<number> {
  const [word = "", ...cmd] = call.operands;
  const found = await pickContainer(word, new Objects(server));
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
    // Codes are bytes for whoever waits for this process: 256 must not become 0.
    return answer.exitCode > 255 ? exitCode.execFailed : answer.exitCode;
  } catch (error) {
    if (!isKind(error, "deadline-exceeded") || timeoutMs === undefined) throw error;
    throw new CommandFailure(
      exitCode.timeout,
      `${what}: it took longer than ${timeoutMs / 1000} s, and was killed`,
      { cause: error },
    );
  }
}
