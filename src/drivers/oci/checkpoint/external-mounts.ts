import type { OciSpec } from "../../../core/oci/index.ts";
import { pathInRoot } from "../../../linux/file/index.ts";
import { isCrun } from "../runtime-command.ts";
import type { CriuOption } from "./criu-config.ts";

/**
 * CRIU's options for bind mounts whose destination leads through a symbolic link of the image, such as /var/run.
 * NOTE(crun): until 1.23 it gives CRIU the destination of the spec, which is then no mount point. In the images a mount
 * has that name, and at the restore its source is found by it, or by the other name in images of a newer crun.
 */
export async function linkedMounts(
  runtimePath: string,
  spec: OciSpec,
  use: "capture" | "restore",
): Promise<readonly CriuOption[]> {
  if (!isCrun(runtimePath)) return [];
  const binds = spec.mounts.filter(({ options }) =>
    options.some((option) => option === "bind" || option === "rbind"),
  );
  const found = await Promise.all(
    binds.map(async ({ destination, source }) => {
      const at = await pathInRoot(spec.root.path, destination);
      if (at === destination) return [];
      if (use === "capture") return [external(at, destination)];
      return [external(destination, source), external(at, source)];
    }),
  );
  return found.flat();
}

/** As runtime-spec, config-linux.md, "Default Devices", but /dev/ptmx, which is not a device of the node. */
const defaultDevices = ["null", "zero", "full", "random", "urandom", "tty"];

/**
 * CRIU's options for the capture of a container in a user namespace, which cannot make devices: they are bind mounts of
 * those of the node.
 */
export function deviceMounts({ linux }: OciSpec): readonly CriuOption[] {
  if (!linux.namespaces.some(({ type }) => type === "user")) return [];
  const given = (linux.devices ?? []).map(({ path }) => path);
  const paths = new Set([...defaultDevices.map((name) => `/dev/${name}`), ...given]);
  return [...paths].map((path) => external(path, path));
}

function external(key: string, value: string): CriuOption {
  return ["external", `mnt[${key}]:${value}`];
}
