import { ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { hint } from "../command-line/unknown-command.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { stopContainer } from "../lifecycle/stop.ts";
import { containersOf, type PodContainer } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { type Server, withServer } from "../server/session.ts";
import { findAll, typeOption } from "./stop.ts";

/** `davit kill`. */
export const kill: Command = {
  name: "kill",
  section: "Pods and containers",
  summary: "Kill containers immediately",
  details:
    "Ends a container with SIGKILL, without a grace period. Of a pod, all running containers are killed; the pod\n" +
    "itself stays ready. The CRI has no other signals: davit stop sends the stop signal, and waits.",
  operands: [{ name: "POD|CONTAINER", many: true, complete: "pod-or-container" }],
  options: {
    signal: { short: "s", value: "SIGNAL", doc: "Must be KILL, the default" },
    type: typeOption,
  },
  examples: [
    { line: "davit kill web", does: "Kill the containers of a pod" },
    { line: "davit kill web/nginx", does: "Kill one container" },
  ],
  client: true,
  run: (call) => {
    checkSignal(call);
    return withServer(call, (server) => killAll(call, server));
  },
};

function checkSignal({ options }: Call): void {
  const signal = options.text("signal");
  if (signal === undefined || /^((sig)?kill|9)$/i.test(signal)) return;
  throw hint(
    `option "--signal" is "${signal}"`,
    'the CRI sends only KILL; use "davit stop" for the stop signal of a container, or "davit exec CONTAINER kill"',
  );
}

async function killAll(call: Call, server: Server): Promise<number> {
  const objects = new Objects(server);
  const found = await findAll(call, objects);
  const all = await objects.containers();
  const tasks = found.map(({ word, ...object }): Task => {
    const work = async (): Promise<void> => {
      const running = containersOf(object, all).filter(isRunning);
      if (running.length === 0) {
        throw new CommandFailure(
          exitCode.failed,
          `kill ${object.kind} "${word}": ${object.kind === "pod" ? "it has no running container" : "it is not running"}`,
        );
      }
      await Promise.all(
        running.map((each) => stopContainer(server, each, { seconds: 0, grace: undefined })),
      );
    };
    return { name: word, work };
  });
  return await forEach(call, tasks);
}

function isRunning({ container }: PodContainer): boolean {
  return container.state === ContainerState.CONTAINER_RUNNING;
}
