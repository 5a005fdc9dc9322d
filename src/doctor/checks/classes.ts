import { messageOf } from "../../base/errors.ts";
import type { MountEntry } from "../../linux/mount/index.ts";
import { type Check, type DoctorContext, wordsOf } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("classes", {
  fine: ["ok", ""],
  "file-unusable": ["error", "containers that name one of its classes do not start"],
  "blockio-missing": ["error", "containers with a class of block I/O do not start"],
  "rdt-missing": ["error", "containers with an RDT class do not start"],
  "rdt-unsuited": ["error", "containers with an RDT class do not start"],
});

/** The files of classes of block I/O and RDT, and what the kernel has for them. */
export const classesCheck: Check = {
  group: kinds.group,
  title: "Classes of block I/O and RDT",
  catalogue: kinds,
  examine: async (context) => {
    const { blockioConfigFile, rdtConfigFile } = context.config.runtime;
    if (blockioConfigFile === "" && rdtConfigFile === "") {
      return [kinds.report("fine", "no files of classes are set")];
    }
    const mounts = await context.host.mounts();
    const found = [
      ...(blockioConfigFile === "" ? [] : await examineBlockIo(context, blockioConfigFile, mounts)),
      ...(rdtConfigFile === "" ? [] : await examineRdt(context, rdtConfigFile, mounts)),
    ];
    if (found.length > 0) return found;
    const files = [blockioConfigFile, rdtConfigFile].filter((path) => path !== "");
    return [kinds.report("fine", files.join(", "))];
  },
};

async function examineBlockIo(
  { host }: DoctorContext,
  path: string,
  mounts: readonly MountEntry[],
): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  const text = await host.read(path);
  if (text === undefined) found.push(noFile(path, "blockio_config_file"));
  else {
    try {
      const { parseBlockIoFile } = await import("../../drivers/classes/index.ts");
      await parseBlockIoFile(text, path);
    } catch (error) {
      found.push(unusable(error));
    }
  }
  const legacy = mounts.some(
    ({ fsType, superOptions }) => fsType === "cgroup" && superOptions.includes("blkio"),
  );
  const unified = mounts.find(({ fsType }) => fsType === "cgroup2")?.mountPoint ?? "";
  const controllers = wordsOf(await host.read(`${unified}/cgroup.controllers`));
  if (legacy || controllers.includes("io")) return found;
  return [
    ...found,
    kinds.report(
      "blockio-missing",
      "no cgroup controller blkio or io is available",
      "mount it, boot a kernel with CONFIG_BLK_CGROUP, or set runtime.ignore_blockio_not_enabled_errors",
    ),
  ];
}

async function examineRdt(
  { host }: DoctorContext,
  path: string,
  mounts: readonly MountEntry[],
): Promise<readonly Finding[]> {
  const text = await host.read(path);
  const mount = mounts.find(({ fsType }) => fsType === "resctrl");
  const missing = mount === undefined ? [noResctrl(await host.read("/proc/filesystems"))] : [];
  if (text === undefined) return [noFile(path, "rdt_config_file"), ...missing];
  const { checkRdtFile } = await import("../../drivers/classes/index.ts");
  const { unusable: broken, unsuited } = await checkRdtFile(text, path, mount, (file) =>
    host.read(file),
  );
  if (broken !== undefined) return [unusable(broken), ...missing];
  if (unsuited === undefined) return missing;
  return [kinds.report("rdt-unsuited", unsuited, `change "${path}"`), ...missing];
}

function noResctrl(filesystems: string | undefined): Finding {
  const isKnown = wordsOf(filesystems).includes("resctrl");
  return kinds.report(
    "rdt-missing",
    isKnown ? "resctrl is not mounted" : "the kernel or the processor has no resctrl",
    isKnown
      ? "mount -t resctrl resctrl /sys/fs/resctrl"
      : "unset runtime.rdt_config_file, or set runtime.ignore_rdt_not_enabled_errors",
  );
}

function noFile(path: string, key: string): Finding {
  return kinds.report(
    "file-unusable",
    `runtime.${key} is "${path}", which cannot be read`,
    `create "${path}", or unset runtime.${key}`,
  );
}

function unusable(error: unknown): Finding {
  return kinds.report("file-unusable", messageOf(error), "change the file; davit reads it again");
}
