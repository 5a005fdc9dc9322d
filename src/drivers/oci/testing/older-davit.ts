import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { ContainerBundle } from "../../../core/container/index.ts";
import { specText } from "../../../oci-spec/index.ts";
import { run, spawnChildInPool } from "../../../linux/process/index.ts";
import { firstText } from "../../../linux/testing/leaks.ts";
import { StateLayout } from "../state-layout.ts";
import { programPath, runtimeEnv } from "../runtime-command.ts";

/**
 * Starts a container like a davit older than decision 15, which passed conmon the log's own path. For tests of how a
 * later davit handles such a container.
 */
export async function startAsOlderDavit(state: string, bundle: ContainerBundle): Promise<void> {
  const { id, logPath = "", cgroupPath } = bundle;
  const paths = new StateLayout(state);
  const runtimePath = programPath(bundle.runtimePath);
  const root = paths.runtimeRoot(runtimePath);
  mkdirSync(paths.bundle(id), { mode: 0o700 });
  writeFileSync(paths.file(id, "config.json"), specText(bundle.spec));
  writeFileSync(paths.file(id, "facts.json"), JSON.stringify({ runtimePath, cgroupPath }));
  const child = await spawnChildInPool({
    file: programPath("conmon"),
    args: [
      ...["--sync", "--full-attach", "--no-sync-log", "--cid", id, "--cuuid", id],
      ...["--bundle", paths.bundle(id), "--runtime", runtimePath, `--runtime-arg=--root=${root}`],
      ...["--container-pidfile", paths.file(id, "pid"), "--exit-dir", paths.exits],
      ...["--log-path", `k8s-file:${logPath}`],
    ],
    env: { ...runtimeEnv, _OCI_SYNCPIPE: "3" },
    cwd: paths.bundle(id),
    newSession: true,
    stdout: "pipe",
    extraFds: ["stdout"],
  });
  await firstText(child.stdout);
  child.stdout?.destroy();
  child.unref();
  writeFileSync(join(paths.bundle(id), "started"), String(BigInt(Date.now()) * 1_000_000n));
  const started = await run({
    file: runtimePath,
    args: ["--root", root, "start", id],
    env: runtimeEnv,
    timeoutMs: 10_000,
  });
  if (started.code !== 0) throw new Error(`crun start: ${started.stderr.toString()}`);
}
