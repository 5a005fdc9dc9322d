// Images: their names, their store, and the port to their source. Imports base and core/store. Start with image.ts.
export type {
  ArchivedImage,
  ArchiveOptions,
  ImageArchive,
  ImageArchives,
  RootFsConfig,
} from "./archive.ts";
export type { LayerCipher, LayerDecryption } from "./encryption.ts";
export { hasDigest, type Image, type ImageConfig, type ImageLayer } from "./image.ts";
export type { ImageReference } from "./reference.ts";
export {
  canonicalHost,
  formatReference,
  parseReference,
  repositoryName,
  shortNameOf,
  withCanonicalRegistry,
} from "./reference.ts";
export type {
  ArtifactContent,
  BlobStream,
  Descriptor,
  ExplainedHost,
  ImageContent,
  ImageFetcher,
  ImageSource,
  LayerEncryption,
  PlatformChoice,
  PullObserver,
  RegistryAuth,
  ResolvedImage,
} from "./source.ts";
export { noPullObserver, registryUnavailable } from "./source.ts";
export { type ImageNames, ImageStore } from "./store.ts";
export type { ImageUseRecords } from "./uses.ts";
export type {
  BundleSignature,
  CheckedSignature,
  FoundSignature,
  ImageToVerify,
  ImageVerifier,
  KeptVerification,
  KeptVerifications,
  SignatureRegistry,
  SignatureSource,
  SimpleSignature,
  Verdict,
} from "./verifier.ts";
export { signatureValidationFailed } from "./verifier.ts";
