/** Pods for tests: the smallest request that a kubelet could send, with unique names. */
import { randomUUID } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
} from "../../src/gen/runtime/v1/api_pb.ts";
import { testMark } from "./belongs.ts";
import { hasSystemdDriver } from "./systemd-driver.ts";

type PodInit = MessageInitShape<typeof PodSandboxConfigSchema>;

let count = 0;

/**
 * A PodSandboxConfig with a unique name and uid, a cgroup parent of its own and kubelet's usual
 * namespaces: a network for the pod, a pid namespace for each container. `changes` replaces whole
 * fields.
 */
export function podConfig(changes: PodInit = {}): PodSandboxConfig {
  count += 1;
  const name = `pod-${process.pid}-${count}`;
  return create(PodSandboxConfigSchema, {
    metadata: { name, uid: randomUUID(), namespace: "davit-test", attempt: 0 },
    hostname: name,
    logDirectory: "",
    labels: { "davit.test": name },
    linux: {
      // systemd keeps the slice that a request names; davit removes the one that it makes for the pod.
      cgroupParent: hasSystemdDriver ? "" : `/${testMark}-${count}`,
      securityContext: {
        namespaceOptions: {
          network: NamespaceMode.POD,
          pid: NamespaceMode.CONTAINER,
          ipc: NamespaceMode.POD,
        },
      },
    },
    ...changes,
  } as PodInit);
}
