import type { ImagesConfig } from "./config.ts";
import {
  absolutePath,
  choice,
  flag,
  integer,
  optionalPath,
  type Section,
  texts,
} from "./setting.ts";

const MIB = 1024 * 1024;

/** The settings of [images], without its tables. */
export const images: Section<Omit<ImagesConfig, "verification">> = {
  registryConfigPath: absolutePath({
    default: "/etc/davit/certs.d",
    doc: "Directory with a subdirectory for each registry, which contains a hosts.toml: mirrors, certificates.",
  }),
  registriesConf: optionalPath({
    default: "/etc/containers/registries.conf",
    doc: "A containers-registries.conf(5): mirrors, blocked registries, aliases. Only used where it exists and registry_config_path has nothing. Empty for none. See docs/operations.md.",
  }),
  dockerConfig: optionalPath({
    default: "",
    doc: "A Docker config.json with credentials for pulls that have none: auths, credHelpers and credsStore. Empty for none. Restrict who can read it. See docs/operations.md.",
  }),
  credentialProvidersConfig: optionalPath({
    default: "",
    doc: "A CredentialProviderConfig of kubelet: programs with credentials for pulls that have none. Empty for none.",
  }),
  credentialProvidersBinDir: optionalPath({
    default: "",
    doc: "The directory with the programs of credential_providers_config.",
  }),
  decryptionKeysPath: optionalPath({
    default: "",
    doc: "Directory with private keys (PEM, DER or JWK) for images with encrypted layers, read at each pull of one. Only root may be able to read them. Empty for none: such images are rejected. See docs/operations.md.",
  }),
  pinned: texts({
    default: [],
    doc: "Names of images that kubelet must never garbage-collect, for example busybox:1.37.",
  }),
  preloadDir: optionalPath({
    default: "",
    doc: "Directory with archives of images (*.tar, *.tar.gz, *.tgz, *.tar.zst), which davit loads after its start, for nodes without a registry. Empty for none.",
  }),
  volumes: choice({
    of: ["copy", "ignore"],
    default: "copy",
    doc: '"copy" mounts a directory at each VOLUME of an image, with the content that the image has there; "ignore" does not.',
  }),
  maxConcurrentDownloads: integer({
    default: 3,
    min: 1,
    max: 32,
    doc: "Maximum number of layers of one image that are fetched at once.",
  }),
  concurrentRanges: integer({
    default: 4,
    min: 1,
    max: 16,
    doc: "Number of parts of a layer that are requested at once, where more than 64 MiB of it are left and one connection brings less than 100 MB/s. Each needs 4 MiB of memory. 1 turns that off.",
  }),
  maxConcurrentUnpacks: integer({
    default: 2,
    min: 1,
    max: 16,
    doc: 'Maximum number of layers, of all images, that are unpacked at once. Each needs a processor and about 100 MB of memory, with layer_format = "erofs" more for a layer of many files (190 MB for 400,000). One more is unpacked if its blob has at most 4 MiB, so that small images do not wait for large ones.',
  }),
  layerFormat: choice({
    of: ["directory", "erofs"],
    default: "directory",
    doc: 'How new layers are stored: "directory" as files, "erofs" as an image that the kernel mounts (Linux 6.12). Where it cannot, the log has the reason and layers are directories.',
  }),
  layerVerity: choice({
    of: ["auto", "require", "off"],
    default: "auto",
    doc: 'Whether the kernel checks the files of EROFS layers when they are read (fs-verity: ext4 with the feature "verity", btrfs). "auto" where it can, "require" refuses EROFS layers without it and new layers that are directories; directories that are there already stay in use, "off" neither enables nor compares it.',
  }),
  maxLayers: integer({
    default: 500,
    min: 1,
    max: 500,
    doc: "Maximum number of layers of an image, checked before any layer is fetched. overlayfs supports at most 500.",
  }),
  maxUnpackedBytes: integer({
    default: 1024 * 1024 * MIB,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    limits: "of bytes, or 0 for no limit",
    doc: "Maximum size of all unpacked layers of an image, in bytes. 0 means no limit.",
  }),
  maxUnpackedRatio: integer({
    default: 200,
    min: 0,
    max: 1_000_000,
    doc: "Maximum ratio of unpacked to compressed size, for layers that unpack to more than 16 GiB. 0 means no limit.",
  }),
  maxLayerEntries: integer({
    default: 4_000_000,
    min: 0,
    max: 1_000_000_000,
    doc: "Maximum number of files, directories and links in a layer. 0 means no limit.",
  }),
  trustPresentLayers: flag({
    default: false,
    doc: "true lets a pull use layers on this node without asking the registry for permission. Only for single-tenant nodes.",
  }),
  gcUnusedLayersSeconds: integer({
    default: 600,
    min: 0,
    max: 7 * 24 * 60 * 60,
    doc: "How long the complete layers of an unfinished pull are kept for the next pull, in seconds. On a full disk they are removed at once.",
  }),
  gcUnusedImagesSeconds: integer({
    default: 0,
    min: 0,
    max: 10 * 365 * 24 * 60 * 60,
    doc: "Remove images that no container, pull or client has used for this many seconds (values below 120 count as 120). 0 means never. kubelet collects images itself; a pod whose image cannot be pulled again needs it in pinned.",
  }),
  gcHighPercent: integer({
    default: 0,
    min: 0,
    max: 99,
    doc: "When this percentage of the bytes or inodes of the layers' file system is in use, davit removes the layers of unfinished pulls, then unused images, the longest unused first. 0 means never. Set it above kubelet's imageGCHighThresholdPercent, so that kubelet collects first.",
  }),
  gcLowPercent: integer({
    default: 80,
    min: 1,
    max: 98,
    doc: "The percentage at which davit stops removing images. Must be less than gc_high_percent, if that is set.",
  }),
};
