import type { Digest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { CriContext } from "../../cri/index.ts";
import { FileImageUses, type WriteBehindRecords } from "../../drivers/records/index.ts";
import type { ImageCollector } from "../../engine/image/collector.ts";
import type { LiveConfig } from "../process/live-config.ts";

/** The removal of unused images. Its code is loaded when it begins, and only if it is on. */
export interface ImageGc extends AsyncDisposable {
  /** A client has pulled an image or asked for it. */
  readonly used: (image: Digest) => void;
  /** Begins, once images and containers are restored. */
  readonly begin: () => Promise<void>;
  /** For the verbose Status: what was removed; its settings and state, if it is on. */
  readonly facts: () => Readonly<Record<string, unknown>>;
}

/**
 * As the configuration says; by default nothing is on. A reload turns it on or changes it. `contexts` and `records`
 * are read when it begins.
 */
export function imageGcOf(
  live: LiveConfig,
  contexts: () => Pick<CriContext, "images" | "containers">,
  records: Pick<WriteBehindRecords, "setAside">,
): ImageGc {
  const settings = {
    get unusedMs() {
      return live.value.images.gcUnusedImagesSeconds * 1000;
    },
    get high() {
      return live.value.images.gcHighPercent;
    },
    get low() {
      return live.value.images.gcLowPercent;
    },
  };
  let collector: ImageCollector | undefined;
  let begun = Promise.resolve();
  const begin = async (): Promise<void> => {
    if (collector !== undefined || (settings.unusedMs === 0 && settings.high === 0)) return;
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
      records: new FileImageUses(live.value.root, context.log),
      settings,
    });
  };
  // A begin that failed does not keep a later reload from beginning.
  const beginNext = (): Promise<void> => (begun = begun.catch(() => undefined).then(begin));
  live.add({
    // One that was turned off continues with passes that remove nothing.
    prepare: () => () => {
      beginNext().catch((error: unknown) => {
        contexts().images.log.error(`failed to begin to remove unused images: ${messageOf(error)}`);
      });
    },
  });
  return {
    used: (image) => collector?.used(image),
    begin: beginNext,
    facts: () => ({
      imageGc: { ...collector?.view(), removed: contexts().images.collected.counts() },
    }),
    [Symbol.asyncDispose]: async () => {
      await begun.catch(() => undefined);
      await collector?.[Symbol.asyncDispose]();
    },
  };
}
