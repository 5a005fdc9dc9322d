import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname, totalmem } from "node:os";
import { layerLimitAnnotation, pidsLimitAnnotation } from "../client/pods/annotations.ts";
import { type NodeInfo, parsePodManifests, type PodManifest } from "../manifest/index.ts";
import type { Mount, Network, Port, RunOptions } from "./api/options.ts";
import { checkOptions } from "./check-options.ts";
import { invalid } from "./explain.ts";
import { leaseLabel } from "./lease.ts";

/** The annotations by which davit limits the network of a pod. */
export const networkAnnotationNames = ["davit.network", "davit.egress"] as const;
const [networkAnnotation, egressAnnotation] = networkAnnotationNames;

/** The facts about this machine that requests depend on. */
export function thisNode(podsRoot: string): NodeInfo {
  let resolvConf = "";
  try {
    resolvConf = readFileSync("/etc/resolv.conf", "utf8");
  } catch {
    // A machine without name servers.
  }
  return { podsRoot, resolvConf, nodeName: hostname(), memoryBytes: totalmem() };
}

/** What a pod of `run` is made of. */
export interface RunRequest {
  readonly image: string;
  readonly options: RunOptions;
  /** Undefined for a pod that stays. */
  readonly lease: string | undefined;
  readonly podsRoot: string;
}

/**
 * The pod of `run`, by the reader of manifests, which also checks the options.
 *
 * @throws DavitError `invalid`
 */
export function runManifest(request: RunRequest): PodManifest {
  const { image, options, podsRoot } = request;
  if (image === "") throw invalid("run a container: the name of the image is empty");
  checkOptions(options);
  const text = JSON.stringify(asManifest(request));
  const [pod] = parsePodManifests(text, "options", thisNode(podsRoot));
  if (pod === undefined) throw invalid(`run "${image}": there is no pod`);
  return pod;
}

/** Pods of a manifest with the lease. A pod that names no uid always has the same: davit refuses a second one. */
export function applyManifests(
  text: string,
  {
    name,
    lease,
    podsRoot,
  }: { readonly name: string; readonly lease: string | undefined; readonly podsRoot: string },
): readonly PodManifest[] {
  const pods = parsePodManifests(text, name, thisNode(podsRoot));
  if (lease !== undefined) {
    for (const { sandbox } of pods) sandbox.labels[leaseLabel] = lease;
  }
  return pods;
}

function asManifest({ image, options, lease }: RunRequest): object {
  const base = baseName(image);
  const { network = "pod", mounts = [], disk, pids, labels, annotations } = options;
  const volumes = mounts.map(asVolume);
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name:
        options.name ??
        `${base}-${createHash("sha256").update(randomUUID()).digest("hex").slice(0, 8)}`,
      namespace: options.namespace ?? "default",
      uid: randomUUID(),
      labels: { ...labels, ...(lease === undefined ? {} : { [leaseLabel]: lease }) },
      annotations: {
        ...annotations,
        ...networkAnnotations(network),
        ...(disk === undefined ? {} : { [layerLimitAnnotation]: String(disk) }),
        ...(pids === undefined ? {} : { [pidsLimitAnnotation]: String(pids) }),
      },
    },
    spec: {
      restartPolicy: "Never",
      hostNetwork: network === "host" ? true : undefined,
      hostUsers: options.userNamespace === true ? false : undefined,
      runtimeClassName: options.handler,
      terminationGracePeriodSeconds: options.graceSeconds ?? 10,
      containers: [
        { ...asContainer(image, options), name: base, volumeMounts: mounts.map(asVolumeMount) },
      ],
      volumes,
    },
  };
}

function asContainer(image: string, options: RunOptions): object {
  const { command, args, env = {}, capabilities, memory, cpus } = options;
  const policies = { missing: "IfNotPresent", always: "Always", never: "Never" } as const;
  return {
    image,
    imagePullPolicy: policies[options.pull ?? "missing"],
    command: command?.map(literal),
    args: args?.map(literal),
    workingDir: options.workdir,
    env: Object.entries(env).map(([name, value]) => ({ name, value: literal(value) })),
    ports: options.ports?.map(asPort),
    resources: {
      limits: {
        ...(memory === undefined ? {} : { memory: String(memory) }),
        ...(cpus === undefined ? {} : { cpu: String(cpus) }),
      },
    },
    securityContext: {
      runAsUser: options.user,
      runAsGroup: options.group,
      readOnlyRootFilesystem: options.readOnlyRoot,
      allowPrivilegeEscalation: options.noNewPrivileges === true ? false : undefined,
      capabilities: capabilities && { add: capabilities.add, drop: capabilities.drop },
    },
  };
}

/** A text in which a manifest's $(NAME) means nothing. */
function literal(text: string): string {
  return text.replaceAll("$", "$$$$");
}

function asPort(port: Port): object {
  if (typeof port === "number") return { containerPort: port };
  return {
    containerPort: port.container,
    hostPort: port.host,
    hostIP: port.address,
    protocol: port.protocol,
  };
}

function asVolume(mount: Mount, index: number): object {
  const name = `mount-${index}`;
  return "tmp" in mount ? { name, emptyDir: {} } : { name, hostPath: { path: mount.host } };
}

function asVolumeMount(mount: Mount, index: number): object {
  const name = `mount-${index}`;
  if ("tmp" in mount) return { name, mountPath: mount.tmp };
  return { name, mountPath: mount.at, readOnly: mount.readOnly };
}

/** The annotations for the network of a pod. */
export function networkAnnotations(network: Network): Readonly<Record<string, string>> {
  if (network === "none") return { [networkAnnotation]: "none" };
  if (typeof network === "string") return {};
  return { [egressAnnotation]: network.allow.length === 0 ? "none" : network.allow.join(",") };
}

/** The last part of an image's name as a name for a pod and a container. */
function baseName(image: string): string {
  const last = image.replace(/@.*$/, "").split("/").at(-1) ?? "";
  const name = last
    .replace(/:.*$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 40)
    .replace(/-+$/, "");
  return name === "" || /^\d+$/.test(name) ? "container" : name;
}
