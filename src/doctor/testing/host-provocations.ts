import { succeeded } from "./fixture-host.ts";
import { parseConfig } from "../../config/load.ts";
import { directory, host, nothing, root, type Provocation } from "./provoke.ts";

/** What causes each finding about CRIU and about the clock. */
export const hostProvocations: Readonly<Record<string, Provocation>> = {
  "checkpoints.ready": nothing,
  "checkpoints.criu-missing": host(({ programs }) => programs.delete("criu")),
  "checkpoints.criu-old": host(({ commands }) =>
    commands.set("criu --version", succeeded("Version: 3.17.1\n")),
  ),
  "checkpoints.criu-without-sockets": host((machine) => {
    machine.kernelRelease = "6.18.44";
    machine.commands.set("criu --version", succeeded("Version: 4.1.1\n"));
  }),
  "checkpoints.runtime-without-criu": host(({ commands }) =>
    commands.set("runc features", succeeded('{"linux":{"seccomp":{"enabled":true}}}')),
  ),
  "checkpoints.library-missing": host(({ fileInfos }) =>
    fileInfos.delete("/usr/lib64/libcriu.so.2"),
  ),

  "checkpoints.shim-without-restores": () => ({
    config: parseConfig(
      '[runtime.handlers.shim]\nruntime_type = "io.containerd.runc.v2"\noptions = { BinaryName = "crun" }\n',
      "davit.toml",
    ),
  }),

  "clock.fine": nothing,
  "clock.behind": host((machine) => (machine.timeMs = 0)),
  "clock.went-back": host(({ fileInfos, timeMs }) =>
    fileInfos.set(`${root}/davit.db`, { ...directory, kind: "file", modifiedMs: timeMs + 3e9 }),
  ),
  "clock.not-synchronized": host(({ programs, commands }) => {
    programs.add("timedatectl");
    commands.set("timedatectl show -p NTPSynchronized", succeeded("NTPSynchronized=no\n"));
  }),
};
