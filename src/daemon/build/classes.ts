import { join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Config } from "../../config/config.ts";
import type { ResourceClasses } from "../../core/container/index.ts";
import type { NodeClasses } from "../../drivers/classes/index.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import { listMounts } from "../../linux/mount/index.ts";

/**
 * The classes of block I/O and RDT. Their code is loaded at the start where a file of RDT classes is set, so that
 * resctrl is ready for the first container, and else when a request names a class.
 */
export function classesOf(
  { state, runtime }: Config,
  deps: { readonly layout: CgroupLayout; readonly log: Logger; readonly tasks: TaskGroup },
): ResourceClasses {
  let opened: Promise<NodeClasses> | undefined;
  const open = (): Promise<NodeClasses> => (opened ??= openClasses());
  const openClasses = async (): Promise<NodeClasses> => {
    const { NodeClasses: Classes } = await import("../../drivers/classes/index.ts");
    return new Classes({
      settings: runtime,
      layout: deps.layout,
      log: deps.log,
      resctrl: async () => {
        const mount = (await listMounts()).find(({ fsType }) => fsType === "resctrl");
        return mount && { root: mount.mountPoint, options: mount.superOptions };
      },
      groups: join(state, "rdt-groups"),
    });
  };
  if (runtime.rdtConfigFile !== "") {
    deps.tasks.spawn("make resctrl groups", async () => (await open()).prepare());
  }
  return {
    blockIoOf: async (name) => (await open()).blockIoOf(name),
    rdtOf: async (name, origin) => (await open()).rdtOf(name, origin),
  };
}
