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

function external(key: string, value: string): CriuOption {
  return ["external", `mnt[${key}]:${value}`];
}
