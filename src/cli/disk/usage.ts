// What images, containers and logs take on the disk.
import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isKind } from "../../base/errors.ts";
import { ContainerState, type Image } from "../../gen/runtime/v1/api_pb.ts";
import { diskUsage as treeUsage } from "../../linux/file/index.ts";
import type { PodContainer } from "../objects/find.ts";
import type { Objects } from "../objects/objects.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** A line of davit system df. */
export interface DiskUsage {
  readonly type: "images" | "containers" | "logs" | "checkpoints";
  readonly total: number;
  /** Images that a container has, containers that run, or checkpoints that are made or restored now. */
  readonly active: number;
  readonly bytes: bigint;
  /** What a removal of the others frees; of images at most this, since images share layers. */
  readonly reclaimable: bigint;
}

/** Asks the server, and reads the sizes of logs and checkpoints on this machine. */
export async function diskUsage(server: Server, objects: Objects): Promise<readonly DiskUsage[]> {
  const answer = doing(
    "get the disk usage of images",
    server.client.image.imageFsInfo({}, server.limit()),
  );
  const [images, containers, { imageFilesystems }] = await Promise.all([
    objects.images(),
    objects.containers(),
    answer,
  ]);
  const bytes = imageFilesystems.reduce((sum, { usedBytes }) => sum + (usedBytes?.value ?? 0n), 0n);
  const root = imageFilesystems[0]?.fsId?.mountpoint ?? "";
  return [
    { ...usageOfImages(images, containers), bytes },
    await usageOfContainers(server, containers),
    await usageOfLogs(server, containers),
    ...(await usageOfCheckpoints(objects, join(root, "checkpoints"))),
  ];
}

function usageOfImages(
  images: readonly Image[],
  containers: readonly PodContainer[],
): Omit<DiskUsage, "bytes"> {
  const used = images.filter((image) => isUsed(image, containers));
  const removable = images.filter((image) => !image.pinned && !used.includes(image));
  return {
    type: "images",
    total: images.length,
    active: used.length,
    reclaimable: removable.reduce((sum, { size }) => sum + size, 0n),
  };
}

/** Whether a container was created from the image. Those that have it as a volume pin it. */
export function isUsed(image: Image, containers: readonly PodContainer[]): boolean {
  const names = new Set([image.id, ...image.repoTags, ...image.repoDigests]);
  return containers.some(({ container }) =>
    [container.imageId, container.imageRef, container.image?.image ?? ""].some((name) =>
      names.has(name),
    ),
  );
}

async function usageOfContainers(
  { client, limit }: Server,
  containers: readonly PodContainer[],
): Promise<DiskUsage> {
  const answer = doing("get container statistics", client.runtime.listContainerStats({}, limit()));
  const sizes = new Map(
    (await answer).stats.map(({ attributes, writableLayer }) => [
      attributes?.id ?? "",
      writableLayer?.usedBytes?.value ?? 0n,
    ]),
  );
  const sum = (list: readonly PodContainer[]): bigint =>
    list.reduce((bytes, { container }) => bytes + (sizes.get(container.id) ?? 0n), 0n);
  return {
    type: "containers",
    total: containers.length,
    active: containers.filter(isRunning).length,
    bytes: sum(containers),
    reclaimable: sum(containers.filter((each) => !isRunning(each))),
  };
}

/** The logs with those that were rotated, which have the name of the log and a suffix. */
async function usageOfLogs(
  { client, limit }: Server,
  containers: readonly PodContainer[],
): Promise<DiskUsage> {
  let [total, bytes, reclaimable] = [0, 0n, 0n];
  for (const each of containers) {
    const { status } = await client.runtime
      .containerStatus({ containerId: each.container.id }, limit())
      .catch(() => ({ status: undefined })); // removed meanwhile
    const sizes = sizesOfLog(status?.logPath ?? "");
    const size = sizes.reduce((sum, one) => sum + one, 0n);
    total += sizes.length;
    bytes += size;
    if (!isRunning(each)) reclaimable += size;
  }
  return { type: "logs", total, active: containers.filter(isRunning).length, bytes, reclaimable };
}

function sizesOfLog(path: string): readonly bigint[] {
  if (path === "") return [];
  try {
    const names = readdirSync(dirname(path)).filter((name) => name.startsWith(basename(path)));
    // Blocks of 512 bytes, whatever the file system has (stat(2)).
    return names.map((name) => statSync(join(dirname(path), name), { bigint: true }).blocks * 512n);
  } catch {
    return []; // on another machine, or removed meanwhile
  }
}

/**
 * Snapshots, which can be removed, and what is in use: captures, and copies of which containers are restored. Others than
 * root see only the snapshots. None for a server without snapshots.
 */
async function usageOfCheckpoints(
  objects: Objects,
  directory: string,
): Promise<readonly DiskUsage[]> {
  let total: number;
  let reclaimable: bigint;
  try {
    const snapshots = await objects.snapshots();
    total = snapshots.length;
    reclaimable = snapshots.reduce((sum, { size }) => sum + size, 0n);
  } catch (error) {
    if (isKind(error, "unimplemented")) return [];
    throw error;
  }
  const inUse = ["captures", "restores"].map((name) => join(directory, name));
  const active = inUse.flatMap((each) => namesIn(each)).length;
  const sizes = await Promise.all(inUse.map((each) => treeUsage(each).catch(() => undefined)));
  const bytes = sizes.reduce((sum, each) => sum + (each?.bytes ?? 0n), reclaimable);
  return [{ type: "checkpoints", total: total + active, active, bytes, reclaimable }];
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // none was made yet, or only root can read it
  }
}

function isRunning({ container }: PodContainer): boolean {
  return container.state === ContainerState.CONTAINER_RUNNING;
}
