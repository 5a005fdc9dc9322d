import type { Fields, Reasons } from "./fields.ts";
import { type ContainerSecurity, readContainerSecurity } from "./security.ts";
import { readVolumeMounts, type VolumeManifest, type VolumeMount } from "./volumes.ts";

/** A container of a Pod, as its manifest describes it; Kubernetes' defaults are filled in. */
export interface ContainerManifest {
  readonly name: string;
  readonly image: string;
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly env: readonly Variable[];
  readonly ports: readonly PortManifest[];
  readonly limits: Amounts;
  /** What is not requested is what the limit says, as the API server fills it in. */
  readonly requests: Amounts;
  readonly volumeMounts: readonly VolumeMount[];
  readonly security: ContainerSecurity;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
}

/** An environment variable: its value, or the field of the pod that holds it. */
export type Variable =
  | { readonly name: string; readonly value: string }
  | { readonly name: string; readonly field: string };

/** Amounts of resources; undefined where nothing is said. */
export interface Amounts {
  readonly cpu: number | undefined;
  readonly memoryBytes: number | undefined;
  /** Bytes by the size of the page, as the kernel names it: 2MB. */
  readonly hugepages: Readonly<Record<string, number>>;
}

/** One entry of a container's ports. */
export interface PortManifest {
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly containerPort: number;
  /** 0 for none. */
  readonly hostPort: number;
  /** "" for every address of the host. */
  readonly hostIp: string;
}

const NAME = /^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const MAX_PORT = 65_535;

const noProbes = "nothing looks after containers while they run; that is kubelet's work";
const noServer = "there is no API server to read it from; write the values into env";
const terminationMessage = "what a container says at its end is in its log (davit logs)";
const reasons: Reasons = {
  livenessProbe: noProbes,
  readinessProbe: noProbes,
  startupProbe: noProbes,
  lifecycle: "hooks are run by kubelet",
  envFrom: noServer,
  terminationMessagePath: terminationMessage,
  terminationMessagePolicy: terminationMessage,
  volumeDevices: "davit attaches no block devices",
  resizePolicy: "davit run changes nothing of a pod that runs",
  restartPolicy: "there are no sidecars among init containers: make it one of spec.containers",
  restartPolicyRules: "nothing restarts containers",
};

/** Reads spec.containers and spec.initContainers. What is wrong is noted at `spec`. */
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
  const twice = names.find((name, index) => name !== "" && names.indexOf(name) < index);
  if (twice !== undefined) {
    spec.refuse("containers", `there are two containers that are named "${twice}"`);
  }
  return { containers, initContainers };
}

function readContainer(fields: Fields, volumes: readonly VolumeManifest[]): ContainerManifest {
  fields.require("name");
  fields.require("image");
  const hostNameRule = 'lower-case letters, digits and "-"';
  const image = fields.string("image", /^\S+$/, "the name of an image") ?? "";
  const policies = ["Always", "IfNotPresent", "Never"] as const;
  const resources = fields.object("resources");
  const limits = readAmounts(resources?.object("limits"));
  const container: ContainerManifest = {
    name: fields.string("name", NAME, hostNameRule) ?? "",
    image,
    imagePullPolicy: fields.choice("imagePullPolicy", policies) ?? defaultPullPolicy(image),
    command: fields.strings("command"),
    args: fields.strings("args"),
    workingDir: fields.string("workingDir") ?? "",
    env: fields.objects("env").map(readVariable),
    ports: fields.objects("ports").map(readPort),
    limits,
    requests: fillIn(readAmounts(resources?.object("requests")), limits),
    volumeMounts: readVolumeMounts(fields, volumes),
    security: readContainerSecurity(fields.objectOrEmpty("securityContext")),
    stdin: fields.boolean("stdin") ?? false,
    stdinOnce: fields.boolean("stdinOnce") ?? false,
    tty: fields.boolean("tty") ?? false,
  };
  resources?.refuseRest({ claims: "davit gives no devices to claims" });
  fields.refuseRest(reasons);
  return container;
}

/** The API server's rule: what may move is asked for each time. */
function defaultPullPolicy(image: string): "Always" | "IfNotPresent" {
  if (image.includes("@")) return "IfNotPresent";
  const tag = /:([^/]+)$/.exec(image)?.[1] ?? "latest";
  return tag === "latest" ? "Always" : "IfNotPresent";
}

function readAmounts(fields: Fields | undefined): Amounts {
  const hugepages: Record<string, number> = {};
  for (const name of fields?.names() ?? []) {
    const [, size, unit] = /^hugepages-(\d+)([KMG])i$/.exec(name) ?? [];
    if (size === undefined || unit === undefined) continue;
    // The kernel counts pages in powers of 1024 and writes KB, MB, GB.
    hugepages[`${size}${unit}B`] = fields?.quantity(name) ?? 0;
  }
  const amounts = {
    cpu: fields?.quantity("cpu"),
    memoryBytes: fields?.quantity("memory"),
    hugepages,
  };
  fields?.refuseRest({ "ephemeral-storage": "nothing limits what containers write to the disk" });
  return amounts;
}

function fillIn(requests: Amounts, limits: Amounts): Amounts {
  return {
    cpu: requests.cpu ?? limits.cpu,
    memoryBytes: requests.memoryBytes ?? limits.memoryBytes,
    hugepages: { ...limits.hugepages, ...requests.hugepages },
  };
}

const fieldPaths =
  /^(metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])|spec\.nodeName|status\.podIPs?)$/;

function readVariable(fields: Fields): Variable {
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
  fieldRef?.refuseRest();
  from?.refuseRest({
    configMapKeyRef: noServer,
    secretKeyRef: noServer,
    fileKeyRef: noServer,
    resourceFieldRef: "write the number out",
  });
  fields.refuseRest();
  if (value !== undefined && from !== undefined) fields.refuse("valueFrom", "cannot be with value");
  return field === undefined ? { name, value: value ?? "" } : { name, field };
}

function readPort(fields: Fields): PortManifest {
  fields.require("containerPort");
  fields.string("name", /^[a-z0-9-]{1,15}$/, "at most 15 lower-case letters, digits and dashes");
  const port: PortManifest = {
    protocol: fields.choice("protocol", ["TCP", "UDP", "SCTP"]) ?? "TCP",
    containerPort: fields.integer("containerPort", 1, MAX_PORT) ?? 0,
    hostPort: fields.integer("hostPort", 1, MAX_PORT) ?? 0,
    hostIp: fields.string("hostIP") ?? "",
  };
  fields.refuseRest();
  return port;
}
