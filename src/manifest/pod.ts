import { createHash } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  Protocol,
  SecurityProfile_ProfileType,
} from "../gen/runtime/v1/api_pb.ts";
import { type ContainerManifest, type PortManifest, readContainers } from "./container.ts";
import { readDns } from "./dns.ts";
import { Fields, type ManifestText, type Reasons } from "./fields.ts";
import { type PodSecurity, readPodSecurity } from "./security.ts";
import { readVolumes, type VolumeManifest } from "./volumes.ts";

/** A Kubernetes Pod as davit runs it. */
export interface PodManifest {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly sandbox: PodSandboxConfig;
  /** spec.runtimeClassName, taken as the name of a handler; "" for the default one. */
  readonly runtimeHandler: string;
  readonly containers: readonly ContainerManifest[];
  readonly initContainers: readonly ContainerManifest[];
  readonly volumes: readonly VolumeManifest[];
  readonly security: PodSecurity;
  /** spec.hostUsers is false: the sandbox needs ids of its own (`withIds`) before it is asked for. */
  readonly ownUsers: boolean;
  /** As the manifest says it; undefined where it says nothing. */
  readonly restartPolicy: "Always" | "OnFailure" | "Never" | undefined;
  readonly terminationGracePeriodSeconds: number;
  /** The directory for what davit run writes for this pod: its logs and emptyDir volumes. */
  readonly directory: string;
}

/** What a manifest leaves to the node. */
export interface PodNode {
  /** The directory in which each pod gets one of its own. */
  readonly podsRoot: string;
  /** The text of the node's resolv.conf, which spec.dnsConfig adds to. */
  readonly resolvConf: string;
  /** What a variable from spec.nodeName holds. */
  readonly nodeName: string;
  /** Of the whole node. */
  readonly memoryBytes: number;
}

// RFC 1123, as Kubernetes checks names: at most 253 and 63 letters.
const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;
const LABEL = /^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const LOWER_CASE = 'lower-case letters, digits and "-"';

const oneNode = "there is one node, nothing is scheduled";
const noServer = "there is no API server";
const exported = "the API server writes it: take it out of the file";
const specReasons: Reasons = {
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
  imagePullSecrets: "pull the image first: davit pull --creds",
  activeDeadlineSeconds: "nothing looks after pods while they run; that is kubelet's work",
  ephemeralContainers: "use davit exec",
  hostAliases: "the pod's hosts file is the runtime's",
  subdomain: "there is no cluster to serve names",
  setHostnameAsFQDN: "there is no cluster to serve names",
  hostnameOverride: "use hostname",
  overhead: "it is of a RuntimeClass, which the API server knows",
  resources: "give each container its own",
};
const metadataReasons: Reasons = {
  creationTimestamp: exported,
  generateName: "give it a name",
  generation: exported,
  managedFields: exported,
  ownerReferences: exported,
  resourceVersion: exported,
  selfLink: exported,
  finalizers: noServer,
};

/** The names of the Pod in a document: all that taking it down again needs. */
export interface PodNames {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

/** Reads one document and makes of it what kubelet would ask the runtime for. */
export function readPod(text: ManifestText, node: PodNode): PodManifest {
  const top = new Fields(text, "", text.document.contents);
  const { names, labels, annotations } = readHead(top, text);
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
    runtimeHandler: spec.string("runtimeClassName", SUBDOMAIN, LOWER_CASE) ?? "",
    containers,
    initContainers,
    volumes,
    security,
    ownUsers: readOwnUsers(spec),
    restartPolicy: spec.choice("restartPolicy", ["Always", "OnFailure", "Never"]),
    terminationGracePeriodSeconds: spec.integer("terminationGracePeriodSeconds", 0, 2 ** 31) ?? 30,
    directory,
  };
  acceptIfFalse(spec, "automountServiceAccountToken", "there is no API server to give a token");
  acceptIfFalse(spec, "enableServiceLinks", "there are no services");
  const os = spec.object("os");
  os?.choice("name", ["linux"]);
  os?.refuseRest();
  spec.refuseRest(specReasons);
  top.refuseRest({ status: exported });
  return pod;
}

/** Reads only which Pod a document is about: what else is in it does not matter. */
export function readPodNames(text: ManifestText): PodNames {
  return readHead(new Fields(text, "", text.document.contents), text).names;
}

/** Where davit run keeps what it writes for a pod. */
export function podDirectory(podsRoot: string, { namespace, name, uid }: PodNames): string {
  // The layout that kubelet and log collectors know.
  return `${podsRoot}/${namespace}_${name}_${uid}`;
}

function readHead(
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
    top.refuse(
      "kind",
      `is "${kind}": davit run takes Pods only (a Deployment's or Job's pod is its spec.template)`,
    );
  }
  if (kind === "Pod") top.choice("apiVersion", ["v1"]);
  else top.string("apiVersion");
  const fields = top.object("metadata") ?? new Fields(text, "metadata", undefined);
  fields.require("name");
  const name = fields.string("name", SUBDOMAIN, LOWER_CASE) ?? "";
  const namespace = fields.string("namespace", LABEL, LOWER_CASE) ?? "default";
  const uidRule = 'letters, digits, "-", "_" and "."';
  const uid = fields.string("uid", /^[\w-][\w.-]{0,62}$/, uidRule) ?? uidOf(namespace, name);
  const labels = fields.stringMap("labels");
  const annotations = fields.stringMap("annotations");
  fields.refuseRest(metadataReasons);
  return {
    names: { name, namespace, uid },
    // kubelet adds these three; crictl and metrics agents look pods up by them.
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
 * The uid of a pod whose manifest has none: always the same for the same name. So the runtime
 * itself refuses a second one, and a retry after an interruption is the same request.
 */
function uidOf(namespace: string, name: string): string {
  const hex = createHash("sha256").update(`davit run ${namespace}/${name}`).digest("hex");
  // RFC 9562, version 8 (made by a rule of one's own) and its variant.
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** A pod on the host's network has the host's name, and the runtime is told none. */
function readHostname(spec: Fields, podName: string): string {
  const hostname = spec.string("hostname", LABEL, LOWER_CASE);
  if (spec.boolean("hostNetwork") !== true) {
    // Names of pods can be longer than names of hosts: kubelet cuts them the same way.
    return hostname ?? podName.slice(0, 63).replace(/[-.]+$/, "");
  }
  if (hostname !== undefined) {
    spec.refuse("hostname", "cannot be chosen with hostNetwork: the pod has the node's name");
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
    spec.refuse("shareProcessNamespace", "cannot be combined with hostPID");
  }
  const ownPid = shared ? NamespaceMode.POD : NamespaceMode.CONTAINER;
  return {
    network: host("hostNetwork"),
    pid: spec.boolean("hostPID") === true ? NamespaceMode.NODE : ownPid,
    ipc: host("hostIPC"),
  };
}

/** The namespaces of the node that belong to its users are not for the users of a pod. */
function readOwnUsers(spec: Fields): boolean {
  if (spec.boolean("hostUsers") !== false) return false;
  const shared = ["hostPID", "hostIPC"].find((name) => spec.boolean(name) === true);
  if (shared !== undefined) spec.refuse("hostUsers", `is false: that cannot be with ${shared}`);
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
    // As kubelet: what there is of a sandbox of its own needs no more.
    seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
  };
}

/** fsGroup is a group of the pod's processes, too. */
export function supplementalGroupsOf({ supplementalGroups, fsGroup }: PodSecurity): bigint[] {
  return [...supplementalGroups, ...(fsGroup === undefined ? [] : [fsGroup])].map(BigInt);
}

/** kubelet sends every port; one without a host port only documents what a container listens on. */
function asPortMapping(
  port: PortManifest,
): NonNullable<MessageInitShape<typeof PodSandboxConfigSchema>["portMappings"]>[number] {
  const { containerPort, hostPort, hostIp } = port;
  return { protocol: Protocol[port.protocol], containerPort, hostPort, hostIp };
}

function acceptIfFalse(spec: Fields, name: string, why: string): void {
  if (spec.boolean(name) === true) spec.refuse(name, `is true: ${why}`);
}
