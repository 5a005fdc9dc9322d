import { createReadStream } from "node:fs";
import { chmod, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { systemError } from "../../base/system-error.ts";
import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { writeArchive } from "../archives/archive-output.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { GracePeriodLines } from "../lifecycle/grace.ts";
import { stopContainer, stopPod } from "../lifecycle/stop.ts";
import { containerPath, type PodContainer, podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { formatBytes, formatDuration } from "../output/figures.ts";
import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { closeTcpOption, removeSnapshot, takeSnapshot } from "./snapshots.ts";
import { typeOption } from "./stop.ts";

// The archive has what the processes had in memory.
const secretMode = 0o600;

/** `davit checkpoint`. */
export const checkpoint: Command = {
  name: "checkpoint",
  section: "Pods and containers",
  summary: "Write the state of a running pod or container to a file",
  details:
    "The archive of a pod is for davit restore. That of a container is one of Kubernetes' forensic checkpoints, which\n" +
    "checkpointctl reads. Both have all that the processes had in memory, passwords included, so the file is only\n" +
    "readable by its owner. The pod or container runs on; with --stop, it is stopped when the file is written. For\n" +
    "pods only with davit. docs/checkpoints.md says what cannot be captured.",
  operands: [{ name: "POD|CONTAINER", complete: "pod-or-container" }],
  options: {
    output: {
      short: "o",
      value: "FILE",
      doc: 'File to write; "-" is stdout',
      complete: "file",
      alsoNamed: ["--export"],
    },
    "close-tcp": closeTcpOption,
    stop: { doc: "Stop the pod or container when the file is written" },
    "leave-running": { short: "R", hidden: true, doc: "The default" },
    quiet: { short: "q", doc: "Show no progress" },
    type: typeOption,
  },
  refusals: {
    "tcp-established":
      "TCP connections cannot be restored, since the restored pod has another address; use --close-tcp",
  },
  examples: [
    { line: "davit checkpoint web -o web.tar", does: "Write the state of a pod" },
    {
      line: "davit checkpoint --stop web -o - | zstd >web.tar.zst",
      does: "Put a pod to sleep in a compressed file",
    },
    { line: "davit checkpoint web/nginx -o nginx.tar", does: "Write the state of one container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const { options } = call;
  const output = options.text("output");
  if (output === undefined) throw new UsageError("--output FILE is missing", checkpoint);
  const path = output === "-" ? undefined : output;
  if (path === undefined && process.stdout.isTTY) {
    throw new UsageError('"--output" is "-", and stdout is a terminal', checkpoint);
  }
  const objects = new Objects(server);
  const type = options.text("type");
  const kinds = (["pod", "container"] as const).filter(
    (kind) => type === undefined || kind === type,
  );
  const found = await pick(call.operands[0] ?? "", kinds, objects);
  if (found.kind === "image") throw new TypeError("pick() returned another kind");
  using grace = new GracePeriodLines(call.terminal);
  if (found.kind === "pod") {
    await ofPod(call, server, found.pod, path);
    const containers = (await objects.containers()).map(({ container }) => container);
    if (options.has("stop")) {
      await stopPod(server, found.pod, containers, { seconds: undefined, grace });
    }
  } else {
    if (options.has("close-tcp")) {
      throw new UsageError(
        '"--close-tcp" is for pods: the CRI has no such option for a container; name its pod',
        checkpoint,
      );
    }
    await ofContainer(server, found, path);
    if (options.has("stop")) await stopContainer(server, found, { seconds: undefined, grace });
  }
  return exitCode.done;
}

/** By a snapshot, which is removed again. */
async function ofPod(
  call: Call,
  server: Server,
  pod: PodSandbox,
  path: string | undefined,
): Promise<void> {
  let written = 0;
  using lines = new LiveLines(progressOutput(call.terminal, call.options.has("quiet")));
  const startedMs = performance.now();
  using _shown = lines.add((now) => [
    `${spinnerAt(now)} ${podPath(pod)}  ${written === 0 ? "capturing" : formatBytes(written)}  ` +
      formatDuration(now - startedMs),
  ]);
  const { id } = await takeSnapshot(call, server, pod);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const request = { id };
    for await (const { data } of server.client.checkpoints.exportSnapshot(
      request,
      server.unlimited(),
    )) {
      written += data.length;
      yield data;
    }
  }
  try {
    const archive = writeArchive(path, chunks(), secretMode);
    await doing(`write the checkpoint of pod "${podPath(pod)}"`, davitOnly(archive));
  } finally {
    await removeSnapshot(server, id);
  }
}

/** The server writes the archive into a directory beside the file, which only this user can enter. */
async function ofContainer(
  server: Server,
  found: PodContainer,
  path: string | undefined,
): Promise<void> {
  const parent = path === undefined ? tmpdir() : dirname(resolve(path));
  const directory = await mkdtemp(join(parent, ".davit-checkpoint-")).catch((cause: unknown) => {
    throw systemError(`write "${path ?? parent}"`, cause);
  });
  try {
    const location = join(directory, "checkpoint.tar");
    const request = { containerId: found.container.id, location, timeout: 0n };
    const call = server.client.runtime.checkpointContainer(request, server.unlimited());
    await doing(`checkpoint container "${containerPath(found)}"`, call);
    if (path === undefined) {
      await writeArchive(undefined, createReadStream(location), secretMode);
      return;
    }
    await chmod(location, secretMode);
    await rename(location, path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
