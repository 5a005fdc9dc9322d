/** The network of the measured pods: one conflist for both servers, each with a bridge of its own. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";

/** The directory of Debian's containernetworking-plugins. */
export const pluginDir = "/usr/lib/cni";

/** The network of a server's pods. */
interface BenchNetwork {
  /** Directory of the configuration; made here. */
  readonly confDir: string;
  readonly bridge: string;
  readonly subnet: string;
  /** The directory in which host-local records assigned addresses. */
  readonly ipamDir: string;
}

/** Writes the conflist: a bridge without masquerading, and host ports. */
export async function writeNetwork(network: BenchNetwork): Promise<void> {
  const bridge = {
    type: "bridge",
    bridge: network.bridge,
    isGateway: true,
    hairpinMode: true,
    ipMasq: false,
    ipam: {
      type: "host-local",
      dataDir: network.ipamDir,
      ranges: [[{ subnet: network.subnet }]],
      routes: [{ dst: "0.0.0.0/0" }],
    },
  };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  const conflist = { cniVersion: "1.0.0", name: network.bridge, plugins: [bridge, portmap] };
  await mkdir(network.confDir, { recursive: true });
  await writeFile(path.join(network.confDir, "10-bench.conflist"), JSON.stringify(conflist));
}
