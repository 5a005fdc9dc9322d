import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { ContainerBundle } from "../../../core/container/index.ts";
import { specText } from "../../../oci-spec/index.ts";
import { run, spawnChildInPool } from "../../../linux/process/index.ts";
import { firstText } from "../../../linux/testing/leaks.ts";
import { StateLayout } from "../state-layout.ts";
import { programPath, runtimeEnv } from "../runtime-command.ts";

/**
 * Starts a container as davit did before conmon found its log by a link (decision 15): conmon is told the
 * log's own path. For what a later davit does with such a container.
 */
export async function startAsBefore(state: string, bundle: ContainerBundle): Promise<void> {
  const { id, logPath = "", cgroupPath } = bundle;
  const places = new StateLayout(state);
  const runtimePath = programPath(bundle.runtimePath);
  const root = places.runtimeRoot(runtimePath);
  mkdirSync(places.bundle(id), { mode: 0o700 });
  writeFileSync(places.file(id, "config.json"), specText(bundle.spec));
  writeFileSync(places.file(id, "facts.json"), JSON.stringify({ runtimePath, cgroupPath }));
  const child = await spawnChildInPool({
    file: programPath("conmon"),
    args: [
      ...["--sync", "--full-attach", "--no-sync-log", "--cid", id, "--cuuid", id],
      ...["--bundle", places.bundle(id), "--runtime", runtimePath, `--runtime-arg=--root=${root}`],
      ...["--container-pidfile", places.file(id, "pid"), "--exit-dir", places.exits],
      ...["--log-path", `k8s-file:${logPath}`],
    ],
    env: { ...runtimeEnv, _OCI_SYNCPIPE: "3" },
    cwd: places.bundle(id),
    newSession: true,
    stdout: "pipe",
    extraFds: ["stdout"],
  });
  await firstText(child.stdout);
  child.stdout?.destroy();
  child.unref();
  writeFileSync(join(places.bundle(id), "started"), String(BigInt(Date.now()) * 1_000_000n));
  const started = await run({
    file: runtimePath,
    args: ["--root", root, "start", id],
    env: runtimeEnv,
    timeoutMs: 10_000,
  });
  if (started.code !== 0) throw new Error(`crun start: ${started.stderr.toString()}`);
}
