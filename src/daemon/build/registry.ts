import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import type { ImagesConfig } from "../../config/config.ts";
import { type ImageReference, parseReference } from "../../core/image/index.ts";
import { RegistriesConf, Registry } from "../../drivers/registry/index.ts";

/** The registries of the configuration, and what names of images mean. */
export interface BuiltRegistry {
  readonly source: Registry;
  readonly referenceOf: (text: string) => ImageReference;
}

/** Builds the client of registries. It reads the files of the settings when it needs them. */
export function buildRegistry(
  images: ImagesConfig,
  { log, clock }: { readonly log: Logger; readonly clock: Clock },
): BuiltRegistry {
  const { registriesConf: path, registryConfigPath: configDir } = images;
  const registriesConf = path === "" ? undefined : new RegistriesConf({ path, configDir });
  const source = new Registry({
    configDir,
    registriesConf,
    log,
    clock,
    proxyEnv: process.env,
    nodeCredentials: {
      dockerConfig: images.dockerConfig,
      providersConfig: images.credentialProvidersConfig,
      providersBinDir: images.credentialProvidersBinDir,
      env: process.env,
    },
  });
  return {
    source,
    referenceOf: (text) => registriesConf?.referenceOf(text) ?? parseReference(text),
  };
}
