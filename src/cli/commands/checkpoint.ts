import { createReadStream } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { systemError } from "../../base/system-error.ts";
import { type Container, ContainerState, type PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { checkArchiveOutput, nameArchive, writeArchive } from "../archives/archive-output.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { stopContainer, stopPod } from "../lifecycle/stop.ts";
import { containerPath, type PodContainer, podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { formatBytes, formatDuration, shortId } from "../output/figures.ts";
import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { closeTcpOption, removeOwnSnapshot, takeSnapshot } from "./snapshots.ts";
import { typeOption } from "./stop.ts";

// The archive has what the processes had in memory.
const secretMode = 0o600;
const pauseMs = 30_000;
/** A stop of paused processes, which must not run on. */
const killNow = { seconds: 0, grace: undefined };

/** `davit checkpoint`. */
export const checkpoint: Command = {
  name: "checkpoint",
  section: "Pods and containers",
  summary: "Write the state of a running pod or container to a file",
  details:
    "The archive is for davit restore. That of a container is also one of Kubernetes' forensic checkpoints, which\n" +
    "checkpointctl reads. Both have all that the processes had in memory, passwords included, so the file is only\n" +
    "readable by its owner. The pod or container runs on; with --stop, it is paused before, and killed when the file\n" +
    "is written. Pods and --stop only with davit. docs/checkpoints.md says what cannot be captured.",
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
    stop: { doc: "Pause the pod or container, and kill it when the file is written" },
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
  if (path !== undefined) await checkArchiveOutput(path);
  const objects = new Objects(server);
  const type = options.text("type");
  const kinds = (["pod", "container"] as const).filter(
    (kind) => type === undefined || kind === type,
  );
  const found = await pick(call.operands[0] ?? "", kinds, objects);
  if (found.kind === "image") throw new TypeError("pick() returned another kind");
  if (found.kind === "container" && options.has("close-tcp")) {
    throw new UsageError(
      '"--close-tcp" is for pods: the CRI has no such option for a container; name its pod',
      checkpoint,
    );
  }
  const write = (): Promise<void> =>
    found.kind === "pod" ? ofPod(call, server, found.pod, path) : ofContainer(server, found, path);
  if (!options.has("stop")) await write();
  else if (found.kind === "pod") {
    const containers = (await objects.containers()).map(({ container }) => container);
    const running = containers.filter((each) => isRunningIn(each, found.pod));
    await whilePaused(server, { id: found.pod.id, running }, async () => {
      await write();
      await stopPod(server, found.pod, containers, killNow);
    });
  } else {
    const { container } = found;
    await whilePaused(server, { id: container.id, running: [container] }, async () => {
      await write();
      await stopContainer(server, found, killNow);
    });
  }
  return exitCode.done;
}

function isRunningIn({ podSandboxId, state }: Container, { id }: PodSandbox): boolean {
  return podSandboxId === id && state === ContainerState.CONTAINER_RUNNING;
}

/** Pauses a pod or a container, so that the checkpoint has all that it did. After an error or Ctrl-C it runs on as before. */
export async function whilePaused(
  server: Pick<Server, "client" | "limit">,
  { id, running }: { readonly id: string; readonly running: readonly Container[] },
  sleep: () => Promise<void>,
): Promise<void> {
  const { checkpoints, runtime } = server.client;
  const statuses = await Promise.all(
    running.map(({ id: containerId }) => runtime.containerStatus({ containerId }, server.limit())),
  );
  const wasPaused = statuses.some(({ status }) => status?.reason === "Paused");
  await doing(`pause "${id}"`, davitOnly(checkpoints.pause({ id }, server.limit(pauseMs))));
  try {
    await sleep();
  } catch (error) {
    if (wasPaused) throw error;
    // Without the signal of Ctrl-C, which may be the error.
    await checkpoints.resume({ id }, { timeoutMs: pauseMs }).catch((cause: unknown) => {
      const text = `${messageOf(error)}; it is still paused (${messageOf(cause)}): run davit resume ${shortId(id)}`;
      throw new CommandFailure(exitCode.failed, text, { cause });
    });
    throw error;
  }
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
    const isOnlyCopy = call.options.has("stop");
    const archive = writeArchive(path, chunks(), { mode: secretMode, isOnlyCopy });
    await doing(`write the checkpoint of pod "${podPath(pod)}"`, davitOnly(archive));
  } finally {
    await removeOwnSnapshot(call, server, id);
  }
}

/** The server writes the archive into a directory beside the file, which only this user can enter. */
async function ofContainer(
  server: Server,
  found: PodContainer,
  path: string | undefined,
): Promise<void> {
  if (process.geteuid?.() !== 0) {
    throw new RuntimeError(
      "permission-denied",
      `checkpoint container "${containerPath(found)}": only root can read the archive, which the server writes; run davit checkpoint as root`,
    );
  }
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
      await writeArchive(undefined, createReadStream(location), { mode: secretMode });
      return;
    }
    await chmod(location, secretMode);
    await nameArchive(location, path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
