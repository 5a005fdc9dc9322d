import { MountPropagation } from "../gen/runtime/v1/api_pb.ts";
import type { Fields, UnsupportedFields } from "./fields.ts";
import { dnsLabel, dnsNameRule } from "./names.ts";

/** A volume of a pod. */
export type VolumeManifest =
  | {
      readonly kind: "emptyDir";
      readonly name: string;
      /** Maximum size in memory; undefined for a volume on disk. */
      readonly memoryBytes: number | undefined;
    }
  | {
      readonly kind: "hostPath";
      readonly name: string;
      readonly path: string;
      readonly type: HostPathType;
    }
  | { readonly kind: "image"; readonly name: string; readonly reference: string };

const hostPathTypes = [
  "",
  "DirectoryOrCreate",
  "Directory",
  "FileOrCreate",
  "File",
  "Socket",
  "CharDevice",
  "BlockDevice",
] as const;

/** What must exist at a host path, or is created there. */
export type HostPathType = (typeof hostPathTypes)[number];

/** An entry of a container's volumeMounts. */
export interface VolumeMount {
  /** The name of the volume. */
  readonly name: string;
  readonly mountPath: string;
  readonly subPath: string;
  readonly readOnly: boolean;
  readonly recursiveReadOnly: boolean;
  readonly propagation: MountPropagation;
  /** KEP-5855. */
  readonly bindMountOptions: readonly string[];
}

const noServer = "it requires an API server; use hostPath or emptyDir";
const noDriver = "davit run does not mount storage; mount it on the host and use hostPath";

const unsupportedVolumes: UnsupportedFields = {
  configMap: noServer,
  secret: noServer,
  downwardAPI: "use env with valueFrom.fieldRef",
  projected: noServer,
  persistentVolumeClaim: noDriver,
  ephemeral: noDriver,
  csi: noDriver,
  nfs: noDriver,
  iscsi: noDriver,
};

// The size of a memory volume without a limit of its own; also the default of tmpfs(5).
const halfOf = (bytes: number): number => Math.floor(bytes / 2);

/** Reads spec.volumes. `memoryBytes` is the node's memory. */
export function readVolumes(spec: Fields, memoryBytes: number): VolumeManifest[] {
  const volumes: VolumeManifest[] = [];
  for (const fields of spec.objects("volumes")) {
    fields.require("name");
    const name = fields.string("name", dnsLabel, dnsNameRule) ?? "";
    if (volumes.some((other) => other.name === name)) {
      fields.reject("name", `duplicate volume name "${name}"`);
    }
    const volume = readSource(fields, name, memoryBytes);
    if (volume !== undefined) volumes.push(volume);
  }
  return volumes;
}

function readSource(fields: Fields, name: string, memoryBytes: number): VolumeManifest | undefined {
  const emptyDir = fields.object("emptyDir");
  const hostPath = fields.object("hostPath");
  const image = fields.object("image");
  fields.rejectUnread(unsupportedVolumes);
  const isEmptyDir = emptyDir !== undefined || fields.isEmptyObject("emptyDir");
  const sources = [isEmptyDir, hostPath, image].filter(
    (each) => each !== undefined && each !== false,
  );
  if (sources.length > 1) fields.reject(undefined, "must have only one volume type");
  if (hostPath !== undefined) return readHostPath(hostPath, name);
  if (image !== undefined) return readImage(image, name);
  if (isEmptyDir) return readEmptyDir(emptyDir, name, memoryBytes);
  // A volume with only a name is an emptyDir in Kubernetes.
  if (fields.names().length <= 1) return { kind: "emptyDir", name, memoryBytes: undefined };
  return undefined;
}

function readEmptyDir(fields: Fields | undefined, name: string, nodeBytes: number): VolumeManifest {
  const inMemory = fields?.choice("medium", ["", "Memory"]) === "Memory";
  const limit = fields?.quantity("sizeLimit");
  if (limit !== undefined && !inMemory) {
    fields?.reject("sizeLimit", "requires medium Memory: davit run does not limit volumes on disk");
  }
  fields?.rejectUnread();
  // For tmpfs(5) and for kubelet, 0 means that no size was given.
  const asked = limit === undefined || limit < 1 ? halfOf(nodeBytes) : limit;
  const memoryBytes = Math.min(asked, nodeBytes);
  return { kind: "emptyDir", name, memoryBytes: inMemory ? Math.floor(memoryBytes) : undefined };
}

/**
 * The volumes with those in memory no larger than the pod: as in kubelet, a tmpfs counts to the memory of the pod, so one
 * that is larger could not be filled. `podBytes` is undefined for a pod without a limit.
 */
export function withinMemory(
  volumes: readonly VolumeManifest[],
  podBytes: number | undefined,
): readonly VolumeManifest[] {
  if (podBytes === undefined) return volumes;
  return volumes.map((volume) =>
    volume.kind === "emptyDir" && volume.memoryBytes !== undefined
      ? { ...volume, memoryBytes: Math.min(volume.memoryBytes, podBytes) }
      : volume,
  );
}

function readHostPath(fields: Fields, name: string): VolumeManifest {
  fields.require("path");
  const path =
    fields.string("path", /^\/(?!.*(^|\/)\.\.(\/|$))/, "an absolute path without ..") ?? "";
  const type = fields.choice("type", hostPathTypes) ?? "";
  fields.rejectUnread();
  return { kind: "hostPath", name, path, type };
}

function readImage(fields: Fields, name: string): VolumeManifest {
  fields.require("reference");
  const reference = fields.string("reference", /^\S+$/, "an image name") ?? "";
  fields.rejectUnread({ pullPolicy: "davit run pulls the image if it is not present" });
  return { kind: "image", name, reference };
}

const propagations = {
  None: MountPropagation.PROPAGATION_PRIVATE,
  HostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  Bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
} as const;

/** Reads a container's volumeMounts; each must refer to a volume of the pod. */
export function readVolumeMounts(
  container: Fields,
  volumes: readonly VolumeManifest[],
): VolumeMount[] {
  return container.objects("volumeMounts").map((fields) => {
    fields.require("name");
    fields.require("mountPath");
    const name = fields.string("name") ?? "";
    const volume = volumes.find((each) => each.name === name);
    if (name !== "" && volume === undefined) {
      fields.reject("name", `volume "${name}" not found in spec.volumes`);
    }
    const readOnly = fields.boolean("readOnly") ?? false;
    const recursive = fields.choice("recursiveReadOnly", ["Disabled", "IfPossible", "Enabled"]);
    if (recursive === "IfPossible") {
      fields.reject("recursiveReadOnly", "is IfPossible: must be Enabled or Disabled");
    }
    const words = ["None", "HostToContainer", "Bidirectional"] as const;
    const propagation = propagations[fields.choice("mountPropagation", words) ?? "None"];
    const mount: VolumeMount = {
      name,
      mountPath: fields.string("mountPath", /^\/./, "an absolute path") ?? "",
      subPath: fields.string("subPath", relativePath, "a relative path without ..") ?? "",
      readOnly: readOnly || volume?.kind === "image",
      recursiveReadOnly: recursive === "Enabled",
      propagation,
      bindMountOptions: readBindMountOptions(fields),
    };
    fields.rejectUnread({ subPathExpr: "write the path to subPath" });
    return mount;
  });
}

const bindMountOptions = ["noexec", "nodev", "nosuid"];

function readBindMountOptions(fields: Fields): readonly string[] {
  const options = fields.strings("bindMountOptions");
  const other = options.find((option) => !bindMountOptions.includes(option));
  if (other !== undefined) {
    fields.reject("bindMountOptions", `has "${other}": must be ${bindMountOptions.join(", ")}`);
  }
  return options;
}

const relativePath = /^(?!\/)(?!(.*\/)?\.\.(\/|$)).*$/;
