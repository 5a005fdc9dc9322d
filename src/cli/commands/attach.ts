import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickContainer } from "../objects/pick.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit attach`. */
export const attach: Command = {
  name: "attach",
  section: "Look inside",
  summary: "Join the streams of a container's own process",
  details:
    "From now on: what it wrote before is in its log. Others may be there, too, and leaving ends\n" +
    "nothing: Ctrl-P Ctrl-Q at a terminal, or Ctrl-C without -t. With -i what is typed goes to its stdin, if it was\n" +
    "made with one; with -t it has a terminal, and so every key gets there.",
  operands: [{ name: "CONTAINER", complete: "container" }],
  options: {
    interactive: { short: "i", doc: "Send stdin" },
    tty: { short: "t", doc: "The container has a terminal: send keys as they are, and sizes" },
  },
  examples: [
    { line: "davit attach web", does: "See what it writes from now on" },
    { line: "davit attach -it shell", does: "A container whose process is a shell" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const { openRemoteCommand } = await import("../../client/streaming/index.ts");
  const { joinProcess } = await import("../streams/interactive.ts");
  const found = await pickContainer(word, new Objects(server));
  const terminal = call.options.has("tty");
  const stdin = call.options.has("interactive");
  const streams = { stdin, stdout: true, stderr: !terminal };
  const request = { containerId: found.container.id, tty: terminal, ...streams };
  const what = `attach to container "${containerPath(found)}"`;
  const { url } = await doing(what, server.client.runtime.attach(request, server.limit()));
  const { signal } = server;
  const remote = await doing(what, openRemoteCommand(url, { ...streams, terminal, signal }));
  const end = await joinProcess(remote, { stdin, terminal, signal });
  if (end === "detached") return exitCode.done;
  if ("failure" in end) throw new CommandFailure(exitCode.failed, `${what}: ${end.failure}`);
  return exitCode.done;
}
