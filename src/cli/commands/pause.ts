import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { Objects } from "../objects/objects.ts";
import { formatBytes } from "../output/figures.ts";
import { printable } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { findAll, type Named, typeOption } from "./stop.ts";

/** How long pausing may take; writing memory to swap waits for the disk. Milliseconds. */
const pauseMs = 30_000;
const reclaimMs = 120_000;

/** `davit pause`. */
export const pause: Command = {
  name: "pause",
  section: "Pods and containers",
  summary: "Pause pods or containers: their processes keep their memory and do not run",
  details:
    "Of a pod, all running containers are paused, or none if one cannot be. A paused container is running for the CRI,\n" +
    "runs no commands and stays paused when davit restarts. davit resume lets it run on; davit stop resumes it for its\n" +
    "grace period. Probes by HTTP and gRPC fail while it is paused, so kubelet may restart it. Only with davit.",
  operands: [{ name: "POD|CONTAINER", many: true, complete: "pod-or-container" }],
  options: {
    "reclaim-memory": { doc: "Write its memory to swap as far as the kernel can; cgroup v2 only" },
    type: typeOption,
  },
  examples: [
    { line: "davit pause web", does: "Pause all containers of a pod" },
    { line: "davit pause web/nginx", does: "Pause one container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => pauseAll(call, server)),
};

/** `davit resume`. */
export const resume: Command = {
  name: "resume",
  section: "Pods and containers",
  summary: "Let paused pods or containers run on",
  details: "Containers that are not paused stay as they are. Only with davit.",
  operands: [{ name: "POD|CONTAINER", many: true, complete: "pod-or-container" }],
  options: { type: typeOption },
  examples: [
    { line: "davit resume web", does: "Let all containers of a pod run on" },
    { line: "davit resume web/nginx", does: "Let one container run on" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => resumeAll(call, server)),
};

async function pauseAll(call: Call, server: Server): Promise<number> {
  const reclaimMemory = call.options.has("reclaim-memory");
  const limit = server.limit(reclaimMemory ? reclaimMs : pauseMs);
  const { terminal } = call;
  return await each(call, server, async (object) => {
    const { checkpoints } = server.client;
    const answer = checkpoints.pause({ id: idOf(object), reclaimMemory }, limit);
    const what = `pause ${object.kind} "${object.word}"`;
    const { reclaimedBytes } = await doing(what, davitOnly(answer));
    if (!reclaimMemory) return;
    terminal.err(`${printable(object.word)}: ${formatBytes(reclaimedBytes)} less in memory\n`);
  });
}

async function resumeAll(call: Call, server: Server): Promise<number> {
  return await each(call, server, async (object) => {
    const answer = server.client.checkpoints.resume({ id: idOf(object) }, server.limit());
    await doing(`resume ${object.kind} "${object.word}"`, davitOnly(answer));
  });
}

async function each(
  call: Call,
  server: Server,
  work: (object: Named) => Promise<void>,
): Promise<number> {
  const found = await findAll(call, new Objects(server));
  const tasks = found.map((object): Task => ({ name: object.word, work: () => work(object) }));
  return await forEach(call, tasks);
}

function idOf(object: Named): string {
  if (object.kind === "pod") return object.pod.id;
  return object.kind === "container" ? object.container.id : "";
}
