import type { Mount } from "../gen/runtime/v1/api_pb.ts";
import { quoted, refuse } from "./refuse.ts";

/**
 * What `mount_options` may ask for: the options of KEP-5855, which only take rights away, and noatime. The kernel
 * has all of them for a single mount (mount_setattr(2)), so the source's other mounts keep theirs.
 */
const allowed: ReadonlySet<string> = new Set(["noexec", "nodev", "nosuid", "noatime"]);

/** Refuses with `invalid-argument` an option that a request may not have. */
export function checkMountOptions(mount: Pick<Mount, "containerPath" | "mountOptions">): void {
  const other = mount.mountOptions.find((option) => !allowed.has(option));
  if (other === undefined) return;
  const names = [...allowed].join(", ");
  refuse(
    `mounts: mount_options of ${quoted(mount.containerPath)} has ${quoted(other)}, but only these can be set: ${names}`,
  );
}

/**
 * The OCI runtime's names of a mount's own options. They reach as far as `readonly` does: the mount itself, and with
 * `recursive_read_only` everything below it as well (runtime-spec, config.md: options that begin with "r").
 */
export function requestedOptions(
  mount: Pick<Mount, "mountOptions" | "recursiveReadOnly">,
): readonly string[] {
  return [...new Set(mount.mountOptions)].map((option) =>
    // crun 1.21 gives rnoatime to mount_setattr(2) as a flag of mount(2), which the kernel rejects.
    mount.recursiveReadOnly && option !== "noatime" ? `r${option}` : option,
  );
}
