// What images, containers and logs take on the disk.
import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ContainerState, type Image } from "../../gen/runtime/v1/api_pb.ts";
import type { PodContainer } from "../objects/find.ts";
import type { Objects } from "../objects/objects.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** A line of davit system df. */
export interface DiskUsage {
  readonly type: "images" | "containers" | "logs";
  readonly total: number;
  /** Images that a container has, or containers that run. */
  readonly active: number;
  readonly bytes: bigint;
  /** What a removal of the others frees; of images at most this, since images share layers. */
  readonly reclaimable: bigint;
}

/** Asks the server, and reads the sizes of logs on this machine. */
export async function diskUsage(server: Server, objects: Objects): Promise<readonly DiskUsage[]> {
  const [images, containers] = await Promise.all([objects.images(), objects.containers()]);
  return [
    await usageOfImages(server, images, containers),
    await usageOfContainers(server, containers),
    await usageOfLogs(server, containers),
  ];
}

async function usageOfImages(
  { client, limit }: Server,
  images: readonly Image[],
  containers: readonly PodContainer[],
): Promise<DiskUsage> {
  const answer = doing("get the disk usage of images", client.image.imageFsInfo({}, limit()));
  const { imageFilesystems } = await answer;
  const used = images.filter((image) => isUsed(image, containers));
  const removable = images.filter((image) => !image.pinned && !used.includes(image));
  return {
    type: "images",
    total: images.length,
    active: used.length,
    bytes: imageFilesystems.reduce((sum, { usedBytes }) => sum + (usedBytes?.value ?? 0n), 0n),
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

function isRunning({ container }: PodContainer): boolean {
  return container.state === ContainerState.CONTAINER_RUNNING;
}
