import { createHash } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  Protocol,
  SecurityProfile_ProfileType,
} from "../gen/runtime/v1/api_pb.ts";
import { ipVersion } from "../base/ip-address.ts";
import { type ContainerManifest, type ContainerPort, readContainers } from "./container.ts";
import { readDns } from "./dns.ts";
import { Fields, type ManifestText, type UnsupportedFields } from "./fields.ts";
import { dnsLabel, dnsNameRule, dnsSubdomain } from "./names.ts";
import { type PodSecurity, readPodSecurity } from "./security.ts";
import { readVolumes, type VolumeManifest, withinMemory } from "./volumes.ts";

/** A Kubernetes Pod: the request for its sandbox, and what its containers need. */
export interface PodManifest {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly sandbox: PodSandboxConfig;
  /** spec.runtimeClassName, which is used as the name of a handler; "" for the default handler. */
  readonly runtimeHandler: string;
  readonly containers: readonly ContainerManifest[];
  readonly initContainers: readonly ContainerManifest[];
  readonly volumes: readonly VolumeManifest[];
  readonly security: PodSecurity;
  /** spec.hostAliases: with any, who runs the pod writes its hosts file. */
  readonly hostAliases: readonly HostAlias[];
  /** spec.hostUsers is false: the sandbox needs an id mapping (`withIdMapping`) before it is created. */
  readonly userNamespace: boolean;
  /** undefined if the manifest does not set it. */
  readonly restartPolicy: "Always" | "OnFailure" | "Never" | undefined;
  readonly terminationGracePeriodSeconds: number;
  /** The directory of this pod for logs and emptyDir volumes. */
  readonly directory: string;
}

/** An entry of spec.hostAliases: names of an address, for the hosts file. */
export interface HostAlias {
  readonly ip: string;
  readonly hostnames: readonly string[];
}

/** Facts about the node that requests depend on. */
export interface NodeInfo {
  /** The parent directory of the pods' directories. */
  readonly podsRoot: string;
  /** The text of the node's resolv.conf, to which spec.dnsConfig is added. */
  readonly resolvConf: string;
  /** The value of spec.nodeName in a fieldRef. */
  readonly nodeName: string;
  /** The memory of the whole node. */
  readonly memoryBytes: number;
}

const oneNode = "davit run does not schedule pods";
const noServer = "it requires an API server";
const exported = "it is written by the API server; remove it from the file";
const unsupportedSpecFields: UnsupportedFields = {
  affinity: oneNode,
  nodeName: oneNode,
  nodeSelector: oneNode,
  preemptionPolicy: oneNode,
  priority: oneNode,
  priorityClassName: oneNode,
  schedulerName: oneNode,
  schedulingGates: oneNode,
  tolerations: oneNode,
  topologySpreadConstraints: oneNode,
  serviceAccount: noServer,
  serviceAccountName: noServer,
  readinessGates: noServer,
  resourceClaims: noServer,
  imagePullSecrets: "pull the image first with davit pull --creds",
  activeDeadlineSeconds: "the deadline is enforced by kubelet",
  ephemeralContainers: "use davit exec",
  subdomain: "it requires cluster DNS",
  setHostnameAsFQDN: "it requires cluster DNS",
  hostnameOverride: "use hostname",
  overhead: "it comes from a RuntimeClass of the API server",
  resources: "set resources for each container",
};
const unsupportedMetadataFields: UnsupportedFields = {
  creationTimestamp: exported,
  generateName: "set metadata.name",
  generation: exported,
  managedFields: exported,
  ownerReferences: exported,
  resourceVersion: exported,
  selfLink: exported,
  finalizers: noServer,
};

/** The names of a Pod, which are sufficient to remove it. */
export interface PodNames {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

/** Reads one document into the requests that kubelet would send to the runtime. */
export function readPod(text: ManifestText, node: NodeInfo): PodManifest {
  const top = new Fields(text, "", text.document.contents);
  const { names, labels, annotations } = readTypeAndMetadata(top, text);
  const spec = top.object("spec") ?? new Fields(text, "spec", undefined);
  top.require("spec");
  const volumes = readVolumes(spec, node.memoryBytes);
  const { containers, initContainers } = readContainers(spec, volumes);
  const security = readPodSecurity(spec.objectOrEmpty("securityContext"));
  const directory = podDirectory(node.podsRoot, names);
  const sandbox = create(PodSandboxConfigSchema, {
    metadata: { ...names, attempt: 0 },
    hostname: readHostname(spec, names.name),
    logDirectory: `${directory}/logs`,
    labels,
    annotations,
    portMappings: containers.flatMap(({ ports }) => ports.map(asPortMapping)),
    linux: {
      securityContext: {
        ...sandboxSecurity(security),
        namespaceOptions: readNamespaces(spec),
        privileged: [...containers, ...initContainers].some((each) => each.security.privileged),
      },
      sysctls: { ...security.sysctls },
    },
    ...readDns(spec, node.resolvConf),
  });
  const pod: PodManifest = {
    ...names,
    sandbox,
    runtimeHandler: spec.string("runtimeClassName", dnsSubdomain, dnsNameRule) ?? "",
    containers,
    initContainers,
    volumes: withinMemory(volumes, memoryLimit(containers, initContainers)),
    security,
    hostAliases: readHostAliases(spec),
    userNamespace: readUserNamespace(spec),
    restartPolicy: spec.choice("restartPolicy", ["Always", "OnFailure", "Never"]),
    terminationGracePeriodSeconds: spec.integer("terminationGracePeriodSeconds", 0, 2 ** 31) ?? 30,
    directory,
  };
  requireFalse(spec, "automountServiceAccountToken", "a token requires an API server");
  requireFalse(spec, "enableServiceLinks", "services require an API server");
  const os = spec.object("os");
  os?.choice("name", ["linux"]);
  os?.rejectUnread();
  spec.rejectUnread(unsupportedSpecFields);
  top.rejectUnread({ status: exported });
  return pod;
}

function readHostAliases(spec: Fields): readonly HostAlias[] {
  return spec.objects("hostAliases").map((fields) => {
    fields.require("ip");
    const ip = fields.string("ip") ?? "";
    if (ip !== "" && ipVersion(ip) === undefined) {
      fields.reject("ip", `is "${ip}": must be an IP address`);
    }
    const hostnames = fields.strings("hostnames");
    const wrong = hostnames.find((name) => !dnsSubdomain.test(name));
    if (wrong !== undefined) fields.reject("hostnames", `has "${wrong}": must be ${dnsNameRule}`);
    fields.rejectUnread();
    return { ip, hostnames };
  });
}

/** Reads only the names of the Pod in a document and ignores its other fields. */
export function readPodNames(text: ManifestText): PodNames {
  return readTypeAndMetadata(new Fields(text, "", text.document.contents), text).names;
}

/** The directory of a pod for logs and emptyDir volumes. */
export function podDirectory(podsRoot: string, { namespace, name, uid }: PodNames): string {
  // The layout that kubelet uses and log collectors expect.
  return `${podsRoot}/${namespace}_${name}_${uid}`;
}

/**
 * The directory of a pod whose names another client may have chosen: undefined if they cannot be those of a pod that
 * has one, since they may lead anywhere.
 */
export function ownPodDirectory(podsRoot: string, names: PodNames): string | undefined {
  const { namespace, name, uid } = names;
  const isSafe = uid !== "" && ![namespace, name, uid].some((part) => /[/\0]/.test(part));
  return isSafe ? podDirectory(podsRoot, names) : undefined;
}

function readTypeAndMetadata(
  top: Fields,
  text: ManifestText,
): {
  readonly names: PodNames;
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
} {
  for (const name of ["apiVersion", "kind", "metadata"]) top.require(name);
  const kind = top.string("kind");
  if (kind !== undefined && kind !== "Pod") {
    top.reject(
      "kind",
      `is "${kind}": must be Pod (the Pod of a Deployment or Job is its spec.template)`,
    );
  }
  if (kind === "Pod") top.choice("apiVersion", ["v1"]);
  else top.string("apiVersion");
  const fields = top.object("metadata") ?? new Fields(text, "metadata", undefined);
  fields.require("name");
  const name = fields.string("name", dnsSubdomain, dnsNameRule) ?? "";
  const namespace = fields.string("namespace", dnsLabel, dnsNameRule) ?? "default";
  const uidRule = 'letters, digits, "-", "_" and "."';
  const uid = fields.string("uid", /^[\w-][\w.-]{0,62}$/, uidRule) ?? uidOf(namespace, name);
  const labels = fields.stringMap("labels");
  const annotations = fields.stringMap("annotations");
  fields.rejectUnread(unsupportedMetadataFields);
  return {
    names: { name, namespace, uid },
    // kubelet adds these labels; crictl and metrics agents find pods by them.
    labels: {
      ...labels,
      "io.kubernetes.pod.name": name,
      "io.kubernetes.pod.namespace": namespace,
      "io.kubernetes.pod.uid": uid,
    },
    annotations,
  };
}

/**
 * The uid of a pod whose manifest has none. It is always the same for the same name, so the runtime
 * rejects a second pod of that name, and a retry after an interruption is the same request.
 */
function uidOf(namespace: string, name: string): string {
  const hex = createHash("sha256").update(`davit run ${namespace}/${name}`).digest("hex");
  // RFC 9562, version 8 (custom) and its variant.
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** A pod in the network namespace of the host has the host's name, so its request has none. */
function readHostname(spec: Fields, podName: string): string {
  const hostname = spec.string("hostname", dnsLabel, dnsNameRule);
  if (spec.boolean("hostNetwork") !== true) {
    // Pod names can be longer than hostnames; kubelet truncates them in the same way.
    return hostname ?? podName.slice(0, 63).replace(/[-.]+$/, "");
  }
  if (hostname !== undefined) {
    spec.reject("hostname", "must not be combined with hostNetwork: the pod has the node's name");
  }
  return "";
}

function readNamespaces(spec: Fields): {
  readonly network: NamespaceMode;
  readonly pid: NamespaceMode;
  readonly ipc: NamespaceMode;
} {
  const host = (name: string): NamespaceMode =>
    spec.boolean(name) === true ? NamespaceMode.NODE : NamespaceMode.POD;
  const shared = spec.boolean("shareProcessNamespace") === true;
  if (shared && spec.boolean("hostPID") === true) {
    spec.reject("shareProcessNamespace", "must not be combined with hostPID");
  }
  const ownPid = shared ? NamespaceMode.POD : NamespaceMode.CONTAINER;
  return {
    network: host("hostNetwork"),
    pid: spec.boolean("hostPID") === true ? NamespaceMode.NODE : ownPid,
    ipc: host("hostIPC"),
  };
}

/** Whether the pod has a user namespace, which excludes host PID and IPC namespaces. */
function readUserNamespace(spec: Fields): boolean {
  if (spec.boolean("hostUsers") !== false) return false;
  const shared = ["hostPID", "hostIPC"].find((name) => spec.boolean(name) === true);
  if (shared !== undefined)
    spec.reject("hostUsers", `is false: must not be combined with ${shared}`);
  return true;
}

function sandboxSecurity(security: PodSecurity) {
  const { runAsUser, runAsGroup, selinux, supplementalGroupsPolicy } = security;
  return {
    ...(runAsUser === undefined ? {} : { runAsUser: { value: BigInt(runAsUser) } }),
    ...(runAsUser === undefined || runAsGroup === undefined
      ? {}
      : { runAsGroup: { value: BigInt(runAsGroup) } }),
    ...(selinux === undefined ? {} : { selinuxOptions: selinux }),
    supplementalGroups: supplementalGroupsOf(security),
    supplementalGroupsPolicy,
    // As in kubelet: the sandbox itself needs no other profile.
    seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
  };
}

/** The supplemental groups of a pod's processes; fsGroup is one of them. */
export function supplementalGroupsOf({ supplementalGroups, fsGroup }: PodSecurity): bigint[] {
  return [...supplementalGroups, ...(fsGroup === undefined ? [] : [fsGroup])].map(BigInt);
}

/** kubelet sends all ports, including those without a host port. */
function asPortMapping(
  port: ContainerPort,
): NonNullable<MessageInitShape<typeof PodSandboxConfigSchema>["portMappings"]>[number] {
  const { containerPort, hostPort, hostIp } = port;
  return { protocol: Protocol[port.protocol], containerPort, hostPort, hostIp };
}

/** The memory limit of a pod: that of its containers together, or of an init container; undefined if one has none. */
function memoryLimit(
  containers: readonly ContainerManifest[],
  initContainers: readonly ContainerManifest[],
): number | undefined {
  const limitOf = ({ limits }: ContainerManifest): number => limits.memoryBytes ?? Infinity;
  const together = containers.reduce((sum, each) => sum + limitOf(each), 0);
  const bytes = Math.floor(Math.max(together, ...initContainers.map(limitOf)));
  return Number.isFinite(bytes) && bytes > 0 ? bytes : undefined;
}

function requireFalse(spec: Fields, name: string, why: string): void {
  if (spec.boolean(name) === true) spec.reject(name, `is true: ${why}`);
}
