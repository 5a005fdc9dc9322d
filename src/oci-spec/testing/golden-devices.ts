import { Signal } from "../../gen/runtime/v1/api_pb.ts";
import type { SpecInput } from "../input.ts";
import { specInput } from "./spec-input.ts";

/** The requests of {@link goldenRequests} for devices: of the request, of a user who is not root, and of CDI. */
export const goldenDevices: Readonly<Record<string, SpecInput>> = {
  devices: specInput(
    {
      devices: [{ hostPath: "/dev/fuse", containerPath: "/dev/my-fuse", permissions: "rw" }],
      stopSignal: Signal.SIGUSR1,
    },
    {
      devices: [
        {
          device: {
            path: "/dev/my-fuse",
            type: "c",
            major: 10,
            minor: 229,
            fileMode: 0o666,
            uid: 0,
            gid: 0,
          },
          access: "rw",
        },
      ],
    },
  ),
  "devices-of-user": specInput(
    {
      devices: [{ hostPath: "/dev/fuse", containerPath: "", permissions: "rwm" }],
      linux: { securityContext: { runAsUser: { value: 1000n }, runAsGroup: { value: 2000n } } },
    },
    {
      devicesOfUser: true,
      user: { uid: 1000n, gid: 2000n, supplementalGroups: [] },
      devices: [
        {
          device: {
            path: "/dev/fuse",
            type: "c",
            major: 10,
            minor: 229,
            fileMode: 0o660,
            uid: 0,
            gid: 0,
          },
          access: "rwm",
        },
      ],
    },
  ),
  cdi: specInput(
    { CDIDevices: [{ name: "vendor.example/gpu=0" }] },
    {
      cdi: {
        env: ["GPU=0", "PATH=/gpu/bin"],
        deviceNodes: [
          {
            path: "/dev/gpu0",
            hostPath: "/dev/gpu0",
            type: "c",
            major: 195,
            minor: 0,
            fileMode: 0o660,
            permissions: "rw",
            gid: 44,
          },
        ],
        netDevices: [],
        mounts: [
          {
            hostPath: "/usr/lib/gpu.so",
            containerPath: "/usr/lib/gpu.so",
            type: "",
            options: ["ro", "nosuid", "nodev", "bind"],
          },
        ],
        hooks: [
          {
            hookName: "createContainer",
            path: "/usr/bin/gpu-hook",
            args: ["gpu-hook", "ldcache"],
            env: [],
          },
        ],
        additionalGids: [44],
      },
    },
  ),
};
