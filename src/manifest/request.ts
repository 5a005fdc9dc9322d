import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerConfigSchema,
  type LinuxContainerResourcesSchema,
  type LinuxContainerSecurityContextSchema,
  type MountSchema,
  SecurityProfile_ProfileType,
} from "../gen/runtime/v1/api_pb.ts";
import type { ContainerManifest, EnvVar } from "./container.ts";
import { expandVariables } from "./expand.ts";
import { oomScoreAdj } from "./qos.ts";
import { type PodManifest, type NodeInfo, supplementalGroupsOf } from "./pod.ts";

/** The annotation for the grace period of a container, which kubelet and davit run write. */
export const gracePeriodAnnotation = "io.kubernetes.pod.terminationGracePeriod";

/** Facts about a container that are known once its pod runs and its image is present. */
export interface RuntimeState {
  /** The image id that the pull returned. */
  readonly imageId: string;
  /** The user of the image: a uid or a name; neither means root. */
  readonly imageUser: { readonly uid?: bigint; readonly username: string };
  readonly podIps: readonly string[];
  /** The host path of each of the volumeMounts; undefined for an image volume. */
  readonly hostPaths: readonly (string | undefined)[];
  /** The hosts file that is mounted at /etc/hosts; undefined leaves it to the server. */
  readonly hostsFile?: string | undefined;
  readonly node: Pick<NodeInfo, "nodeName" | "memoryBytes">;
}

// kubelet sends 1024 shares for a CPU, and at least 2 (pkg/kubelet/cm, MilliCPUToShares).
const sharesPerCpu = 1024;
const minShares = 2;
const maxShares = 262_144;
const periodUs = 100_000;
const minQuotaUs = 1_000;

// kubelet's defaults for procMount Default (pkg/securitycontext).
const maskedPaths = [
  "/proc/asound",
  "/proc/acpi",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/sys/firmware",
  "/sys/devices/virtual/powercap",
];
const hostsPath = "/etc/hosts";
const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** The request that kubelet would send to create the first instance of this container. */
export function containerConfig(
  container: ContainerManifest,
  pod: PodManifest,
  state: RuntimeState,
): MessageInitShape<typeof ContainerConfigSchema> {
  const variables = resolveEnv(container.env, pod, state);
  const expand = (text: string): string => expandVariables(text, variables);
  return {
    metadata: { name: container.name },
    image: { image: state.imageId, userSpecifiedImage: container.image },
    command: container.command.map(expand),
    args: container.args.map(expand),
    workingDir: container.workingDir,
    envs: [...variables].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: mountsOf(container, pod, state),
    labels: { ...pod.sandbox.labels, "io.kubernetes.container.name": container.name },
    annotations: { [gracePeriodAnnotation]: String(pod.terminationGracePeriodSeconds) },
    logPath: `${container.name}/0.log`,
    stdin: container.stdin,
    stdinOnce: container.stdinOnce,
    tty: container.tty,
    linux: {
      resources: resourcesOf(container, pod, state),
      securityContext: securityOf(container, pod, state),
    },
  };
}

/** A variable may refer to those before it, as in Kubernetes. The last one of a name counts. */
function resolveEnv(
  env: readonly EnvVar[],
  pod: PodManifest,
  state: RuntimeState,
): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  for (const variable of env) {
    const value =
      "field" in variable
        ? fieldValue(variable.field, pod, state)
        : expandVariables(variable.value, variables);
    variables.set(variable.name, value);
  }
  return variables;
}

function fieldValue(path: string, pod: PodManifest, state: RuntimeState): string {
  const [, map, key = ""] = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path) ?? [];
  if (map === "labels") return pod.sandbox.labels[key] ?? "";
  if (map === "annotations") return pod.sandbox.annotations[key] ?? "";
  const values: Readonly<Record<string, string>> = {
    "metadata.name": pod.name,
    "metadata.namespace": pod.namespace,
    "metadata.uid": pod.uid,
    "spec.nodeName": state.node.nodeName,
    "status.podIP": state.podIps[0] ?? "",
    "status.podIPs": state.podIps.join(","),
  };
  return values[path] ?? "";
}

function mountsOf(
  container: ContainerManifest,
  pod: PodManifest,
  { hostPaths, hostsFile }: RuntimeState,
): MessageInitShape<typeof MountSchema>[] {
  const { uids = [], gids = [] } =
    pod.sandbox.linux?.securityContext?.namespaceOptions?.usernsOptions ?? {};
  const mounts = container.volumeMounts.map((mount, at) => {
    const volume = pod.volumes.find(({ name }) => name === mount.name);
    const common = {
      containerPath: mount.mountPath,
      readonly: mount.readOnly,
      recursiveReadOnly: mount.recursiveReadOnly,
      propagation: mount.propagation,
      mountOptions: [...mount.bindMountOptions],
      // As in kubelet: files of root in a volume belong to the pod's root.
      uidMappings: uids,
      gidMappings: gids,
    };
    return volume?.kind === "image"
      ? { ...common, image: { image: volume.reference }, imageSubPath: mount.subPath }
      : { ...common, hostPath: hostPaths[at] ?? "" };
  });
  // As in kubelet: a volume of the container at this path counts more.
  const isTaken = container.volumeMounts.some(({ mountPath }) => mountPath === hostsPath);
  if (hostsFile === undefined || isTaken) return mounts;
  return [...mounts, { containerPath: hostsPath, hostPath: hostsFile }];
}

function resourcesOf(
  container: ContainerManifest,
  pod: PodManifest,
  { node }: RuntimeState,
): MessageInitShape<typeof LinuxContainerResourcesSchema> {
  const { requests, limits } = container;
  const shares = Math.floor(milli(requests.cpu ?? 0) * (sharesPerCpu / 1000));
  const quotaUs = (milli(limits.cpu ?? 0) * periodUs) / 1000;
  const { memoryBytes = 0, hugepages } = limits;
  return {
    cpuShares: BigInt(Math.min(Math.max(shares, minShares), maxShares)),
    ...(quotaUs === 0
      ? {}
      : { cpuPeriod: BigInt(periodUs), cpuQuota: BigInt(Math.max(quotaUs, minQuotaUs)) }),
    ...(memoryBytes === 0 ? {} : { memoryLimitInBytes: BigInt(Math.ceil(memoryBytes)) }),
    hugepageLimits: Object.entries(hugepages).map(([pageSize, bytes]) => ({
      pageSize,
      limit: BigInt(bytes),
    })),
    oomScoreAdj: BigInt(oomScoreAdj(container, pod, node.memoryBytes)),
  };
}

/** Millicores, rounded up as Kubernetes does. */
function milli(cpu: number): number {
  return Math.ceil(Number((cpu * 1000).toFixed(6)));
}

function securityOf(
  { security, username, ulimits = [] }: ContainerManifest,
  pod: PodManifest,
  { imageUser }: RuntimeState,
): MessageInitShape<typeof LinuxContainerSecurityContextSchema> {
  const { privileged } = security;
  const selinux = security.selinux ?? pod.security.selinux;
  const apparmor = security.apparmor ?? pod.security.apparmor;
  const isMasked = !privileged && !security.unmaskedProc;
  const namespaceOptions = pod.sandbox.linux?.securityContext?.namespaceOptions;
  return {
    ...(namespaceOptions && { namespaceOptions }),
    privileged,
    ...(username === undefined ? userOf(security, pod, imageUser) : { runAsUsername: username }),
    supplementalGroups: supplementalGroupsOf(pod.security),
    supplementalGroupsPolicy: pod.security.supplementalGroupsPolicy,
    capabilities: {
      addCapabilities: [...security.addCapabilities],
      dropCapabilities: [...security.dropCapabilities],
    },
    noNewPrivs: security.allowPrivilegeEscalation === false,
    readonlyRootfs: security.readOnlyRootFilesystem,
    maskedPaths: isMasked ? maskedPaths : [],
    readonlyPaths: isMasked ? readonlyPaths : [],
    seccomp: security.seccomp ?? pod.security.seccomp ?? defaultSeccomp(privileged),
    ulimits: [...ulimits],
    ...(selinux === undefined ? {} : { selinuxOptions: selinux }),
    ...(apparmor === undefined ? {} : { apparmor }),
  };
}

/**
 * The user of the manifest, else that of the image. The CRI does not accept a group without a user, and an
 * image without a user runs as root.
 */
function userOf(
  security: ContainerManifest["security"],
  pod: PodManifest,
  imageUser: RuntimeState["imageUser"],
) {
  const user = security.runAsUser ?? pod.security.runAsUser;
  const group = security.runAsGroup ?? pod.security.runAsGroup;
  const username = user === undefined && imageUser.uid === undefined ? imageUser.username : "";
  const named = user === undefined ? imageUser.uid : BigInt(user);
  const uid = named ?? (group !== undefined && username === "" ? 0n : undefined);
  return {
    ...(uid === undefined ? {} : { runAsUser: { value: uid } }),
    ...(username === "" ? {} : { runAsUsername: username }),
    ...(group === undefined ? {} : { runAsGroup: { value: BigInt(group) } }),
  };
}

/** As a kubelet with seccompDefault: RuntimeDefault unless the container is privileged. */
function defaultSeccomp(privileged: boolean): {
  readonly profileType: SecurityProfile_ProfileType;
} {
  const { RuntimeDefault, Unconfined } = SecurityProfile_ProfileType;
  return { profileType: privileged ? Unconfined : RuntimeDefault };
}

/** Why this container violates runAsNonRoot, as kubelet checks it; undefined if it does not. */
export function runAsNonRootViolation(
  { name, security }: ContainerManifest,
  pod: PodManifest,
  imageUser: RuntimeState["imageUser"],
): string | undefined {
  if ((security.runAsNonRoot ?? pod.security.runAsNonRoot) !== true) return undefined;
  const user = security.runAsUser ?? pod.security.runAsUser;
  if (user !== undefined) {
    return user === 0
      ? `container "${name}" has runAsNonRoot and runAsUser 0: set another runAsUser`
      : undefined;
  }
  if (imageUser.username !== "") {
    return (
      `container "${name}" has runAsNonRoot, but its image runs as "${imageUser.username}", ` +
      "which is not a numeric uid: set runAsUser"
    );
  }
  const root = (imageUser.uid ?? 0n) === 0n;
  return root
    ? `container "${name}" has runAsNonRoot, but its image runs as root: set runAsUser`
    : undefined;
}
