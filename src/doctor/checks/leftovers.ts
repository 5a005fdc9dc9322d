import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host } from "../host.ts";

const kinds = catalogue("leftovers", {
  fine: ["ok", ""],
  "stale-namespaces": [
    "note",
    "their pods no longer exist; davit serve removes the files at its start",
  ],
  "pods-without-daemon": [
    "note",
    "the pods keep running, but cannot be stopped, restarted or listed",
  ],
  "previous-boot": [
    "note",
    "its files describe pods that no longer exist; davit serve removes them at its start",
  ],
  "doctor-scratch": ["note", "a davit doctor that was killed left its scratch directory"],
});

/** Files and namespaces that an earlier daemon, boot or davit doctor left behind. */
export const leftoversCheck: Check = {
  group: kinds.group,
  title: "Leftovers",
  catalogue: kinds,
  examine: async (context: DoctorContext) => {
    const { host, config } = context;
    // The directories in which probes create their scratch directories; that of overlays is below root.
    const { root } = config;
    const parent = root.slice(0, root.lastIndexOf("/"));
    const directories = new Set([host.env["TMPDIR"] ?? "/tmp", root, parent]);
    const scratches = await Promise.all([...directories].map((each) => findScratch(host, each)));
    const found = [...scratches.flat(), ...(await examineState(context))];
    return found.length > 0 ? found : [kinds.report("fine", `no leftovers in ${config.state}`)];
  },
};

async function examineState({ host, config }: DoctorContext): Promise<readonly Finding[]> {
  // A running daemon has removed the leftovers and uses everything else.
  if ((await host.probeConnect(config.server.listen)) === "open") return [];
  const fix = "davit serve, or systemctl start davit";
  const mounted = new Set((await host.mounts()).map(({ mountPoint }) => mountPoint));
  const pins: string[] = [];
  for (const kind of ["net", "ipc", "uts", "user"]) {
    const directory = `${config.state}/ns/${kind}`;
    pins.push(...((await host.list(directory)) ?? []).map((id) => `${directory}/${id}`));
  }
  const ids = (paths: readonly string[]): number =>
    new Set(paths.map((path) => path.slice(path.lastIndexOf("/") + 1))).size;
  const stale = pins.filter((path) => !mounted.has(path));
  const alive = pins.filter((path) => mounted.has(path));
  const found: Finding[] = [];
  if (stale.length > 0) {
    const text = `${stale.length} files in ${config.state}/ns are not namespaces`;
    found.push(kinds.report("stale-namespaces", text, fix));
  }
  if (alive.length > 0) {
    const text = `${ids(alive)} pods have namespaces in ${config.state}, but no daemon is running`;
    found.push(kinds.report("pods-without-daemon", text, fix));
  }
  const bootedMs = bootTime(await host.read("/proc/stat"));
  const lock = await host.fileInfo(`${config.state}/davit.lock`);
  if (lock !== undefined && bootedMs !== undefined && lock.modifiedMs < bootedMs) {
    found.push(
      kinds.report("previous-boot", `${config.state} was last used before this boot`, fix),
    );
  }
  return found;
}

/** The time of the boot in milliseconds; proc_stat(5) has whole seconds. */
function bootTime(stat: string | undefined): number | undefined {
  const seconds = /^btime (\d+)$/m.exec(stat ?? "")?.[1];
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}

async function findScratch(host: Host, directory: string): Promise<readonly Finding[]> {
  const left = ((await host.list(directory)) ?? []).filter((name) => {
    const pid = /^davit-doctor-(\d+)-/.exec(name)?.[1];
    return pid !== undefined && !host.isProcessAlive(Number(pid));
  });
  return left.map((name) => {
    const path = `${directory}/${name}`;
    const apply = async (): Promise<string> => {
      const mounts = (await host.mounts()).map(({ mountPoint }) => mountPoint);
      const inside = mounts.filter((mount) => `${mount}/`.startsWith(`${path}/`));
      for (const mount of inside.toReversed()) await host.runCommand("umount", ["-l", mount]);
      await host.remove(path);
      return `removed ${path}`;
    };
    return kinds.report("doctor-scratch", path, {
      text: `umount -R ${path}; rm -r ${path}`,
      apply,
    });
  });
}
