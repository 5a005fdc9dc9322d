import { MountPropagation } from "../gen/runtime/v1/api_pb.ts";
import type { Fields, Reasons } from "./fields.ts";

/** A volume of a pod. */
export type VolumeManifest =
  | {
      readonly kind: "emptyDir";
      readonly name: string;
      /** In memory, at most so many bytes; undefined for one on the disk. */
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

/** What must be at a host path, or be made there. */
export type HostPathType = (typeof hostPathTypes)[number];

/** One entry of a container's volumeMounts. */
export interface VolumeMount {
  /** Of the volume. */
  readonly name: string;
  readonly mountPath: string;
  readonly subPath: string;
  readonly readOnly: boolean;
  readonly recursiveReadOnly: boolean;
  readonly propagation: MountPropagation;
}

const volumeName = /^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const nameRule = 'lower-case letters, digits and "-"';
const noServer = "there is no API server to read it from; use hostPath or emptyDir";
const noDriver = "davit mounts no storage; mount it on the host and use hostPath";

const volumeReasons: Reasons = {
  configMap: noServer,
  secret: noServer,
  downwardAPI: "it has no files of a pod's fields; env with valueFrom.fieldRef is done",
  projected: noServer,
  persistentVolumeClaim: noDriver,
  ephemeral: noDriver,
  csi: noDriver,
  nfs: noDriver,
  iscsi: noDriver,
};

// All of the node's memory is no useful limit: half of it is what tmpfs(5) does, too.
const halfOf = (bytes: number): number => Math.floor(bytes / 2);

/** Reads spec.volumes. `memoryBytes` is the node's memory. */
export function readVolumes(spec: Fields, memoryBytes: number): VolumeManifest[] {
  const volumes: VolumeManifest[] = [];
  for (const fields of spec.objects("volumes")) {
    fields.require("name");
    const name = fields.string("name", volumeName, nameRule) ?? "";
    if (volumes.some((other) => other.name === name)) {
      fields.refuse("name", `is "${name}": it is there twice`);
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
  fields.refuseRest(volumeReasons);
  const isEmptyDir = emptyDir !== undefined || fields.isEmptyObject("emptyDir");
  const sources = [isEmptyDir, hostPath, image].filter(
    (each) => each !== undefined && each !== false,
  );
  if (sources.length > 1) fields.refuse(undefined, "has more than one kind of volume");
  if (hostPath !== undefined) return readHostPath(hostPath, name);
  if (image !== undefined) return readImage(image, name);
  if (isEmptyDir) return readEmptyDir(emptyDir, name, memoryBytes);
  // Only a name: Kubernetes reads it as an emptyDir, too.
  if (fields.names().length <= 1) return { kind: "emptyDir", name, memoryBytes: undefined };
  return undefined;
}

function readEmptyDir(fields: Fields | undefined, name: string, nodeBytes: number): VolumeManifest {
  const inMemory = fields?.choice("medium", ["", "Memory"]) === "Memory";
  const limit = fields?.quantity("sizeLimit");
  if (limit !== undefined && !inMemory) {
    fields?.refuse(
      "sizeLimit",
      "nothing keeps a volume on the disk small: only with medium Memory",
    );
  }
  fields?.refuseRest();
  const memoryBytes = Math.min(limit ?? nodeBytes, halfOf(nodeBytes));
  return { kind: "emptyDir", name, memoryBytes: inMemory ? Math.floor(memoryBytes) : undefined };
}

function readHostPath(fields: Fields, name: string): VolumeManifest {
  fields.require("path");
  const path = fields.string("path", /^\/(?!.*(^|\/)\.\.(\/|$))/, "absolute, without ..") ?? "";
  const type = fields.choice("type", hostPathTypes) ?? "";
  fields.refuseRest();
  return { kind: "hostPath", name, path, type };
}

function readImage(fields: Fields, name: string): VolumeManifest {
  fields.require("reference");
  const reference = fields.string("reference", /^\S+$/, "the name of an image") ?? "";
  fields.refuseRest({ pullPolicy: "the image is pulled when it is not there" });
  return { kind: "image", name, reference };
}

const propagations = {
  None: MountPropagation.PROPAGATION_PRIVATE,
  HostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  Bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
} as const;

/** Reads a container's volumeMounts; each must name one of the pod's volumes. */
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
      fields.refuse("name", `is "${name}": there is no such volume in spec.volumes`);
    }
    const readOnly = fields.boolean("readOnly") ?? false;
    const recursive = fields.choice("recursiveReadOnly", ["Disabled", "IfPossible", "Enabled"]);
    if (recursive === "IfPossible") {
      fields.refuse("recursiveReadOnly", "is IfPossible: say Enabled or Disabled");
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
    };
    fields.refuseRest({ subPathExpr: "write the path out in subPath" });
    return mount;
  });
}

const relativePath = /^(?!\/)(?!(.*\/)?\.\.(\/|$)).+$/;
