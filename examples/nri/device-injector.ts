#!/usr/bin/env node
// Adds devices, mounts and others to containers by annotations of their pod. It reads the annotations of containerd's
// plugin of the same name, so that it can replace it (docs/nri-sdk.md):
//
//   metadata:
//     annotations:
//       devices.noderesource.dev/container.NAME: |
//         - path: /dev/fuse
//           type: c
//           major: 10
//           minor: 229
//       mounts.noderesource.dev/pod: |
//         - source: /srv/models
//           destination: /models
//           type: bind
//           options: [rbind, ro]
import {
  type Adjustment,
  adjust,
  type DeviceInput,
  type IOPriorityInput,
  type MemoryPolicyInput,
  type MountInput,
  plugin,
  type SchedulerInput,
} from "davit/nri";
import { parse } from "yaml";

/** A device, with the name that its permissions have in containerd's plugin. */
type Device = DeviceInput & { readonly file_mode?: number };

interface NetDevice {
  readonly hostIf: string;
  readonly name: string;
}

/** What an annotation with this prefix, or the deprecated one, says about a container; the most specific one counts. */
function annotated(annotations: Readonly<Record<string, string>>, name: string, container: string) {
  for (const suffix of [`/container.${container}`, "/pod", ""]) {
    for (const prefix of [`${name}.noderesource.dev`, `${name}.nri.io`]) {
      const text = annotations[prefix + suffix];
      if (text !== undefined) return { key: prefix + suffix, value: parse(text) as unknown };
    }
  }
  return undefined;
}

/** How each annotation changes a container. */
const injectors: Readonly<Record<string, (adjustment: Adjustment, value: never) => void>> = {
  devices: (adjustment, devices: readonly Device[]) => {
    for (const { file_mode: fileMode, uid, gid, ...device } of devices) {
      adjustment.device({
        ...device,
        // 0 is "not set" in containerd's plugin.
        ...(fileMode ? { fileMode } : {}),
        ...(uid ? { uid } : {}),
        ...(gid ? { gid } : {}),
      });
    }
  },
  mounts: (adjustment, mounts: readonly MountInput[]) => {
    for (const mount of mounts) adjustment.mount(mount);
  },
  "cdi-devices": (adjustment, names: readonly string[]) => {
    for (const name of names) adjustment.cdi(name);
  },
  "network-devices": (adjustment, devices: readonly NetDevice[]) => {
    for (const { hostIf, name } of devices) adjustment.netDevice(hostIf, name);
  },
  "io-priority": (adjustment, priority: IOPriorityInput) => void adjustment.ioPriority(priority),
  "scheduling-policy": (adjustment, policy: SchedulerInput) => void adjustment.scheduler(policy),
  "memory-policy": (adjustment, policy: MemoryPolicyInput) => void adjustment.memoryPolicy(policy),
  sysctl: (adjustment, values: Readonly<Record<string, string>>) => {
    for (const [name, value] of Object.entries(values)) adjustment.sysctl(name, value);
  },
};

await plugin({
  name: "device-injector",
  index: 10,
  socket: process.argv[2],
  reconnect: true,
  closed: ({ reason }) => console.error(reason),
  failed: ({ error }) => console.error(error),

  createContainer({ pod, container }) {
    const adjustment = adjust();
    for (const [name, inject] of Object.entries(injectors)) {
      const found = annotated(pod.annotations, name, container.name);
      if (found === undefined || found.value === null) continue;
      try {
        inject(adjustment, found.value as never);
      } catch (error) {
        throw new Error(`annotation "${found.key}": ${(error as Error).message}`, { cause: error });
      }
    }
    return adjustment;
  },
}).run();
