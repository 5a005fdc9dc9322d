import type { Descriptor, ImageContent } from "../../core/image/index.ts";
import { asRecord, HostFailure } from "./failure.ts";

// Annotations with the path of a layer's file: of image-spec, and of the ModelPack specification.
const pathKeys = ["org.opencontainers.image.title", "org.cncf.model.filepath"];
const maxPathLength = 1024;
const maxNameBytes = 255;
const maxTypeLength = 255;
/** What an artifact without files has in place of one (image-spec, "Guidance for an Empty Descriptor"). */
const emptyType = "application/vnd.oci.empty.v1+json";

/**
 * The files of an artifact, from its layers as they were parsed and as they are in the manifest. A layer without a name
 * gets that of its digest, `sha256-<hex>`. Two layers of the same path and digest are one file.
 *
 * A {@link HostFailure} of kind `data-loss` for a path that leads out of the artifact or that no file
 * can have, and for files in each other's place.
 */
export function artifactOf(
  type: string,
  layers: readonly Descriptor[],
  rawLayers: readonly unknown[],
): Pick<ImageContent, "layers" | "artifact"> {
  const files = new Map<string, Descriptor>();
  for (const [at, layer] of layers.entries()) {
    if (layer.mediaType === emptyType) continue;
    const path = pathOf(layer, rawLayers[at], `layers[${at}]`);
    const other = files.get(path);
    if (other !== undefined && other.digest !== layer.digest) {
      throw refused(`layers[${at}]`, path, "is also the name of another file");
    }
    files.set(path, layer);
  }
  checkDirectories(files);
  const shown = type.length > maxTypeLength ? `${type.slice(0, maxTypeLength)}...` : type;
  return {
    layers: [...files.values()],
    artifact: { type: shown.replace(/[\p{Cc}\p{Cs}]/gu, "\ufffd"), paths: [...files.keys()] },
  };
}

function pathOf(layer: Descriptor, raw: unknown, what: string): string {
  const annotations = asRecord(asRecord(raw)?.["annotations"]);
  const named = pathKeys.map((key) => annotations?.[key]).find((name) => name !== undefined);
  if (named === undefined) return layer.digest.replace(":", "-");
  if (typeof named !== "string") throw refused(what, named, "is not a text");
  if (named.length > maxPathLength) {
    throw refused(what, named, `is longer than ${maxPathLength} characters`);
  }
  if (/[\p{Cc}\p{Cs}]/u.test(named)) throw refused(what, named, "has a control character");
  if (named.startsWith("/")) throw refused(what, named, "begins with /");
  const parts = named.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length === 0) throw refused(what, named, "is empty");
  for (const part of parts) {
    if (part === "..") throw refused(what, named, "leads out of the artifact");
    if (Buffer.byteLength(part) > maxNameBytes) {
      throw refused(what, named, `has a part of more than ${maxNameBytes} bytes`);
    }
    // The name of a deleted file in a layer.
    if (part.startsWith(".wh.")) throw refused(what, named, "begins with .wh.");
  }
  return parts.join("/");
}

function checkDirectories(files: ReadonlyMap<string, Descriptor>): void {
  for (const path of files.keys()) {
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
      if (!files.has(path.slice(0, at))) continue;
      throw refused("layer", path, `is below the file ${JSON.stringify(path.slice(0, at))}`);
    }
  }
}

function refused(what: string, path: unknown, why: string): HostFailure {
  const shown = (JSON.stringify(path) as string | undefined)?.slice(0, 200) ?? "nothing";
  return new HostFailure(
    "data-loss",
    `has an artifact whose ${what} has the title ${shown}, which ${why}`,
  );
}
