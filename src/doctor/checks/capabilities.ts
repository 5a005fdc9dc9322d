import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("capabilities", {
  fine: ["ok", ""],
  missing: [
    "error",
    "davit serve needs it to mount, create namespaces and start containers as any user",
  ],
  "no-sys-resource": [
    "warning",
    "OOM scores below davit's own and raised limits (rlimits) are clamped, so the kernel may kill " +
      "an important container first",
  ],
  bounded: [
    "note",
    "privileged containers, and those that add ALL, get no capability that davit does not have",
  ],
  "no-new-privs": [
    "note",
    "file capabilities and setuid bits of programs in containers have no effect",
  ],
});

// linux/capability.h, in order. An older kernel has fewer of them.
const names =
  `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
  NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
  SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
  AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
  PERFMON BPF CHECKPOINT_RESTORE`.split(/\s+/);

const needed =
  `CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_ADMIN NET_RAW SYS_CHROOT
  SYS_PTRACE SYS_ADMIN MKNOD SETFCAP`.split(/\s+/);

/** The capabilities of this process. The check assumes that davit serve is started in the same way. */
export const capabilitiesCheck: Check = {
  group: kinds.group,
  title: "Capabilities",
  catalogue: kinds,
  examine: async ({ host, skip }: DoctorContext) => {
    if (!host.isRoot) {
      skip("capabilities: only root can check its own");
      return [];
    }
    const status = (await host.read("/proc/self/status")) ?? "";
    const last = Number((await host.read("/proc/sys/kernel/cap_last_cap")) ?? names.length - 1);
    const known = names.slice(0, last + 1);
    const effective = setOf(status, "CapEff", known);
    const bounding = setOf(status, "CapBnd", known);
    const found: Finding[] = [];
    const lacks = needed.filter((name) => !effective.has(name));
    if (lacks.length > 0) {
      const text = `missing: ${lacks.map((name) => `CAP_${name}`).join(", ")}`;
      const fix =
        "start davit serve as root of the host; in a container, make the container privileged";
      found.push(kinds.report("missing", text, fix));
    }
    if (!effective.has("SYS_RESOURCE")) {
      const fix = "add it to CapabilityBoundingSet= of the service, or accept the limitation";
      found.push(kinds.report("no-sys-resource", "missing: CAP_SYS_RESOURCE", fix));
    }
    const outside = known.filter((name) => !bounding.has(name) && name !== "SYS_RESOURCE");
    if (outside.length > 0 && lacks.length === 0) {
      const text = `not in the bounding set: ${outside.map((name) => `CAP_${name}`).join(", ")}`;
      found.push(kinds.report("bounded", text));
    }
    if (/^NoNewPrivs:\s*1$/m.test(status)) {
      const fix = "start davit serve without no_new_privs (NoNewPrivileges= of its unit)";
      found.push(kinds.report("no-new-privs", "no_new_privs is set", fix));
    }
    return found.length > 0 ? found : [kinds.report("fine", `all ${known.length} capabilities`)];
  },
};

/** The capabilities in a mask of /proc/PID/status (proc_pid_status(5)). */
function setOf(status: string, field: string, known: readonly string[]): ReadonlySet<string> {
  const hex = new RegExp(`^${field}:\\s*([0-9a-f]+)`, "m").exec(status)?.[1] ?? "0";
  const mask = BigInt(`0x${hex}`);
  return new Set(known.filter((_, bit) => ((mask >> BigInt(bit)) & 1n) === 1n));
}
