import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerConfigSchema,
  type LinuxContainerResourcesSchema,
  type LinuxContainerSecurityContextSchema,
  type MountSchema,
  SecurityProfile_ProfileType,
} from "../gen/runtime/v1/api_pb.ts";
import type { ContainerManifest, Variable } from "./container.ts";
import { expandVariables } from "./expand.ts";
import { oomScoreAdj } from "./quality.ts";
import { type PodManifest, type PodNode, supplementalGroupsOf } from "./pod.ts";

/** The annotation in which kubelet, and davit run, write how long a container may take to end. */
export const graceAnnotation = "io.kubernetes.pod.terminationGracePeriod";

/** What is known of a container only when its pod runs and its image is there. */
export interface RunningFacts {
  /** The id that the pull has told. */
  readonly imageId: string;
  /** Whom the image runs as: a number, or a name; neither means root. */
  readonly imageUser: { readonly uid?: bigint; readonly username: string };
  readonly podIps: readonly string[];
  /** Where each of the volumeMounts is on the host; an image's is undefined. */
  readonly hostPaths: readonly (string | undefined)[];
  readonly node: Pick<PodNode, "nodeName" | "memoryBytes">;
}

// What kubelet sends: 1024 shares a processor, and at least 2 (pkg/kubelet/cm, MilliCPUToShares).
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
const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** What kubelet would ask the runtime for to run this container of a pod for the first time. */
export function containerConfig(
  container: ContainerManifest,
  pod: PodManifest,
  facts: RunningFacts,
): MessageInitShape<typeof ContainerConfigSchema> {
  const variables = environment(container.env, pod, facts);
  const expand = (text: string): string => expandVariables(text, variables);
  return {
    metadata: { name: container.name },
    image: { image: facts.imageId, userSpecifiedImage: container.image },
    command: container.command.map(expand),
    args: container.args.map(expand),
    workingDir: container.workingDir,
    envs: [...variables].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: mountsOf(container, pod, facts),
    labels: { ...pod.sandbox.labels, "io.kubernetes.container.name": container.name },
    annotations: { [graceAnnotation]: String(pod.terminationGracePeriodSeconds) },
    logPath: `${container.name}/0.log`,
    stdin: container.stdin,
    stdinOnce: container.stdinOnce,
    tty: container.tty,
    linux: {
      resources: resourcesOf(container, pod, facts),
      securityContext: securityOf(container, pod, facts),
    },
  };
}

/** A variable sees those before it, as in Kubernetes. The last one of a name counts. */
function environment(
  env: readonly Variable[],
  pod: PodManifest,
  facts: RunningFacts,
): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  for (const variable of env) {
    const value =
      "field" in variable
        ? fieldValue(variable.field, pod, facts)
        : expandVariables(variable.value, variables);
    variables.set(variable.name, value);
  }
  return variables;
}

function fieldValue(path: string, pod: PodManifest, facts: RunningFacts): string {
  const [, map, key = ""] = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path) ?? [];
  if (map === "labels") return pod.sandbox.labels[key] ?? "";
  if (map === "annotations") return pod.sandbox.annotations[key] ?? "";
  const values: Readonly<Record<string, string>> = {
    "metadata.name": pod.name,
    "metadata.namespace": pod.namespace,
    "metadata.uid": pod.uid,
    "spec.nodeName": facts.node.nodeName,
    "status.podIP": facts.podIps[0] ?? "",
    "status.podIPs": facts.podIps.join(","),
  };
  return values[path] ?? "";
}

function mountsOf(
  container: ContainerManifest,
  pod: PodManifest,
  { hostPaths }: RunningFacts,
): MessageInitShape<typeof MountSchema>[] {
  const { uids = [], gids = [] } =
    pod.sandbox.linux?.securityContext?.namespaceOptions?.usernsOptions ?? {};
  return container.volumeMounts.map((mount, at) => {
    const volume = pod.volumes.find(({ name }) => name === mount.name);
    const common = {
      containerPath: mount.mountPath,
      readonly: mount.readOnly,
      recursiveReadOnly: mount.recursiveReadOnly,
      propagation: mount.propagation,
      // As kubelet: what is root's in a volume is root's in the pod, whoever that is on the node.
      uidMappings: uids,
      gidMappings: gids,
    };
    return volume?.kind === "image"
      ? { ...common, image: { image: volume.reference }, imageSubPath: mount.subPath }
      : { ...common, hostPath: hostPaths[at] ?? "" };
  });
}

function resourcesOf(
  container: ContainerManifest,
  pod: PodManifest,
  { node }: RunningFacts,
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

/** Thousandths of a processor, rounded up as Kubernetes does. */
function milli(cpu: number): number {
  return Math.ceil(Number((cpu * 1000).toFixed(6)));
}

function securityOf(
  { security }: ContainerManifest,
  pod: PodManifest,
  { imageUser }: RunningFacts,
): MessageInitShape<typeof LinuxContainerSecurityContextSchema> {
  const { privileged } = security;
  const selinux = security.selinux ?? pod.security.selinux;
  const apparmor = security.apparmor ?? pod.security.apparmor;
  const hidden = !privileged && !security.unmaskedProc;
  const namespaceOptions = pod.sandbox.linux?.securityContext?.namespaceOptions;
  return {
    ...(namespaceOptions && { namespaceOptions }),
    privileged,
    ...userOf(security, pod, imageUser),
    supplementalGroups: supplementalGroupsOf(pod.security),
    supplementalGroupsPolicy: pod.security.supplementalGroupsPolicy,
    capabilities: {
      addCapabilities: [...security.addCapabilities],
      dropCapabilities: [...security.dropCapabilities],
    },
    noNewPrivs: security.allowPrivilegeEscalation === false,
    readonlyRootfs: security.readOnlyRootFilesystem,
    maskedPaths: hidden ? maskedPaths : [],
    readonlyPaths: hidden ? readonlyPaths : [],
    seccomp: security.seccomp ?? pod.security.seccomp ?? defaultSeccomp(privileged),
    ...(selinux === undefined ? {} : { selinuxOptions: selinux }),
    ...(apparmor === undefined ? {} : { apparmor }),
  };
}

/**
 * The user of the manifest, else that of the image. The CRI takes no group without a user, and an
 * image that names none runs as root.
 */
function userOf(
  security: ContainerManifest["security"],
  pod: PodManifest,
  imageUser: RunningFacts["imageUser"],
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

/** As a kubelet with seccompDefault: what a manifest does not lift is filtered. */
function defaultSeccomp(privileged: boolean): {
  readonly profileType: SecurityProfile_ProfileType;
} {
  const { RuntimeDefault, Unconfined } = SecurityProfile_ProfileType;
  return { profileType: privileged ? Unconfined : RuntimeDefault };
}

/** Why kubelet would not start this container for runAsNonRoot; undefined when it would. */
export function rootRefusal(
  { name, security }: ContainerManifest,
  pod: PodManifest,
  imageUser: RunningFacts["imageUser"],
): string | undefined {
  if ((security.runAsNonRoot ?? pod.security.runAsNonRoot) !== true) return undefined;
  const user = security.runAsUser ?? pod.security.runAsUser;
  if (user !== undefined) {
    return user === 0 ? `container "${name}" has runAsNonRoot and runAsUser 0` : undefined;
  }
  if (imageUser.username !== "") {
    return (
      `container "${name}" has runAsNonRoot, and its image runs as "${imageUser.username}", ` +
      "whose number nobody knows: set runAsUser"
    );
  }
  const root = (imageUser.uid ?? 0n) === 0n;
  return root
    ? `container "${name}" has runAsNonRoot, and its image runs as root: set runAsUser`
    : undefined;
}
