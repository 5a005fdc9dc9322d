import type { Fields, UnsupportedFields } from "./fields.ts";
import { dnsLabel, dnsNameRule } from "./names.ts";
import { type ContainerSecurity, readContainerSecurity } from "./security.ts";
import { readVolumeMounts, type VolumeManifest, type VolumeMount } from "./volumes.ts";

/** A container of a Pod manifest, with the defaults of the API server. */
export interface ContainerManifest {
  readonly name: string;
  readonly image: string;
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly env: readonly EnvVar[];
  readonly ports: readonly ContainerPort[];
  readonly limits: ResourceList;
  /** A missing request defaults to the limit, as in the API server. */
  readonly requests: ResourceList;
  readonly volumeMounts: readonly VolumeMount[];
  readonly security: ContainerSecurity;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  /** A user of the image by name, also USER:GROUP, instead of numbers. A Pod has no field for it. */
  readonly username?: string;
  /** Limits of setrlimit(2). A Pod has no field for them. */
  readonly ulimits?: readonly Ulimit[];
}

/** A limit as in the CRI (KEP-5758); -1 is unlimited. */
export interface Ulimit {
  readonly name: string;
  readonly soft: bigint;
  readonly hard: bigint;
}

/** An environment variable: its value, or the pod field (fieldRef) that it comes from. */
export type EnvVar =
  | { readonly name: string; readonly value: string }
  | { readonly name: string; readonly field: string };

/** Resource limits or requests; undefined where the manifest has none. */
interface ResourceList {
  /** In CPUs. */
  readonly cpu: number | undefined;
  readonly memoryBytes: number | undefined;
  /** Bytes by page size, in the notation of the kernel: 2MB. */
  readonly hugepages: Readonly<Record<string, number>>;
}

/** An entry of a container's ports. */
export interface ContainerPort {
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly containerPort: number;
  /** 0 for none. */
  readonly hostPort: number;
  /** "" for all addresses of the host. */
  readonly hostIp: string;
}

const MAX_PORT = 65_535;

const noProbes = "probes are run by kubelet";
const noServer = "it requires an API server; write the values to env";
const terminationMessage = "see the log of the container (davit logs)";
const unsupportedFields: UnsupportedFields = {
  livenessProbe: noProbes,
  readinessProbe: noProbes,
  startupProbe: noProbes,
  lifecycle: "lifecycle hooks are run by kubelet",
  envFrom: noServer,
  terminationMessagePath: terminationMessage,
  terminationMessagePolicy: terminationMessage,
  volumeDevices: "block volumes are not supported",
  resizePolicy: "davit run does not resize running containers",
  restartPolicy: "sidecar init containers are not supported; move it to spec.containers",
  restartPolicyRules: "davit run does not restart containers",
};

/** Reads spec.containers and spec.initContainers. */
export function readContainers(
  spec: Fields,
  volumes: readonly VolumeManifest[],
): {
  readonly containers: readonly ContainerManifest[];
  readonly initContainers: readonly ContainerManifest[];
} {
  spec.require("containers");
  const read = (fields: Fields): ContainerManifest => readContainer(fields, volumes);
  const containers = spec.objects("containers").map(read);
  const initContainers = spec.objects("initContainers").map(read);
  const names = [...initContainers, ...containers].map(({ name }) => name);
  const duplicate = names.find((name, index) => name !== "" && names.indexOf(name) < index);
  if (duplicate !== undefined) {
    spec.reject("containers", `duplicate container name "${duplicate}"`);
  }
  return { containers, initContainers };
}

function readContainer(fields: Fields, volumes: readonly VolumeManifest[]): ContainerManifest {
  fields.require("name");
  fields.require("image");
  const image = fields.string("image", /^\S+$/, "an image name") ?? "";
  const policies = ["Always", "IfNotPresent", "Never"] as const;
  const resources = fields.object("resources");
  const limits = readResourceList(resources?.object("limits"));
  const container: ContainerManifest = {
    name: fields.string("name", dnsLabel, dnsNameRule) ?? "",
    image,
    imagePullPolicy: fields.choice("imagePullPolicy", policies) ?? defaultPullPolicy(image),
    command: fields.strings("command"),
    args: fields.strings("args"),
    workingDir: fields.string("workingDir") ?? "",
    env: fields.objects("env").map(readEnvVar),
    ports: fields.objects("ports").map(readPort),
    limits,
    requests: defaultRequests(readResourceList(resources?.object("requests")), limits),
    volumeMounts: readVolumeMounts(fields, volumes),
    security: readContainerSecurity(fields.objectOrEmpty("securityContext")),
    stdin: fields.boolean("stdin") ?? false,
    stdinOnce: fields.boolean("stdinOnce") ?? false,
    tty: fields.boolean("tty") ?? false,
  };
  resources?.rejectUnread({ claims: "resource claims require an API server" });
  fields.rejectUnread(unsupportedFields);
  return container;
}

/** The API server's default: Always for the tag "latest", which may move. */
function defaultPullPolicy(image: string): "Always" | "IfNotPresent" {
  if (image.includes("@")) return "IfNotPresent";
  const tag = /:([^/]+)$/.exec(image)?.[1] ?? "latest";
  return tag === "latest" ? "Always" : "IfNotPresent";
}

function readResourceList(fields: Fields | undefined): ResourceList {
  const hugepages: Record<string, number> = {};
  for (const name of fields?.names() ?? []) {
    const [, size, unit] = /^hugepages-(\d+)([KMG])i$/.exec(name) ?? [];
    if (size === undefined || unit === undefined) continue;
    // The kernel writes KB, MB and GB for powers of 1024.
    hugepages[`${size}${unit}B`] = fields?.quantity(name) ?? 0;
  }
  const amounts = {
    cpu: fields?.quantity("cpu"),
    memoryBytes: fields?.quantity("memory"),
    hugepages,
  };
  fields?.rejectUnread({ "ephemeral-storage": "davit run does not limit disk usage" });
  return amounts;
}

function defaultRequests(requests: ResourceList, limits: ResourceList): ResourceList {
  return {
    cpu: requests.cpu ?? limits.cpu,
    memoryBytes: requests.memoryBytes ?? limits.memoryBytes,
    hugepages: { ...limits.hugepages, ...requests.hugepages },
  };
}

const fieldPaths =
  /^(metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])|spec\.nodeName|status\.podIPs?)$/;

function readEnvVar(fields: Fields): EnvVar {
  fields.require("name");
  const name = fields.string("name", /^[^=\0]+$/, 'a name without "="') ?? "";
  const value = fields.string("value");
  const from = fields.object("valueFrom");
  const fieldRef = from?.object("fieldRef");
  const field = fieldRef?.string(
    "fieldPath",
    fieldPaths,
    "metadata.name, .namespace, .uid, .labels['KEY'], .annotations['KEY'], spec.nodeName, " +
      "status.podIP or status.podIPs",
  );
  fieldRef?.choice("apiVersion", ["v1"]);
  fieldRef?.require("fieldPath");
  fieldRef?.rejectUnread();
  from?.rejectUnread({
    configMapKeyRef: noServer,
    secretKeyRef: noServer,
    fileKeyRef: noServer,
    resourceFieldRef: "write the number to value",
  });
  fields.rejectUnread();
  if (value !== undefined && from !== undefined)
    fields.reject("valueFrom", "must not be combined with value");
  return field === undefined ? { name, value: value ?? "" } : { name, field };
}

function readPort(fields: Fields): ContainerPort {
  fields.require("containerPort");
  fields.string("name", /^[a-z0-9-]{1,15}$/, "at most 15 lower-case letters, digits and dashes");
  const port: ContainerPort = {
    protocol: fields.choice("protocol", ["TCP", "UDP", "SCTP"]) ?? "TCP",
    containerPort: fields.integer("containerPort", 1, MAX_PORT) ?? 0,
    hostPort: fields.integer("hostPort", 1, MAX_PORT) ?? 0,
    hostIp: fields.string("hostIP") ?? "",
  };
  fields.rejectUnread();
  return port;
}
