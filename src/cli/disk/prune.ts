// What can be removed without a loss of what runs: pods of davit run that have ended, and images.
import { statSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline/promises";
import { RuntimeError } from "../../base/errors.ts";
import {
  ContainerState,
  type Image,
  type PodSandbox,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import { ownPodDirectory } from "../../manifest/index.ts";
import type { Call } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { hint } from "../command-line/unknown-command.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { removeContainer, stopAndRemovePod } from "../lifecycle/stop.ts";
import { lockPodDirectory, removeOwnDirectory } from "../lifecycle/volumes.ts";
import { containerPath, type PodContainer, podPath } from "../objects/find.ts";
import type { Objects } from "../objects/objects.ts";
import { isPodOfKubelet } from "../objects/recorded-config.ts";
import { formatBytes, shortId } from "../output/figures.ts";
import { printable } from "../output/printable.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { isUsed } from "./usage.ts";

// Pods and images that use the network or the disk while they are removed.
const removeMs = 60_000;

/** What a prune removes. */
export interface Prunable {
  readonly pods: readonly PodSandbox[];
  /** Containers that have exited, of pods that stay. */
  readonly containers: readonly PodContainer[];
  readonly images: readonly Image[];
}

/** The images that no container has: those without a name, or all of them. Pinned ones stay. */
export async function unusedImages(
  objects: Objects,
  { all, without }: { readonly all: boolean; readonly without: ReadonlySet<string> },
): Promise<readonly Image[]> {
  const containers = (await objects.containers()).filter(
    ({ container }) => !without.has(container.id),
  );
  return (await objects.images()).filter(
    (image) => !image.pinned && !isUsed(image, containers) && (all || image.repoTags.length === 0),
  );
}

/**
 * The pods that davit run made with this directory of pods and in which nothing runs, and the exited containers of the
 * other ones. Pods of kubelet, and those that another client made, have no directory there.
 */
export async function endedPods(
  objects: Objects,
  podsRoot: string,
): Promise<Pick<Prunable, "pods" | "containers">> {
  const containers = await objects.containers();
  const own = (await objects.pods()).filter(
    (pod) => !isPodOfKubelet(pod) && isDirectory(directoryOf(pod, podsRoot)),
  );
  const pods = own.filter((pod) => {
    if (pod.state !== PodSandboxState.SANDBOX_READY) return true;
    const inPod = containers.filter(({ container }) => container.podSandboxId === pod.id);
    // A ready pod without containers is being made.
    return inPod.length > 0 && inPod.every(hasExited);
  });
  const going = new Set(pods.map(({ id }) => id));
  const staying = new Set(own.filter(({ id }) => !going.has(id)).map(({ id }) => id));
  return {
    pods,
    containers: containers.filter(
      (each) => staying.has(each.container.podSandboxId) && hasExited(each),
    ),
  };
}

function directoryOf({ metadata }: PodSandbox, podsRoot: string): string | undefined {
  return metadata === undefined ? undefined : ownPodDirectory(podsRoot, metadata);
}

function isDirectory(path: string | undefined): boolean {
  return path !== undefined && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function hasExited({ container }: PodContainer): boolean {
  return container.state === ContainerState.CONTAINER_EXITED;
}

/**
 * Removes these objects after a question, or with --force without one. Returns the exit code.
 *
 * @param podsRoot the directory of the pods of davit run
 */
export async function prune(
  call: Call,
  server: Server,
  objects: Objects,
  { found, podsRoot }: { readonly found: Prunable; readonly podsRoot: string },
): Promise<number> {
  const { pods, containers, images } = found;
  if (pods.length + containers.length + images.length === 0) {
    call.terminal.err("nothing to remove\n");
    return exitCode.done;
  }
  if (!call.options.has("force") && !(await confirmed(call, server, found))) {
    call.terminal.err("nothing was removed\n");
    return exitCode.failed;
  }
  const all = (await objects.containers()).map(({ container }) => container);
  const code = await forEach(call, [
    ...pods.map((pod): Task => {
      const work = async (): Promise<void> => {
        using _lock = lockOf(pod, podsRoot);
        const options = { seconds: 0, grace: undefined };
        await stopAndRemovePod(server, pod, all, options);
        if (pod.metadata) await removeOwnDirectory(podsRoot, pod.metadata);
      };
      return { name: podPath(pod), work };
    }),
    ...containers.map(
      (each): Task => ({ name: containerPath(each), work: () => removeContainer(server, each) }),
    ),
  ]);
  const ofImages = await forEach(
    call,
    images.map((image): Task => {
      const name = image.repoTags[0] ?? shortId(image.id);
      const request = { image: { image: image.id } };
      const work = async (): Promise<void> => {
        const removal = server.client.image.removeImage(request, server.limit(removeMs));
        await doing(`remove image "${name}"`, removal);
      };
      return { name, work };
    }),
  );
  return code === exitCode.done ? ofImages : code;
}

/** The lock of davit run: a pod whose init containers have exited may still be in the making. */
function lockOf(pod: PodSandbox, podsRoot: string): Disposable | undefined {
  const directory = directoryOf(pod, podsRoot);
  if (directory === undefined || !isDirectory(directory)) return undefined;
  const lock = lockPodDirectory(directory);
  if (lock !== undefined) return lock;
  throw new RuntimeError(
    "failed-precondition",
    `remove pod "${podPath(pod)}": a davit run is running it; wait until that has finished`,
  );
}

async function confirmed(call: Call, server: Server, found: Prunable): Promise<boolean> {
  const { pods, containers, images } = found;
  if (!process.stdin.isTTY) {
    throw hint("stdin is not a terminal, so nothing was asked and nothing removed", "use --force");
  }
  const bytes = images.reduce((sum, { size }) => sum + size, 0n);
  const names = [
    ...pods.map((pod) => `pod ${podPath(pod)}`),
    ...containers.map((each) => `container ${containerPath(each)}`),
    ...images.map(({ id, repoTags }) => `image ${repoTags[0] ?? shortId(id)}`),
  ];
  const size = images.length === 0 ? "" : ` (images: at most ${formatBytes(bytes)})`;
  const question = createInterface({ input: process.stdin, output: process.stderr });
  try {
    call.terminal.err(`${names.map((name) => `  ${printable(name)}`).join("\n")}\n`);
    const answer = await question.question(`Remove these${size}? [y/N] `, {
      signal: server.signal,
    });
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    question.close();
  }
}
