/** The node of the tests of resets and power cuts: records and addresses on the disk, the rest on a tmpfs, as on any node. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "smol-toml";
import { CriClient } from "../../../src/client/cri-client.ts";
import { bridgeConflist, writeConflist } from "../../support/cni.ts";

const repo = path.resolve(import.meta.dirname, "../../..");
const disk = "/disk";

export const ipamDir = path.join(disk, "ipam");
/** The last file before the reset: what the next boot must find. */
export const expectationFile = path.join(disk, "before-reset.json");

/** The facts that the first boot leaves. */
export interface Expectation {
  readonly bootId: string;
  readonly image: string;
  readonly pods: readonly string[];
  /** Containers by their state at the reset. */
  readonly running: readonly string[];
  readonly exited: string;
  readonly created: string;
}

/** The number of layers that a reset would take away. */
export function unsyncedLayers(): number {
  const names = readdirSync(path.join(disk, "root/layers"), { recursive: true, encoding: "utf8" });
  return names.filter((name) => /^[^/]+\/unsynced$/.test(name)).length;
}

export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** A daemon that outlives the test process, or is ended by `stop`. */
export interface RunningNode {
  readonly client: CriClient;
  /** Resolves when the daemon has ended. */
  readonly stop: () => Promise<void>;
}

/** Starts the daemon on the disk's files and waits until it has recovered. */
export async function startNode(registryConfigPath: string): Promise<RunningNode> {
  const state = "/run/davit";
  const listen = path.join(state, "davit.sock");
  const confDir = path.join(disk, "net.d");
  const config = path.join(disk, "davit.toml");
  const log = path.join(disk, `daemon-${bootId()}.log`);
  mkdirSync(ipamDir, { recursive: true });
  writeConflist(confDir, "10-test.conflist", bridgeConflist({ ipamDir }));
  const values = {
    root: path.join(disk, "root"),
    state,
    server: { listen },
    images: { registry_config_path: registryConfigPath },
    cni: { conf_dir: confDir, bin_dirs: ["/usr/lib/cni"] },
  };
  writeFileSync(config, stringify(values));
  const stderr = openSync(log, "a");
  // An earlier daemon of this boot has been ready, too.
  const { size } = fstatSync(stderr);
  const lines = (): string => readFileSync(log).toString("utf8", size);
  const daemon = spawn(path.join(repo, "bin/davit"), ["serve", "--config", config], {
    stdio: ["ignore", "ignore", stderr],
    detached: true,
  });
  closeSync(stderr);
  daemon.unref();
  const deadline = Date.now() + 120_000;
  while (!lines().includes('"message":"ready"')) {
    if (Date.now() > deadline || daemon.exitCode !== null) {
      throw new Error(`start davit: it does not get ready\n${lines()}`);
    }
    await sleep(50);
  }
  const stop = async (): Promise<void> => {
    daemon.ref();
    const end = once(daemon, "exit");
    daemon.kill("SIGTERM");
    await end;
  };
  return { client: new CriClient(`unix://${listen}`), stop };
}
