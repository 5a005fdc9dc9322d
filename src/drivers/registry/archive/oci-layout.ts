import { isDigest } from "../../../base/digest.ts";
import { kindOf } from "../../../base/errors.ts";
import {
  type ArchivedImage,
  type Descriptor,
  type ImageReference,
  parseReference,
} from "../../../core/image/index.ts";
import { asRecord } from "../failure.ts";
import { candidatesOf, configRuns, noPlatform } from "../index-entries.ts";
import { checkSize, type ImageIndex, type ImageManifest, parseManifest } from "../manifest.ts";
import type { Platform } from "../platform.ts";
import { aboutArchive, type ArchiveContent, unreadable } from "./content.ts";
import type { ReceivedFile } from "./receive.ts";

const maxManifestBytes = 4 * 1024 * 1024;
const maxConfigBytes = 8 * 1024 * 1024;
const maxIndexDepth = 3;
const maxImages = 1000;
const indexType = "application/vnd.oci.image.index.v1+json";

/** The full name, as containerd and Docker write it; and the tag or name of the specification. */
const [fullName, refName] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

type Entry = ImageIndex["entries"][number];

/**
 * The images of an OCI layout (image-spec, image-layout.md), for this platform as in a pull. Entries of
 * `index.json` with the same name are one image for several platforms, and so are those without a name that
 * name a platform.
 */
export async function readOciLayout(
  content: ArchiveContent,
  platform: Platform,
): Promise<readonly ArchivedImage[]> {
  const layout = asRecord(await content.readJson("oci-layout", 4096));
  const version = layout?.["imageLayoutVersion"];
  if (typeof version !== "string" || !version.startsWith("1.")) {
    throw unreadable("unimplemented", "its oci-layout has an unknown version");
  }
  const file = content.get("index.json", "which it must have");
  const bytes = await content.read(file, "index.json", maxManifestBytes);
  const groups = groupsOf(parseIndex(bytes));
  const found: ArchivedImage[] = [];
  let failure: Error | undefined;
  for (const { name, index } of groups) {
    try {
      found.push(await resolveImage(content, index, { name, platform }));
    } catch (cause) {
      const error = aboutArchive(cause);
      // Signatures and attestations have no name, and are not images.
      if (name !== undefined || kindOf(error) !== "unimplemented") throw error;
      failure ??= error;
    }
  }
  if (found.length === 0 && failure !== undefined) throw failure;
  return found;
}

interface Group {
  readonly name: ImageReference | undefined;
  readonly index: ImageIndex;
}

function parseIndex(bytes: Uint8Array): readonly (Entry & { readonly name: string })[] {
  try {
    const index = parseManifest(bytes, indexType);
    if (index.kind !== "index")
      throw unreadable("invalid-argument", "its index.json is not an index");
    const raw = asRecord(JSON.parse(Buffer.from(bytes).toString("utf8")))?.["manifests"];
    if (index.entries.length > maxImages) {
      throw unreadable("failed-precondition", `it has more than ${maxImages} images`);
    }
    return index.entries.map((entry, at) => ({
      ...entry,
      name: nameOf(Array.isArray(raw) ? asRecord(raw[at]) : undefined),
    }));
  } catch (error) {
    throw aboutArchive(error);
  }
}

function nameOf(raw: Readonly<Record<string, unknown>> | undefined): string {
  const annotations = asRecord(raw?.["annotations"]) ?? {};
  const name = annotations[fullName] ?? annotations[refName];
  if (typeof name !== "string") return "";
  // A tag alone names no repository.
  return annotations[fullName] === name || /[/:]/.test(name) ? name : "";
}

function groupsOf(entries: readonly (Entry & { readonly name: string })[]): readonly Group[] {
  const groups = new Map<string, Entry[]>();
  for (const [at, entry] of entries.entries()) {
    const alone = entry.name === "" && entry.platform === undefined;
    const key = alone ? `#${at}` : entry.name;
    groups.set(key, [...(groups.get(key) ?? []), entry]);
  }
  return [...groups].map(([key, of]) => ({
    name: key === "" || key.startsWith("#") ? undefined : parseTag(key),
    index: { kind: "index", mediaType: indexType, entries: of },
  }));
}

function parseTag(text: string): ImageReference {
  const reference = parseReference(text);
  if (reference.digest === undefined) return reference;
  // The digest is that of the entry, or is not true.
  return { ...reference, digest: undefined };
}

async function resolveImage(
  content: ArchiveContent,
  group: ImageIndex,
  { name, platform }: { readonly name: ImageReference | undefined; readonly platform: Platform },
): Promise<ArchivedImage> {
  const image = await choose(content, group, platform, 0);
  if (image === undefined) throw noPlatform(group, platform);
  return { ...image, names: name?.tag === undefined ? [] : [name] };
}

/** The image for this platform, as in a pull; its digest is that of the entry. Undefined for none. */
async function choose(
  content: ArchiveContent,
  index: ImageIndex,
  platform: Platform,
  depth: number,
): Promise<Omit<ArchivedImage, "names"> | undefined> {
  if (depth > maxIndexDepth) {
    throw unreadable("failed-precondition", `it has indexes more than ${maxIndexDepth} deep`);
  }
  for (const entry of candidatesOf(index, platform)) {
    const { digest } = entry.descriptor;
    const parsed = await readManifest(content, entry.descriptor);
    if (parsed.kind === "index") {
      const found = await choose(content, parsed, platform, depth + 1);
      if (found !== undefined) return { ...found, digest };
      continue;
    }
    const { config, layers, artifact } = parsed;
    if (artifact !== undefined) {
      throw unreadable("unimplemented", "it has an OCI artifact: only images can be loaded");
    }
    for (const each of [config, ...layers]) blobOf(content, each);
    const isCertain = entry.platform !== undefined;
    if (isCertain || configRuns(await readConfig(content, config), platform)) {
      return { digest, config, layers };
    }
  }
  return undefined;
}

function readConfig(content: ArchiveContent, config: Descriptor): Promise<Uint8Array> {
  return content.read(blobOf(content, config), "config", maxConfigBytes);
}

async function readManifest(
  content: ArchiveContent,
  descriptor: Descriptor,
): Promise<ImageManifest | ImageIndex> {
  const bytes = await content.read(blobOf(content, descriptor), "manifest", maxManifestBytes);
  return parseManifest(bytes, descriptor.mediaType);
}

/** The file of a blob, with the digest and the size of the descriptor. */
export function blobOf(content: ArchiveContent, { digest, sizeBytes }: Descriptor): ReceivedFile {
  if (!isDigest(digest)) throw unreadable("invalid-argument", "it has an invalid digest");
  const file = content.get(`blobs/${digest.replace(":", "/")}`, "a blob of an image");
  if (file.digest !== digest) {
    throw unreadable(
      "data-loss",
      `its blob ${digest} has the digest ${file.digest}; make it again`,
    );
  }
  checkSize("blob", { length: file.sizeBytes } as Uint8Array, sizeBytes);
  return file;
}
