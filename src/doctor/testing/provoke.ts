// How tests cause problems on a machine without problems.
import { parseConfig } from "../../config/load.ts";
import type { DoctorContext } from "../check.ts";
import {
  criStatus,
  type FixtureHost,
  healthyReading,
  healthyNetworkProbe,
  mountEntry,
} from "./fixture-host.ts";

/** Parts of the context that a provocation replaces. */
type Changes = Partial<Omit<DoctorContext, "host" | "skip">>;

/** Causes a problem on a machine without problems. */
export type Provocation = (host: FixtureHost) => Changes | undefined;

export const root = "/var/lib/davit";
export const socket = "/run/davit/davit.sock";
export const directory = { kind: "directory", mode: 0o711, modifiedMs: 0, inode: 2n } as const;
export const aSocket = { kind: "socket", mode: 0o660, modifiedMs: 0, inode: 2n } as const;
export const gib = 1024 ** 3;
export const capabilities = "000001ffffffffff";
export const kubelet = "/var/lib/kubelet/config.yaml";

/** A provocation that changes only the host. */
export function host(change: (host: FixtureHost) => unknown): Provocation {
  return (machine) => {
    change(machine);
    return undefined;
  };
}

export const nothing = host(() => undefined);

export function file(path: string, text: string): Provocation {
  return host(({ files }) => files.set(path, text));
}

export function noFile(path: string): Provocation {
  return host(({ files }) => files.delete(path));
}

export function mount(...entry: Parameters<typeof mountEntry>): Provocation {
  return host(({ mountTable }) => mountTable.push(mountEntry(...entry)));
}

export function noDaemon(machine: FixtureHost): void {
  machine.fileInfos.delete(socket);
  machine.probes.delete(socket);
}

export function processStatus(
  effective: string,
  bounding = effective,
  noNewPrivs = 0,
): Provocation {
  const text = `NoNewPrivs:\t${noNewPrivs}\nCapEff:\t${effective}\nCapBnd:\t${bounding}\n`;
  return file("/proc/self/status", text);
}

/** v1 hierarchies next to a v2 hierarchy with the controllers `inV2`. */
export function hybrid(inV2: string): Provocation {
  const names = ["cpu", "cpuset", "memory", "blkio", "pids", "devices", "freezer"];
  return host((machine) => {
    machine.mountTable = [
      mountEntry("/", "ext4"),
      ...names.map((name) =>
        mountEntry(`/sys/fs/cgroup/${name}`, "cgroup", { superOptions: ["rw", name] }),
      ),
      mountEntry("/sys/fs/cgroup/unified", "cgroup2"),
    ];
    machine.files.set("/sys/fs/cgroup/unified/cgroup.controllers", `${inV2}\n`);
  });
}

/** A file of classes that the configuration names. */
export function withClasses(kind: "blockio" | "rdt", text: string): Provocation {
  return ({ files }) => {
    files.set("/etc/davit/classes.yaml", text);
    const setting = `${kind}_config_file = "/etc/davit/classes.yaml"`;
    return { config: parseConfig(`[runtime]\n${setting}\n`, "davit.toml") };
  };
}

/** A machine whose containers conmon monitors. */
export function withConmon(change: (machine: FixtureHost) => unknown): Provocation {
  return (machine) => {
    change(machine);
    return { config: parseConfig('[runtime]\nmonitor = "conmon"\n', "davit.toml") };
  };
}

export function space(totalBytes: number, freeBytes: number, freeInodes: number): Provocation {
  return host(({ diskSpaces }) =>
    diskSpaces.set(root, { totalBytes, freeBytes, totalInodes: 1000, freeInodes }),
  );
}

export function reading(changes: Partial<FixtureHost["reading"]>): Provocation {
  return host((machine) => {
    machine.reading = { ...healthyReading, ...changes };
  });
}

export function usingPlugin(type: string, config: Readonly<Record<string, unknown>>): Provocation {
  return reading({ network: { ...healthyReading.network, plugins: [{ type, config }] } });
}

export function unusable(reason: string): Provocation {
  const [first] = healthyReading.files;
  return reading({ network: undefined, invalid: [{ file: first, reason }] });
}

export function networkProbe(changes: Partial<FixtureHost["networkProbe"]>): Provocation {
  return host((machine) => {
    machine.networkProbe = { ...healthyNetworkProbe, ...changes };
  });
}

export function step(
  command: "STATUS" | "ADD" | "DEL",
  error: string,
  timedOut = false,
): Provocation {
  return networkProbe({ steps: [{ command, plugin: "bridge", ms: 3, error, timedOut }] });
}

export function answer(...given: Parameters<typeof criStatus>): Provocation {
  return host((machine) => {
    machine.cri = criStatus(...given);
  });
}

/** A failure of a plugin of the node, a minute ago. */
export function nriFailure(failure: Readonly<Record<string, unknown>>): Provocation {
  return host((machine) => {
    const { timeMs } = machine;
    const lost = { plugin: "10-topology", reason: "no answer", atMs: timeMs - 60_000, ...failure };
    machine.cri = criStatus({ nri: { plugins: [], failures: [lost] } });
  });
}

export function registry(...hosts: FixtureHost["registry"]["hosts"]): Provocation {
  return (machine) => {
    machine.registry = { ...machine.registry, hosts };
    return { probeRegistries: true };
  };
}

export const upstream = "https://registry.example/v2";
export const mirror = "https://mirror.example/v2";
export const refused = { ms: 1, error: "refused the connection", problem: "connection" } as const;
