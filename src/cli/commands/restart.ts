import { ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { GracePeriodLines } from "../lifecycle/grace.ts";
import { stopContainer } from "../lifecycle/stop.ts";
import type { PodContainer } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { prepareAgain, restartable } from "../restart/again.ts";
import { isStoppedPod, preparePodAgain } from "../restart/pod-again.ts";
import { type Server, withServer } from "../server/session.ts";
import { findAll, typeOption } from "./stop.ts";

const howItWorks =
  "A container of the CRI runs once. Therefore a new one is created in the pod from the recorded config, as kubelet\n" +
  "does: with the next attempt number, a log of its own, an empty writable layer, and the limits of davit update. The\n" +
  "former container is kept until the next time. Of a pod, init containers that have completed do not run again. A\n" +
  "stopped pod is made again in the same way, with its volumes, its host ports and another address; the former one is\n" +
  "removed when its containers run. kubelet starts its pods itself, so those are refused.";

/** `davit start`. */
export const start: Command = {
  name: "start",
  section: "Pods and containers",
  summary: "Start stopped pods, and containers that have exited",
  details: `Running containers stay as they are.\n${howItWorks}`,
  operands: [{ name: "POD|CONTAINER", many: true, complete: "pod-or-container" }],
  options: { type: typeOption },
  examples: [
    {
      line: "davit start web",
      does: "Start a pod that was stopped, or its containers that have exited",
    },
    { line: "davit start web/nginx", does: "Start one container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => startAll(call, server)),
};

/** `davit restart`. */
export const restart: Command = {
  name: "restart",
  section: "Pods and containers",
  summary: "Stop containers and start them again",
  details: howItWorks,
  operands: [{ name: "POD|CONTAINER", many: true, complete: "pod-or-container" }],
  options: {
    time: { short: "t", value: "SECONDS", doc: "Grace period; 0 kills immediately" },
    type: typeOption,
  },
  examples: [
    { line: "davit restart web", does: "Restart the containers of a pod" },
    { line: "davit restart -t 1 web/nginx", does: "Restart one container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => restartAll(call, server)),
};

async function startAll(call: Call, server: Server): Promise<number> {
  const objects = new Objects(server);
  const tasks = (await findAll(call, objects)).map(({ word, ...object }): Task => {
    const work = async (): Promise<void> => {
      if (isStoppedPod(object)) {
        await (await preparePodAgain(server, "start", object.pod, objects)).start();
        return;
      }
      for (const each of await restartable(object, objects, server)) {
        if (isRunning(each)) continue;
        await (await prepareAgain(server, "start", each, objects)).start();
      }
    };
    return { name: word, work };
  });
  return await forEach(call, tasks);
}

async function restartAll(call: Call, server: Server): Promise<number> {
  const seconds = call.options.count("time");
  const objects = new Objects(server);
  using grace = new GracePeriodLines(call.terminal);
  const tasks = (await findAll(call, objects)).map(({ word, ...object }): Task => {
    const work = async (): Promise<void> => {
      if (isStoppedPod(object)) {
        await (await preparePodAgain(server, "restart", object.pod, objects)).start();
        return;
      }
      const targets = await restartable(object, objects, server);
      const prepared = await Promise.all(
        targets.map((each) => prepareAgain(server, "restart", each, objects)),
      );
      const running = targets.filter(isRunning);
      await Promise.all(running.map((each) => stopContainer(server, each, { seconds, grace })));
      for (const each of prepared) await each.start();
    };
    return { name: word, work };
  });
  return await forEach(call, tasks, grace.lines);
}

function isRunning({ container }: PodContainer): boolean {
  return container.state === ContainerState.CONTAINER_RUNNING;
}
