const dockerPrefix = "application/vnd.docker.";
export const ociPrefix = "application/vnd.oci.image.";

export const indexTypes: readonly string[] = [
  `${ociPrefix}index.v1+json`,
  `${dockerPrefix}distribution.manifest.list.v2+json`,
];
const dockerManifest = `${dockerPrefix}distribution.manifest.v2+json`;
export const manifestTypes: readonly string[] = [`${ociPrefix}manifest.v1+json`, dockerManifest];

const configTypes: readonly string[] = [
  `${ociPrefix}config.v1+json`,
  `${dockerPrefix}container.image.v1+json`,
  // Manifests of builders that set none.
  "",
];
// Docker itself takes these for the configs of images: registries and builders of 2016 wrote them.
const oldConfigTypes: readonly string[] = [
  "application/octet-stream",
  "application/json",
  "text/html",
];

// Nondistributable layers are layers here: those that a registry has are fetched from it like any other.
const foreignTypes: readonly string[] = [
  ...["", "+gzip", "+zstd"].map((packing) => `${ociPrefix}layer.nondistributable.v1.tar${packing}`),
  ...["", ".gzip", ".zstd"].map(
    (packing) => `${dockerPrefix}image.rootfs.foreign.diff.tar${packing}`,
  ),
];
const layerTypes: readonly string[] = [
  ...["", "+gzip", "+zstd"].map((packing) => `${ociPrefix}layer.v1.tar${packing}`),
  ...["", ".gzip", ".zstd"].map((packing) => `${dockerPrefix}image.rootfs.diff.tar${packing}`),
  ...foreignTypes,
];

/** True for the manifests of Docker's schema 1, signed or not. */
export function isSchema1(mediaType: string): boolean {
  return mediaType.startsWith(dockerPrefix) && /manifest\.v1\+(json|prettyjws)$/.test(mediaType);
}

/** True for the config of an image in a manifest of type `manifestType`. */
export function isConfigType(mediaType: string, manifestType: string): boolean {
  if (configTypes.includes(mediaType)) return true;
  return manifestType === dockerManifest && oldConfigTypes.includes(mediaType);
}

/** What ocicrypt appends to the media type of a layer that it encrypts. */
const encryptedSuffix = "+encrypted";

/** True for the media type of an encrypted layer. */
export function isEncryptedType(mediaType: string): boolean {
  return mediaType.endsWith(encryptedSuffix);
}

/** True for a layer of an image that can be unpacked, maybe after its decryption. */
export function isLayerType(mediaType: string): boolean {
  return layerTypes.includes(decryptedType(mediaType));
}

/** True for a layer that its registry may not have, because its license forbids to distribute it. */
export function isForeignLayer(mediaType: string): boolean {
  return foreignTypes.includes(decryptedType(mediaType));
}

function decryptedType(mediaType: string): string {
  return isEncryptedType(mediaType) ? mediaType.slice(0, -encryptedSuffix.length) : mediaType;
}
