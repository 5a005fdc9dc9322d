/** Images whose layers are encrypted, by davit's own test code and by skopeo. */
import { type KeyObject, randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import {
  type EncryptedLayer,
  encryptLayer,
  type TestRecipient,
} from "../../src/drivers/decryption/testing/encrypt-layer.ts";
import { ociLayout, skopeoCopy, writeFiles } from "./archives.ts";
import { type Blob, digestOf, type Layer, type TestImage } from "./images.ts";

const manifestType = "application/vnd.oci.image.manifest.v1+json";

/** A layer of a manifest. */
export interface DescribedLayer {
  readonly layer: Layer;
  readonly annotations: Readonly<Record<string, string>>;
}

/** The same image with these layers in its manifest; its config stays. */
export function withLayers(image: TestImage, described: readonly DescribedLayer[]): TestImage {
  const { manifest, config } = image;
  const { config: configDescriptor } = JSON.parse(manifest.bytes.toString()) as { config: object };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: configDescriptor,
      layers: described.map(({ layer, annotations }) => ({
        mediaType: layer.mediaType,
        digest: layer.digest,
        size: layer.bytes.length,
        annotations,
      })),
    }),
  );
  return {
    config,
    layers: described.map(({ layer }) => layer),
    manifest: { mediaType: manifestType, digest: digestOf(bytes), bytes },
  };
}

/** An encrypted layer as a manifest has it. */
export function describeEncrypted(layer: Layer, encrypted: EncryptedLayer): DescribedLayer {
  const { bytes, annotations } = encrypted;
  const mediaType = `${layer.mediaType}+encrypted`;
  return { layer: { ...layer, mediaType, bytes, digest: digestOf(bytes) }, annotations };
}

/** The image with all its layers encrypted for these recipients, and the key of its layers. */
export async function encryptImage(
  image: TestImage,
  recipients: readonly TestRecipient[],
): Promise<{ readonly image: TestImage; readonly key: Buffer }> {
  const [key, nonce] = [randomBytes(32), randomBytes(16)];
  const described: DescribedLayer[] = [];
  for (const layer of image.layers) {
    const encrypted = await encryptLayer(layer.bytes, recipients, { key, nonce });
    described.push(describeEncrypted(layer, encrypted));
  }
  return { image: withLayers(image, described), key };
}

/** The image as skopeo encrypts it; `keys` are its `--encryption-key` options. */
export function encryptBySkopeo(image: TestImage, keys: readonly string[]): TestImage {
  const directory = mkdtempSync(path.join(tmpdir(), "davit-skopeo-"));
  try {
    const [plain, encrypted] = ["plain", "encrypted"].map((name) => path.join(directory, name));
    writeFiles(plain ?? "", ociLayout([image], [{ blob: image.manifest }]));
    const options = keys.flatMap((key) => ["--encryption-key", key]);
    skopeoCopy(`oci:${plain ?? ""}`, `oci:${encrypted ?? ""}`, ...options);
    return readLayout(encrypted ?? "", image);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The only image of an OCI layout, whose layers have the diff ids of `plain`. */
function readLayout(directory: string, plain: TestImage): TestImage {
  const read = ({ mediaType, digest }: { mediaType: string; digest: string }): Blob => {
    const bytes = readFileSync(path.join(directory, "blobs", digest.replace(":", "/")));
    return { mediaType, digest, bytes };
  };
  type Descriptor = Parameters<typeof read>[0];
  const index = readFileSync(path.join(directory, "index.json"), "utf8");
  const { manifests } = JSON.parse(index) as { manifests: readonly [Descriptor] };
  const manifest = read(manifests[0]);
  const { config, layers } = JSON.parse(manifest.bytes.toString()) as {
    config: Descriptor;
    layers: readonly Descriptor[];
  };
  return {
    manifest,
    config: read(config),
    layers: layers.map((each, at) => ({
      ...read(each),
      diffId: plain.layers[at]?.diffId ?? "",
    })),
  };
}

/** Writes a private key that only root may read. */
export function writeKey(file: string, key: KeyObject): void {
  writeFileSync(file, key.export({ format: "pem", type: "pkcs8" }));
  chmodSync(file, 0o600);
}

/** Writes a public key for skopeo. */
export function writePublicKey(file: string, key: KeyObject): string {
  writeFileSync(file, key.export({ format: "pem", type: "spki" }));
  return file;
}
