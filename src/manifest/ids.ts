import { createHash } from "node:crypto";
import { clone, create } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  PodSandboxConfigSchema,
  UserNamespaceSchema,
} from "../gen/runtime/v1/api_pb.ts";
import type { PodManifest } from "./pod.ts";

/** A range of user or group ids of the node. */
export interface IdRange {
  readonly first: number;
  readonly length: number;
}

/** The number of ids of a pod in a user namespace: 16 bits, as in kubelet. */
export const podIdCount = 65_536;

// The first range has the node's own users; old programs read ids from 2^31 on as negative.
const rangeCount = 2 ** 31 / podIdCount;

/**
 * The first of `podIdCount` ids for this pod that do not overlap `taken`. The result is the same as long
 * as these ids are free. undefined when no range is free.
 */
export function chooseHostIds(podUid: string, taken: readonly IdRange[]): number | undefined {
  // Concurrent commands do not know each other's choices, so the search starts at a different range for each pod.
  const start = createHash("sha256").update(podUid).digest().readUInt32BE();
  for (let step = 0; step < rangeCount - 1; step++) {
    const first = (1 + ((start + step) % (rangeCount - 1))) * podIdCount;
    const overlaps = (range: IdRange): boolean =>
      range.first < first + podIdCount && first < range.first + range.length;
    if (!taken.some(overlaps)) return first;
  }
  return undefined;
}

/** The pod with a user namespace that maps its ids to the node's ids from `first` on. */
export function withIdMapping(pod: PodManifest, first: number): PodManifest {
  const sandbox = clone(PodSandboxConfigSchema, pod.sandbox);
  const options = sandbox.linux?.securityContext?.namespaceOptions;
  const ids = { hostId: first, containerId: 0, length: podIdCount };
  const mappings = { uids: [ids], gids: [ids] };
  if (options !== undefined) {
    options.usernsOptions = create(UserNamespaceSchema, { mode: NamespaceMode.POD, ...mappings });
  }
  return { ...pod, sandbox };
}

/** The ranges that a file like /etc/subuid assigns to users of the node (subuid(5)). */
export function subordinateIds(text: string): readonly IdRange[] {
  return [...text.matchAll(/^[^:#\n]+:(\d+):(\d+)\s*$/gm)].map(([, first, length]) => ({
    first: Number(first),
    length: Number(length),
  }));
}
