import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import type { ContainerBundle } from "../../../core/container/index.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import { spawnChild, SIGKILL } from "../../../linux/process/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import { runtimeEnv } from "../runtime-command.ts";

/** The namespaces of a pod whose containers share them. */
export interface SharedPod extends AsyncDisposable {
  /** The bundle of a container in this pod, with the node's /usr for perl. */
  bundle(bundle: ContainerBundle): ContainerBundle;
}

/** Makes a pod's PID, IPC, UTS and network namespaces. */
export async function sharedPod(): Promise<SharedPod> {
  const child = spawnChild({
    file: "unshare",
    args: ["-fpiun", "--kill-child", "sleep", "1000"],
    env: runtimeEnv,
  });
  const holder = (): string =>
    readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "latin1").trim();
  const runs = (): boolean =>
    holder() !== "" && readFileSync(`/proc/${holder()}/comm`, "latin1") === "sleep\n";
  await until("the pod's namespaces exist", runs);
  const namespaces = (["pid", "ipc", "uts", "network"] as const).map((type) => ({
    type,
    path: `/proc/${holder()}/ns/${type === "network" ? "net" : type}`,
  }));
  return {
    bundle: ({ spec, ...bundle }) => {
      for (const name of ["usr"]) mkdirSync(join(spec.root.path, name), { recursive: true });
      for (const name of ["lib", "lib64"]) link(`usr/${name}`, join(spec.root.path, name));
      const usr = { destination: "/usr", type: "bind", source: "/usr", options: ["rbind", "ro"] };
      const shared: OciSpec = {
        ...spec,
        mounts: [...spec.mounts, usr],
        linux: { ...spec.linux, namespaces: [{ type: "mount" }, ...namespaces] },
      };
      return { ...bundle, spec: shared };
    },
    [Symbol.asyncDispose]: async () => {
      process.kill(Number(holder()), SIGKILL);
      await child.exited;
    },
  };
}

function link(target: string, path: string): void {
  try {
    symlinkSync(target, path);
  } catch {
    // Another container has made it.
  }
}
