import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { containerPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { containerOption } from "../objects/container-option.ts";
import { pickContainer } from "../objects/pick.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit attach`. */
export const attach: Command = {
  name: "attach",
  section: "Inspection and debugging",
  summary: "Attach to the main process of a container",
  details:
    "Shows the output from now on; earlier output is in the log. Several clients can be attached. Detaching\n" +
    "leaves the process running: press Ctrl-P Ctrl-Q, or Ctrl-C without -t. With -i, stdin is sent to the\n" +
    "process, if the container was created with stdin. With -t, all keys are sent to the terminal of the\n" +
    "container.",
  operands: [{ name: "CONTAINER", complete: "container" }],
  options: {
    container: containerOption,
    interactive: { short: "i", doc: "Send stdin to the process" },
    tty: { short: "t", doc: "Use the container's terminal: send all keys, and resize it" },
  },
  examples: [
    { line: "davit attach web", does: "Show the output of a container from now on" },
    { line: "davit attach -it shell", does: "Use a container whose process is a shell" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const { openRemoteCommand } = await import("../../client/streaming/index.ts");
  const { joinProcess } = await import("../streams/interactive.ts");
  const found = await pickContainer(word, new Objects(server), call.options.text("container"));
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
