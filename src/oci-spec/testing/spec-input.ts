import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  ContainerMetadataSchema,
  ImageSpecSchema,
  LinuxContainerConfigSchema,
  LinuxContainerSecurityContextSchema,
  LinuxPodSandboxConfigSchema,
  NamespaceMode,
  NamespaceOptionSchema,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  PodSandboxMetadataSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { linuxCapabilities } from "../security/capabilities.ts";
import type { SpecHost, SpecInput } from "../input.ts";

/** A container's config as a test writes it: over a name, an image and nothing else. */
export type ConfigInit = MessageInitShape<typeof ContainerConfigSchema>;
type PodInit = MessageInitShape<typeof PodSandboxConfigSchema>;

/** A node with everything: cgroup v2, swap accounting, huge pages, all capabilities. */
export const testHost: SpecHost = {
  cgroupVersion: 2,
  hasSwapController: true,
  hugepageSizes: ["2MB", "1GB"],
  capabilities: linuxCapabilities,
  arch: "x64",
  kernel: [6, 12],
  hostname: "node-1",
};

/** A container's config. */
export function containerConfig(init: ConfigInit = {}): ContainerConfig {
  const config = create(ContainerConfigSchema, init);
  config.metadata ??= create(ContainerMetadataSchema, { name: "web" });
  config.image ??= create(ImageSpecSchema, { image: "example.org/app:1" });
  return config;
}

/** A pod's config, with namespaces as kubelet asks for them. */
export function podConfig(init: PodInit = {}): PodSandboxConfig {
  const config = create(PodSandboxConfigSchema, {
    hostname: "pod-1",
    logDirectory: "/var/log/pods/default_pod-1_uid-1",
  });
  Object.assign(config, create(PodSandboxConfigSchema, init), {
    hostname: init.hostname ?? config.hostname,
    logDirectory: init.logDirectory ?? config.logDirectory,
  });
  config.metadata ??= create(PodSandboxMetadataSchema, {
    name: "pod-1",
    namespace: "default",
    uid: "uid-1",
  });
  config.linux ??= create(LinuxPodSandboxConfigSchema, {
    securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
  });
  return config;
}

/** The request of a container in a pod, over a pod with all its namespaces and files. */
export function specInput(
  init: ConfigInit = {},
  over: Partial<Omit<SpecInput, "config">> = {},
): SpecInput {
  const config = containerConfig(init);
  config.linux ??= create(LinuxContainerConfigSchema);
  config.linux.securityContext ??= create(LinuxContainerSecurityContextSchema);
  // As kubelet asks: each container its own PID namespace.
  config.linux.securityContext.namespaceOptions ??= create(NamespaceOptionSchema, {
    pid: NamespaceMode.CONTAINER,
  });
  return {
    containerId: "c1",
    sandbox: { id: "s1", config: podConfig() },
    sandboxPins: {
      net: "/run/davit/ns/net/s1",
      ipc: "/run/davit/ns/ipc/s1",
      uts: "/run/davit/ns/uts/s1",
    },
    sandboxFiles: {
      resolvConf: "/run/davit/sandboxes/s1/resolv.conf",
      hosts: "/run/davit/sandboxes/s1/hosts",
      hostname: "/run/davit/sandboxes/s1/hostname",
      shm: "/run/davit/sandboxes/s1/shm",
    },
    config,
    image: {
      entrypoint: [],
      cmd: ["sh"],
      env: [],
      workingDir: "",
      user: "",
      stopSignal: "",
      volumes: [],
      labels: {},
    },
    imageName: "example.org/app:1",
    rootfs: "/run/davit/containers/c1/rootfs",
    user: { uid: 0n, gid: 0n, supplementalGroups: [] },
    cgroupPath: "/kubepods/pod-uid-1/c1",
    mountSources: config.mounts.map((mount) => mount.hostPath),
    volumes: [],
    devices: [],
    host: testHost,
    runtime: { mountOptions: ["ro", "rro"], idMappedMounts: true, seccomp: true },
    ...over,
  };
}
