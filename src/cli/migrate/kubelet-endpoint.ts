import { parse } from "yaml";
import { isTable } from "../../config/setting.ts";
import type { NodeFiles } from "../import-config/node-files.ts";

/** Where kubelet gets the socket of its runtime from. */
export interface KubeletEndpoint {
  /** As written, usually with unix://. */
  readonly endpoint: string;
  readonly file: string;
  /** The text in the file that has it, for sed. */
  readonly isFlag: boolean;
}

/** A flag overrides the configuration; a later file overrides an earlier one. */
const flagFiles = [
  "/etc/sysconfig/kubelet",
  "/etc/default/kubelet",
  "/var/lib/kubelet/kubeadm-flags.env",
];
/** kubeadm 1.34 and later keep what is of one node in the second file. */
const configFiles = ["/var/lib/kubelet/instance-config.yaml", "/var/lib/kubelet/config.yaml"];

/** The socket that kubelet is configured with on this node; undefined if no file names one. */
export function readKubeletEndpoint(files: NodeFiles): KubeletEndpoint | undefined {
  for (const file of flagFiles) {
    if (!files.exists(file)) continue;
    const match = /--container-runtime-endpoint[= ]["']?([^\s"']+)/.exec(files.read(file));
    if (match?.[1] !== undefined) return { endpoint: match[1], file, isFlag: true };
  }
  for (const file of configFiles) {
    if (!files.exists(file)) continue;
    const endpoint = endpointOf(files.read(file));
    if (endpoint !== undefined) return { endpoint, file, isFlag: false };
  }
  return undefined;
}

function endpointOf(text: string): string | undefined {
  let config: unknown;
  try {
    config = parse(text, { maxAliasCount: 100 });
  } catch {
    // kubelet would not start with it either.
    return undefined;
  }
  const endpoint = isTable(config) ? config["containerRuntimeEndpoint"] : undefined;
  return typeof endpoint === "string" && endpoint !== "" ? endpoint : undefined;
}
