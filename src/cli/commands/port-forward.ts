import { messageOf } from "../../base/errors.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickPod } from "../objects/pick.ts";
import { printableLines } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { parsePortPair } from "../streams/port-pair.ts";

/** `davit port-forward`. */
export const portForward: Command = {
  name: "port-forward",
  section: "Inspection and debugging",
  summary: "Forward local ports to a pod",
  details:
    "PORT is LOCAL:REMOTE, one number for both, or :REMOTE for any free local port. Servers that listen on\n" +
    "the loopback address of the pod are reachable, too. Runs until Ctrl-C.",
  operands: [
    { name: "POD", complete: "pod" },
    { name: "PORT", many: true },
  ],
  options: {
    address: { value: "ADDRESS", doc: "Local address to listen on (default 127.0.0.1)" },
  },
  examples: [
    { line: "davit port-forward web 8080:80", does: "Forward 127.0.0.1:8080 to port 80" },
    {
      line: "davit port-forward web 5432 :80",
      does: "Forward port 5432, and any free port to port 80",
    },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const [word = "", ...words] = call.operands;
  const pairs = words.map((each) => {
    const pair = parsePortPair(each);
    if (pair !== undefined) return pair;
    throw new UsageError(`PORT is "${each}": must be LOCAL:REMOTE, PORT or :REMOTE`, portForward);
  });
  const { openPortForward } = await import("../../client/streaming/index.ts");
  const { forwardPorts } = await import("../streams/forward-ports.ts");
  const pod = await pickPod(word, new Objects(server));
  const what = `forward ports of pod "${podPath(pod)}"`;
  const request = { podSandboxId: pod.id, port: pairs.map(({ remote }) => remote) };
  const { url } = await doing(what, server.client.runtime.portForward(request, server.limit()));
  const { signal } = server;
  const session = await doing(what, openPortForward(url, { signal }));
  try {
    const address = call.options.text("address") ?? "127.0.0.1";
    await using _listeners = await forwardPorts(session, pairs, {
      address,
      onListening: (line) => {
        call.terminal.out(`${line}\n`);
      },
      onFailure: (line) => {
        call.terminal.err(`${printableLines(line)}\n`);
      },
    });
    const cause = await session.closed;
    if (signal.aborted) return exitCode.interrupted;
    const reason = cause === undefined ? "closed by the server" : messageOf(cause);
    throw new CommandFailure(
      exitCode.unreachable,
      `${what}: connection lost: ${reason}; run davit port-forward again`,
    );
  } finally {
    session.close();
  }
}
