import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import { type ImageNames, parseReference } from "../../core/image/index.ts";
import type { ProxyEnv } from "../../wire/local-address.ts";
import type { RegistryTiming } from "./host-client.ts";
import { RegistriesConf } from "./registries-conf/registries-conf.ts";
import { Registry } from "./registry.ts";

/** The settings of [images] for registries. Empty texts stand for nothing. */
interface RegistrySettings {
  readonly registryConfigPath: string;
  readonly registriesConf: string;
  readonly dockerConfig: string;
  readonly credentialProvidersConfig: string;
  readonly credentialProvidersBinDir: string;
  /** The most requests for one large blob at once. */
  readonly concurrentRanges: number;
}

/** The registries of a configuration, and what names of images mean by it. */
export interface ConfiguredRegistry extends ImageNames {
  readonly source: Registry;
}

/**
 * Makes the client of registries for a configuration. It reads the files of the settings when it needs
 * them. `env` has the proxies, and what programs for credentials get.
 */
export function configuredRegistry(
  settings: RegistrySettings,
  options: {
    readonly env: ProxyEnv;
    readonly log: Logger;
    readonly clock?: Clock;
    readonly timing?: Partial<RegistryTiming>;
  },
): ConfiguredRegistry {
  const { registriesConf: path, registryConfigPath: configDir } = settings;
  const { env, ...others } = options;
  const registriesConf = path === "" ? undefined : new RegistriesConf({ path, configDir });
  const source = new Registry({
    ...others,
    configDir,
    registriesConf,
    proxyEnv: env,
    ranges: { requests: settings.concurrentRanges },
    nodeCredentials: {
      dockerConfig: settings.dockerConfig,
      providersConfig: settings.credentialProvidersConfig,
      providersBinDir: settings.credentialProvidersBinDir,
      env,
    },
  });
  return {
    source,
    referenceOf: (text) => registriesConf?.referenceOf(text) ?? parseReference(text),
    candidatesOf: (text) => registriesConf?.candidatesOf(text) ?? [parseReference(text)],
  };
}
