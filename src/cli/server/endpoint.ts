import { loadConfig } from "../../config/load.ts";
import { findConfigFile } from "../commands/config-file.ts";

/** A CRI socket, and what chose it: for the sentence about a socket that is not there. */
export interface Endpoint {
  /** As it was written, or unix:// and a path. */
  readonly address: string;
  readonly chosenBy: "--endpoint" | "DAVIT_ENDPOINT" | "the configuration" | "default";
}

/** Where davit serves when nobody says anything else. */
export const DEFAULT_ENDPOINT = "unix:///run/davit/davit.sock";

/**
 * The socket to speak to: the one that the command line names, else DAVIT_ENDPOINT, else the one
 * that davit's own configuration serves, else davit's default one.
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
      // A configuration that is wrong is the business of davit serve and davit config check.
    }
  }
  return { address: DEFAULT_ENDPOINT, chosenBy: "default" };
}
