import { isDigest } from "../../../base/digest.ts";
import {
  type ArchivedImage,
  type ImageReference,
  parseReference,
} from "../../../core/image/index.ts";
import { asRecord } from "../failure.ts";
import { type ArchiveContent, unreadable } from "./content.ts";
import type { ReceivedFile } from "./receive.ts";

const maxManifestBytes = 4 * 1024 * 1024;
/** Images, names and layers of one archive. */
const maxImages = 1000;
const maxNames = 1000;

const configType = "application/vnd.docker.container.image.v1+json";
const layerType = "application/vnd.docker.image.rootfs.diff.tar";

/**
 * The images of what `docker save` writes: `manifest.json` lists them with their configs and layers (moby's
 * image/spec, v1.2). A layer may be a link to the file of another image.
 */
export async function readDockerArchive(
  content: ArchiveContent,
): Promise<readonly ArchivedImage[]> {
  const list = await content.readJson("manifest.json", maxManifestBytes);
  if (!Array.isArray(list)) throw unreadable("invalid-argument", "its manifest.json is not a list");
  if (list.length > maxImages) {
    throw unreadable("failed-precondition", `it has more than ${maxImages} images`);
  }
  return list.map((item: unknown, at) =>
    readImage(content, item, `manifest.json, image ${at + 1}`),
  );
}

function readImage(content: ArchiveContent, item: unknown, where: string): ArchivedImage {
  const { Config: configName, RepoTags: tags, Layers: layers } = asRecord(item) ?? {};
  if (typeof configName !== "string") {
    throw unreadable("invalid-argument", `${where} names no config`);
  }
  const config = content.get(configName, `the config of ${where}`);
  checkName(configName, config);
  const names = textsOf(layers, `${where}, Layers`);
  return {
    names: textsOf(tags, `${where}, RepoTags`).map(nameOf),
    digest: undefined,
    config: { mediaType: configType, ...descriptorOf(config) },
    layers: names.map((name) => {
      const file = content.get(name, `a layer of ${where}`);
      checkName(name, file);
      return { mediaType: layerType, ...descriptorOf(file) };
    }),
  };
}

/** The name of a config, and of a blob since Docker 25, is its digest. Older names of layers are not. */
function checkName(name: string, { digest }: ReceivedFile): void {
  const [, hex] = /^(?:blobs\/sha256\/([0-9a-f]{64})|.*)$/.exec(name) ?? [];
  const [, configHex] = /^([0-9a-f]{64})\.json$/.exec(name) ?? [];
  const wanted = `sha256:${hex ?? configHex ?? ""}`;
  if (!isDigest(wanted) || wanted === digest) return;
  throw unreadable(
    "data-loss",
    `its file "${name}" has the digest ${digest}; make the archive again`,
  );
}

function descriptorOf({ digest, sizeBytes }: ReceivedFile) {
  return { digest, sizeBytes: BigInt(sizeBytes) };
}

function textsOf(value: unknown, what: string): readonly string[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) {
    if (value.length <= maxNames) return value;
    throw unreadable("failed-precondition", `${what} has more than ${maxNames} items`);
  }
  throw unreadable("invalid-argument", `${what} is not a list of texts`);
}

function nameOf(text: string): ImageReference {
  const reference = parseReference(text);
  if (reference.tag !== undefined && reference.digest === undefined) return reference;
  throw unreadable("invalid-argument", `the image name "${text}" has no tag, or a digest`);
}
