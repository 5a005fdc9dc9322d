import { isDeepStrictEqual } from "node:util";
import type { Config } from "../../config/config.ts";
import { chainsOf, type ContainerStore } from "../../core/container/index.ts";
import { ImageStore, noPullObserver, type PullObserver } from "../../core/image/index.ts";
import type { WriteBehindRecords } from "../../drivers/records/index.ts";
import { Archives, configuredRegistry } from "../../drivers/registry/index.ts";
import { Collected, type ImageContext, PullProgress, Pulls } from "../../engine/image/index.ts";
import type { LiveConfig } from "../process/live-config.ts";
import { decryptionOf } from "./decryption.ts";
import type { ImageGc } from "./image-gc.ts";
import { verificationOf } from "./verification.ts";

interface Parts extends Pick<ImageContext, "layers" | "packer" | "checker"> {
  readonly live: LiveConfig;
  readonly records: Pick<WriteBehindRecords, "images" | "setAside" | "synced">;
  readonly containers: ContainerStore;
  readonly gc: ImageGc;
  /** Ids and digests of images that snapshots need. */
  readonly neededBySnapshots: () => ReadonlySet<string>;
  /** Undefined without metrics. */
  readonly pullObserver: () => PullObserver | undefined;
}

type Shared = Pick<ImageContext, "operations" | "janitor" | "tasks" | "clock" | "log" | "onEvent">;

/** Builds the context of images. Its settings are those of the configuration in use at each time. */
export async function imagesOf(parts: Parts, shared: Shared): Promise<ImageContext> {
  const { live, records, containers, gc, layers, packer, checker } = parts;
  const { log, tasks } = shared;
  const configured = await configuredOf(live, records, shared);
  return {
    ...{ ...shared, layers, packer, checker },
    store: configured.store,
    get source() {
      return configured.current.registry.source;
    },
    get verification() {
      return configured.current.verification;
    },
    get decryption() {
      return configured.current.decryption;
    },
    archives: openArchives(live.value.root, { log, tasks }),
    pulls: new Pulls(tasks),
    progress: new PullProgress((diffId) => layers.has(diffId)),
    get observer() {
      return parts.pullObserver() ?? noPullObserver;
    },
    get limits() {
      return limitsOf(live.value.images);
    },
    get maxDownloads() {
      return live.value.images.maxConcurrentDownloads;
    },
    get trustPresentLayers() {
      return live.value.images.trustPresentLayers;
    },
    chainsInUse: () => [...containers.all()].flatMap(chainsOf),
    neededBySnapshots: parts.neededBySnapshots,
    isUseUnknown: () =>
      records.setAside().some(({ kind }) => kind === "image" || kind === "container"),
    recordsSynced: () => records.synced(),
    get keepLayersMs() {
      return live.value.images.gcUnusedLayersSeconds * 1000;
    },
    onUsed: (image) => {
      gc.used(image);
    },
    collected: new Collected(),
  };
}

/** What the settings of registries, policies and keys make. A pull that runs during a reload may use both. */
interface Configured {
  readonly registry: ReturnType<typeof configuredRegistry>;
  readonly verification: ImageContext["verification"];
  readonly decryption: ImageContext["decryption"];
}

async function configuredOf(
  live: LiveConfig,
  records: Parts["records"],
  { log, clock }: Shared,
): Promise<{ readonly current: Configured; readonly store: ImageStore }> {
  const registryOf = ({ images }: Config): Configured["registry"] =>
    configuredRegistry(images, { env: process.env, log, clock });
  const madeOf = async (config: Config, registry: Configured["registry"]): Promise<Configured> => ({
    registry,
    // Its files are read again, too: a key or a policy may have changed at the same path.
    verification: await verificationOf(config, { registry: registry.source, log }),
    decryption: decryptionOf(config, log),
  });
  const registry = registryOf(live.value);
  const store = new ImageStore(records.images, live.value.images.pinned, registry);
  const configured = { current: await madeOf(live.value, registry), store };
  live.add({
    prepare: async ({ current, next }) => {
      const isSame = isDeepStrictEqual(registryKeys(current), registryKeys(next));
      const nextRegistry = isSame ? configured.current.registry : registryOf(next);
      const pin = store.prepare(next.images.pinned, nextRegistry);
      const made = await madeOf(next, nextRegistry);
      return () => {
        configured.current = made;
        pin();
      };
    },
  });
  return configured;
}

function registryKeys({ images }: Config): readonly unknown[] {
  return [
    images.registryConfigPath,
    images.registriesConf,
    images.dockerConfig,
    images.credentialProvidersConfig,
    images.credentialProvidersBinDir,
    images.concurrentRanges,
  ];
}

function limitsOf(images: Config["images"]): ImageContext["limits"] {
  return {
    layers: images.maxLayers,
    unpackedBytes: images.maxUnpackedBytes,
    unpackedRatio: images.maxUnpackedRatio,
    layerEntries: images.maxLayerEntries,
  };
}

function openArchives(root: string, { log, tasks }: Pick<Shared, "log" | "tasks">): Archives {
  const archives = new Archives({ root, log });
  tasks.spawn("remove archives of the last run", () => archives.sweep());
  return archives;
}
