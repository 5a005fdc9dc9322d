import type { ImagesConfig } from "./config.ts";
import { optionalPath, type Section } from "./setting.ts";

/** The settings of [images] for the credentials of registries. */
export const registrySettings: Section<
  Pick<ImagesConfig, "dockerConfig" | "credentialProvidersConfig" | "credentialProvidersBinDir">
> = {
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
