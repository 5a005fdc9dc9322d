import type { ImagesConfig } from "./config.ts";
import { optionalPath, type Section } from "./setting.ts";

/** The settings of [images] for registries and their credentials. */
export const registrySettings: Section<
  Pick<
    ImagesConfig,
    "registriesConf" | "dockerConfig" | "credentialProvidersConfig" | "credentialProvidersBinDir"
  >
> = {
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
};
