import { createHash } from "node:crypto";
import { clone, create } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  PodSandboxConfigSchema,
  UserNamespaceSchema,
} from "../gen/runtime/v1/api_pb.ts";
import type { PodManifest } from "./pod.ts";

/** Ids of the node that somebody has. */
export interface IdSpan {
  readonly first: number;
  readonly length: number;
}

/** How many ids a pod in a user namespace gets: all that 16 bits can name, as with kubelet. */
export const podIdCount = 65_536;

// The first range has the node's own users; ids from 2^31 on are negative to old programs.
const ranges = 2 ** 31 / podIdCount;

/**
 * The first of `podIdCount` ids for this pod, none of which is in `taken`; the same again for as long
 * as nobody takes them. Undefined when all are taken.
 */
export function chooseIds(podUid: string, taken: readonly IdSpan[]): number | undefined {
  // Two commands that choose at once do not know of each other: each pod begins somewhere else.
  const start = createHash("sha256").update(podUid).digest().readUInt32BE();
  for (let step = 0; step < ranges - 1; step++) {
    const first = (1 + ((start + step) % (ranges - 1))) * podIdCount;
    const overlaps = (span: IdSpan): boolean =>
      span.first < first + podIdCount && first < span.first + span.length;
    if (!taken.some(overlaps)) return first;
  }
  return undefined;
}

/** The pod in a user namespace whose users and groups are those of the node from `first` on. */
export function withIds(pod: PodManifest, first: number): PodManifest {
  const sandbox = clone(PodSandboxConfigSchema, pod.sandbox);
  const options = sandbox.linux?.securityContext?.namespaceOptions;
  const ids = { hostId: first, containerId: 0, length: podIdCount };
  const mappings = { uids: [ids], gids: [ids] };
  if (options !== undefined) {
    options.usernsOptions = create(UserNamespaceSchema, { mode: NamespaceMode.POD, ...mappings });
  }
  return { ...pod, sandbox };
}

/** The spans that a file as /etc/subuid gives to users of the node (subuid(5)). */
export function subordinateIds(text: string): readonly IdSpan[] {
  return [...text.matchAll(/^[^:#\n]+:(\d+):(\d+)\s*$/gm)].map(([, first, length]) => ({
    first: Number(first),
    length: Number(length),
  }));
}
