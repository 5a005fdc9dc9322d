import {
  MountPropagation,
  NamespaceMode,
  SecurityProfile_ProfileType,
} from "../../gen/runtime/v1/api_pb.ts";
import type { SpecInput } from "../input.ts";
import { containerLabels } from "../security/selinux.ts";
import { goldenDevices } from "./golden-devices.ts";
import { type ConfigInit, podConfig, specInput, testHost } from "./spec-input.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const image = specInput().image;
const pod = (init: Parameters<typeof podConfig>[0]): SpecInput["sandbox"] => ({
  id: "s1",
  config: podConfig(init),
});
const mappedUsers = {
  mode: NamespaceMode.POD,
  uids: [{ containerId: 0, hostId: 65_536, length: 65_536 }],
  gids: [{ containerId: 0, hostId: 131_072, length: 65_536 }],
};
const modes = (namespaceOptions: {
  network?: NamespaceMode;
  pid?: NamespaceMode;
  ipc?: NamespaceMode;
  targetId?: string;
  usernsOptions?: typeof mappedUsers;
}): { securityContext: { namespaceOptions: typeof namespaceOptions } } => ({
  securityContext: { namespaceOptions },
});
const { POD, NODE, CONTAINER, TARGET } = NamespaceMode;

// What kubelet sends for procMount Default (pkg/securitycontext/util.go).
const maskedPaths = ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/sys/firmware"];
const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** In a pod with SELinux labels. */
function labelled(init: ConfigInit): SpecInput {
  const selinux = {
    process: "system_u:system_r:container_t:s0:c12,c345",
    mount: "system_u:object_r:container_file_t:s0:c12,c345",
  };
  const privileged = init.linux?.securityContext?.privileged === true;
  const input = specInput(init, { sandbox: pod({ linux: { securityContext: { privileged } } }) });
  const labels = containerLabels(input.config, { config: input.sandbox.config, selinux });
  return { ...input, selinux: labels };
}

/** One request for each topic; its spec is in golden/<name>.json. */
export const goldenRequests: Readonly<Record<string, SpecInput>> = {
  minimal: specInput(),
  kubelet: specInput({
    command: ["/bin/app"],
    args: ["--port", "80"],
    envs: [{ key: "KUBERNETES_PORT", value: text("tcp://10.0.0.1:443") }],
    mounts: [
      { containerPath: "/etc/hosts", hostPath: "/var/lib/kubelet/pods/u/etc-hosts" },
      {
        containerPath: "/var/run/secrets/kubernetes.io/serviceaccount",
        hostPath: "/var/lib/kubelet/pods/u/volumes/kubernetes.io~projected/kube-api-access",
        readonly: true,
        selinuxRelabel: true,
      },
      { containerPath: "/dev/termination-log", hostPath: "/var/lib/kubelet/pods/u/containers/1" },
    ],
    linux: {
      resources: {
        cpuPeriod: 100_000n,
        cpuQuota: 50_000n,
        cpuShares: 512n,
        memoryLimitInBytes: 134_217_728n,
        oomScoreAdj: 985n,
        hugepageLimits: [
          { pageSize: "2MB", limit: 0n },
          { pageSize: "1GB", limit: 0n },
        ],
        unified: { "memory.oom.group": "1" },
      },
      securityContext: { maskedPaths, readonlyPaths },
    },
  }),
  "image-defaults": specInput(
    {},
    {
      image: {
        ...image,
        entrypoint: ["/entry"],
        cmd: ["serve"],
        env: ["PATH=/app/bin:/bin", "LANG=C.UTF-8"],
        workingDir: "/srv",
        stopSignal: "SIGQUIT",
      },
    },
  ),
  env: specInput(
    {
      envs: [
        { key: "A", value: text("request") },
        { key: "B", value: text("1=2") },
        { key: "B", value: text("last ä") },
        { key: "HOSTNAME", value: text("mine") },
        { key: "EMPTY", value: text("") },
      ],
    },
    { image: { ...image, env: ["A=image", "B=image", "C=image"] } },
  ),
  terminal: specInput({ tty: true, stdin: true, workingDir: "/work" }),
  user: specInput(
    {},
    { user: { uid: 1000n, gid: 1001n, supplementalGroups: [3000n, 2000n, 1001n] } },
  ),
  "capabilities-add-drop": specInput({
    linux: {
      securityContext: {
        capabilities: { addCapabilities: ["NET_ADMIN"], dropCapabilities: ["CHOWN", "net_raw"] },
      },
    },
  }),
  "capabilities-drop-all-add-one": specInput({
    linux: {
      securityContext: {
        noNewPrivs: true,
        capabilities: { addCapabilities: ["NET_BIND_SERVICE"], dropCapabilities: ["ALL"] },
      },
    },
  }),
  "capabilities-add-all": specInput({
    linux: { securityContext: { capabilities: { addCapabilities: ["ALL"] } } },
  }),
  "capabilities-ambient": specInput({
    linux: { securityContext: { capabilities: { addAmbientCapabilities: ["NET_ADMIN"] } } },
  }),
  "readonly-rootfs": specInput({ linux: { securityContext: { readonlyRootfs: true } } }),
  privileged: specInput(
    { linux: { securityContext: { privileged: true, maskedPaths, readonlyPaths } } },
    {
      sandbox: pod({ linux: { securityContext: { privileged: true } } }),
      sandboxPid: 77,
      hostDevices: [
        { path: "/dev/null", type: "c", major: 1, minor: 3, fileMode: 0o666, uid: 0, gid: 0 },
        { path: "/dev/sda", type: "b", major: 8, minor: 0, fileMode: 0o660, uid: 0, gid: 6 },
        { path: "/dev/console", type: "c", major: 5, minor: 1, fileMode: 0o600, uid: 0, gid: 5 },
      ],
    },
  ),
  "privileged-v1": specInput(
    { linux: { securityContext: { privileged: true } } },
    {
      sandbox: pod({ linux: { securityContext: { privileged: true } } }),
      host: { ...testHost, cgroupVersion: 1 },
    },
  ),
  "seccomp-runtime-default": specInput({
    linux: {
      securityContext: { seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault } },
    },
  }),
  "seccomp-runtime-default-arm64-admin": specInput(
    {
      linux: {
        securityContext: {
          seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
          capabilities: { addCapabilities: ["SYS_ADMIN", "SYS_PTRACE"] },
        },
      },
    },
    { host: { ...testHost, arch: "arm64" } },
  ),
  "seccomp-localhost": specInput(
    {
      linux: {
        securityContext: {
          seccomp: {
            profileType: SecurityProfile_ProfileType.Localhost,
            localhostRef: "/var/lib/kubelet/seccomp/block.json",
          },
        },
      },
    },
    {
      localhostSeccomp: {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["sethostname"], action: "SCMP_ACT_ERRNO", errnoRet: 1 }],
      },
    },
  ),
  "host-namespaces": specInput(
    { linux: modes({ network: NODE, pid: NODE, ipc: NODE }) },
    {
      sandbox: pod({ hostname: "", linux: modes({ network: NODE, pid: NODE, ipc: NODE }) }),
      sandboxPins: {},
    },
  ),
  "user-namespace": specInput(
    {
      linux: modes({ pid: CONTAINER, usernsOptions: mappedUsers }),
      mounts: [
        {
          containerPath: "/data",
          hostPath: "/srv/data",
          uidMappings: mappedUsers.uids,
          gidMappings: mappedUsers.gids,
        },
      ],
    },
    {
      sandbox: pod({ linux: modes({ pid: CONTAINER, usernsOptions: mappedUsers }) }),
      sandboxPins: { ...specInput().sandboxPins, user: "/run/davit/ns/user/s1" },
    },
  ),
  "user-namespace-host-network": specInput(
    { linux: modes({ network: NODE, pid: CONTAINER, usernsOptions: mappedUsers }) },
    {
      sandbox: pod({
        hostname: "",
        linux: modes({ network: NODE, pid: CONTAINER, usernsOptions: mappedUsers }),
      }),
      sandboxPins: { ipc: "/run/davit/ns/ipc/s1", user: "/run/davit/ns/user/s1" },
    },
  ),
  "pid-pod": specInput(
    { linux: modes({ pid: POD }) },
    { sandbox: pod({ linux: modes({ pid: POD }) }), sandboxPid: 4711 },
  ),
  "pid-target": specInput(
    { linux: modes({ pid: TARGET, targetId: "c0" }) },
    { sandbox: pod({ linux: modes({ pid: CONTAINER }) }), targetPid: 815 },
  ),
  "mounts-order-and-override": specInput({
    mounts: [
      { containerPath: "/data/a/b", hostPath: "/srv/b" },
      { containerPath: "/data", hostPath: "/srv/data" },
      { containerPath: "/etc/resolv.conf", hostPath: "/srv/resolv.conf", readonly: true },
      { containerPath: "/dev/shm/", hostPath: "/srv/shm" },
    ],
  }),
  "mounts-dev": specInput({ mounts: [{ containerPath: "/dev", hostPath: "/dev" }] }),
  "mounts-propagation": specInput({
    mounts: [
      {
        containerPath: "/slave",
        hostPath: "/mnt/a",
        propagation: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
      },
      {
        containerPath: "/shared",
        hostPath: "/mnt/b",
        propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL,
      },
      { containerPath: "/rro", hostPath: "/mnt/c", readonly: true, recursiveReadOnly: true },
    ],
  }),
  "mounts-images-and-volumes": specInput(
    {
      mounts: [
        {
          containerPath: "/models/one",
          image: { image: "example.org/model:1" },
          imageSubPath: "weights",
          readonly: true,
        },
      ],
      linux: { securityContext: { readonlyRootfs: true } },
    },
    {
      mountSources: ["/var/lib/davit/roots/c1/images/0"],
      volumes: [
        { path: "/data", source: "/var/lib/davit/roots/c1/volumes/0" },
        { path: "/etc/hosts", source: "/var/lib/davit/roots/c1/volumes/1" },
      ],
    },
  ),
  "resources-v1": specInput(
    {
      linux: {
        resources: {
          cpuShares: 2n,
          cpuQuota: -1n,
          cpusetCpus: "0-1,3",
          cpusetMems: "0",
          memoryLimitInBytes: 9_223_372_036_854_771_712n,
          memorySwapLimitInBytes: -1n,
          oomScoreAdj: -997n,
        },
      },
    },
    { host: { ...testHost, cgroupVersion: 1, oomScoreAdjFloor: -100 } },
  ),
  "resources-v2-swap-hugepages-pids": specInput(
    {
      linux: {
        resources: {
          memoryLimitInBytes: 104_857_600n,
          memorySwapLimitInBytes: 209_715_200n,
          hugepageLimits: [{ pageSize: "2MB", limit: 4_194_304n }],
          unified: { "memory.high": "94371840" },
        },
      },
    },
    { pidsLimit: 1024n },
  ),
  "resources-updated": specInput(
    { linux: { resources: { cpuShares: 100n } } },
    { resources: specInput({ linux: { resources: { cpuShares: 200n } } }).config.linux?.resources },
  ),
  ...goldenDevices,
  "selinux-type-of-its-own": labelled({
    linux: { securityContext: { selinuxOptions: { type: "container_init_t" } } },
  }),
  "selinux-privileged": labelled({ linux: { securityContext: { privileged: true } } }),
  "labels-and-annotations": specInput(
    { annotations: { "example.org/kept-out": "1" } },
    {
      annotations: { "example.org/let-through": "1", "io.kubernetes.cri.sandbox-id": "forged" },
      selinux: {
        process: "system_u:system_r:container_t:s0:c1,c2",
        mount: "system_u:object_r:container_file_t:s0:c1,c2",
      },
      apparmorProfile: "davit-default",
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 18_446_744_073_709_551_615n, soft: 1024n }],
    },
  ),
};
