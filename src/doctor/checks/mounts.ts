import type { MountEntry } from "../../linux/mount/index.ts";
import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("mounts", {
  fine: ["ok", ""],
  "root-not-shared": [
    "note",
    "volumes with mountPropagation Bidirectional or HostToContainer need shared mounts",
  ],
  "namespaces-shared": [
    "warning",
    "namespaces that davit pins there propagate to other mount namespaces and stay in use",
  ],
  "proc-hidden": ["warning", "davit reads /proc of all processes, including those of containers"],
  "sys-read-only": ["warning", "privileged pods and plugins that set sysctls fail"],
});

/** The propagation of mounts, and whether /sys and /proc/sys are writable. */
export const mountsCheck: Check = {
  group: kinds.group,
  title: "Mounts",
  catalogue: kinds,
  examine: async ({ host, config }: DoctorContext) => {
    const mounts = await host.mounts();
    const found = [...propagation(mounts, config.state), ...kernelTrees(mounts, host.isRoot)];
    return found.length > 0 ? found : [kinds.report("fine", "/ is shared")];
  },
};

/** The topmost mount on exactly this path. */
function mountOf(mounts: readonly MountEntry[], path: string): MountEntry | undefined {
  return mounts.findLast(({ mountPoint }) => mountPoint === path);
}

function isShared(mount: MountEntry | undefined): boolean {
  return mount?.propagation.some((word) => word.startsWith("shared:")) === true;
}

function propagation(mounts: readonly MountEntry[], state: string): readonly Finding[] {
  const found: Finding[] = [];
  const root = mountOf(mounts, "/");
  if (root !== undefined && !isShared(root)) {
    const fix = "mount --make-rshared / (systemd does this at boot, other init systems do not)";
    found.push(kinds.report("root-not-shared", "/ is private", fix));
  }
  const pins = mountOf(mounts, `${state}/ns`);
  if (isShared(pins)) {
    const fix = `mount --make-private ${state}/ns, and find out what made it shared`;
    found.push(kinds.report("namespaces-shared", `${state}/ns is shared`, fix));
  }
  return found;
}

function kernelTrees(mounts: readonly MountEntry[], isRoot: boolean): readonly Finding[] {
  const found: Finding[] = [];
  const hidepid = mountOf(mounts, "/proc")?.superOptions.find((word) =>
    /^hidepid=(?!0|off)/.test(word),
  );
  // Root sees all processes, except with hidepid=ptraceable and without CAP_SYS_PTRACE.
  if (hidepid !== undefined && (!isRoot || /=(4|ptraceable)$/.test(hidepid))) {
    const fix = "mount -o remount,hidepid=0 /proc";
    found.push(kinds.report("proc-hidden", `/proc is mounted with ${hidepid}`, fix));
  }
  const trees = ["/sys", "/proc/sys"].filter((path) =>
    mountOf(mounts, path)?.options.includes("ro"),
  );
  if (trees.length > 0) {
    const text = `mounted read-only: ${trees.join(", ")}`;
    const fix = `mount -o remount,rw ${trees[0] ?? ""}; in a container, make the container privileged`;
    found.push(kinds.report("sys-read-only", text, fix));
  }
  return found;
}
