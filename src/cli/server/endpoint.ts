import { loadConfig } from "../../config/load.ts";
import { findConfigFile } from "../commands/config-file.ts";

/** A CRI socket and its origin, for error messages. */
export interface Endpoint {
  /** The address as given, or unix:// and a path. */
  readonly address: string;
  readonly chosenBy: "--endpoint" | "DAVIT_ENDPOINT" | "the configuration" | "default";
}

/** The default socket of davit. */
const DEFAULT_ENDPOINT = "unix:///run/davit/davit.sock";

/**
 * The socket to connect to: --endpoint, else DAVIT_ENDPOINT, else server.listen of
 * davit's configuration, else davit's default.
 */
export function chooseEndpoint(
  option: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
  configFile = findConfigFile(undefined),
): Endpoint {
  if (option !== undefined) return { address: option, chosenBy: "--endpoint" };
  const variable = env["DAVIT_ENDPOINT"] ?? "";
  if (variable !== "") return { address: variable, chosenBy: "DAVIT_ENDPOINT" };
  if (configFile !== undefined) {
    try {
      const { listen } = loadConfig(configFile).server;
      return { address: `unix://${listen}`, chosenBy: "the configuration" };
    } catch {
      // davit serve and davit config check report an invalid configuration.
    }
  }
  return { address: DEFAULT_ENDPOINT, chosenBy: "default" };
}
