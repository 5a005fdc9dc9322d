#!/usr/bin/env node
// Sets limits of setrlimit(2) in containers by annotations of their pod. It reads the annotations of containerd's plugin
// of the same name, so that it can replace it (docs/nri-sdk.md):
//
//   metadata:
//     annotations:
//       ulimits.noderesource.dev/container.NAME: |
//         - type: RLIMIT_NOFILE
//           soft: 1024
//           hard: 4096
import { adjust, plugin, type RlimitType } from "davit/nri";
import { parse } from "yaml";

/** The second one is deprecated. */
const prefixes = ["ulimits.noderesource.dev", "ulimits.nri.containerd.io"];

interface Ulimit {
  readonly type: string;
  readonly soft: bigint;
  readonly hard: bigint;
}

/** The list of an annotation. An absent number is 0, as in containerd's plugin. */
function ulimitsOf(text: string): readonly Ulimit[] {
  // Unlimited is larger than a number of JavaScript.
  const list: unknown = parse(text, { intAsBigInt: true });
  if (list === null || list === undefined) return [];
  if (!Array.isArray(list)) throw new Error("it is not a list of limits");
  return list.map((item: Partial<Ulimit> | null) => {
    const { type, soft = 0n, hard = 0n } = item ?? {};
    if (typeof type !== "string") throw new Error("a limit has no type");
    return { type: `RLIMIT_${type.toUpperCase().replace(/^RLIMIT_/, "")}`, soft, hard };
  });
}

await plugin({
  name: "ulimit-adjuster",
  index: 10,
  socket: process.argv[2],
  reconnect: true,
  closed: ({ reason }) => console.error(reason),
  failed: ({ error }) => console.error(error),

  createContainer({ pod, container }) {
    const name = prefixes
      .map((prefix) => `${prefix}/container.${container.name}`)
      .find((key) => pod.annotations[key] !== undefined);
    if (name === undefined) return undefined;
    const adjustment = adjust();
    try {
      for (const { type, soft, hard } of ulimitsOf(pod.annotations[name] ?? "")) {
        adjustment.rlimit(type as RlimitType, { soft, hard });
      }
    } catch (error) {
      throw new Error(`annotation "${name}": ${(error as Error).message}`, { cause: error });
    }
    return adjustment;
  },
}).run();
