import type { Digest } from "../../base/digest.ts";
import type { Config } from "../../config/config.ts";
import type { CriContext } from "../../cri/index.ts";
import { FileImageUses, type WriteBehindRecords } from "../../drivers/records/index.ts";
import type { ImageCollector } from "../../engine/image/collector.ts";

/** The removal of unused images. Its code is loaded when it begins, and only if it is on. */
export interface ImageGc extends AsyncDisposable {
  /** A client has pulled an image or asked for it. */
  readonly used: (image: Digest) => void;
  /** Begins, once images and containers are restored. */
  readonly begin: () => Promise<void>;
  /** For the verbose Status: what was removed; its settings and state, if it is on. */
  readonly facts: () => Readonly<Record<string, unknown>>;
}

/** As the configuration says; by default nothing is on. `contexts` and `records` are read when it begins. */
export function imageGcOf(
  { root, images }: Config,
  contexts: () => Pick<CriContext, "images" | "containers">,
  records: Pick<WriteBehindRecords, "setAside">,
): ImageGc {
  const { gcUnusedImagesSeconds, gcHighPercent: high, gcLowPercent: low } = images;
  const settings = { unusedMs: gcUnusedImagesSeconds * 1000, high, low };
  let collector: ImageCollector | undefined;
  return {
    used: (image) => collector?.used(image),
    async begin() {
      if (settings.unusedMs === 0 && high === 0) return;
      const { images: context, containers } = contexts();
      // What an object whose record cannot be read uses is unknown.
      if (records.setAside().some(({ kind }) => kind === "image" || kind === "container")) {
        context.log.warn(
          'unused images are not removed, because a record was set aside; see recordsSetAside in "davit info -o json"',
        );
        return;
      }
      const { ImageCollector: Collector } = await import("../../engine/image/collector.ts");
      collector = await Collector.open({
        images: context,
        containers: containers.store,
        records: new FileImageUses(root, context.log),
        settings,
      });
    },
    facts: () => ({
      imageGc: { ...collector?.view(), removed: contexts().images.collected.counts() },
    }),
    [Symbol.asyncDispose]: async () => collector?.[Symbol.asyncDispose](),
  };
}
