import type { Logger } from "../../base/logger.ts";
import type { Config } from "../../config/config.ts";
import type { LayerDecryption } from "../../core/image/index.ts";

/** The keys for encrypted layers, where a directory is configured. Their code is loaded with the first such layer. */
export function decryptionOf({ images }: Config, log: Logger): LayerDecryption | undefined {
  const directory = images.decryptionKeysPath;
  if (directory === "") return undefined;
  let keys: Promise<LayerDecryption> | undefined;
  const load = async (): Promise<LayerDecryption> => {
    const { NodeKeys } = await import("../../drivers/decryption/index.ts");
    return new NodeKeys({ directory, log });
  };
  return {
    ciphersOf: async (layers, signal) => {
      keys ??= load();
      return await (await keys).ciphersOf(layers, signal);
    },
  };
}
