/**
 * Which kernel, integration and attack tests run in virtual machines. A new file belongs to one of two kinds:
 *
 * - cgroup v2 can change its result: add it to `changedByV2`, and every `npm run test:vm` runs it.
 * - It is the same with v1 and v2: run it once, with `npm run test:vm -- suites --tests FILE --record`, which writes its
 *   result to verdicts.json.
 *
 * suites.test.ts fails for a file of neither kind. `waiting` is for a file whose first run is to come.
 */
import { globSync } from "node:fs";
import type { Verdicts } from "./results.ts";

/** Files that depend on cgroups: limits, stats, kills, exec in a cgroup, the cgroups of pods. Parts of names. */
export const changedByV2: readonly string[] = [
  "src/linux/cgroup/",
  "src/drivers/stats/",
  "src/drivers/oci/exec/",
  "src/drivers/oci/oci-runtime",
  "src/drivers/oci/update",
  "src/drivers/oci/start-failures",
  "src/linux/process/process-ref",
  "test/integration/cli-pause",
  "test/integration/cli-why",
  "test/integration/container-exec",
  "test/integration/davit-exec",
  "test/integration/davit-usage",
  "test/integration/container-handler",
  "test/integration/container-metrics",
  "test/integration/container-pod",
  "test/integration/container-process",
  "test/integration/container-restart",
  "test/integration/container-stats",
  "test/integration/container-status",
  "test/integration/container-stop",
  "test/integration/container-update",
  "test/integration/container.test",
  "test/integration/pause",
  "test/integration/process-limits",
  "test/integration/resource-classes",
  "test/integration/sandbox-cgroup",
  "test/integration/shim-runtime",
  "test/integration/stop-container",
  "test/attacks/r01-",
  "test/attacks/r02-",
  "test/attacks/v01-",
  "test/attacks/v03-",
];

/**
 * What needs more than user-mode Linux has: CPU sets, pressure, huge pages, system calls of 32 bits, several processors,
 * forks that fail, processes with more memory than 65,530 mappings of the host (vm.max_map_count) hold.
 */
export const needsQemu: readonly string[] = [
  // Queueing disciplines and all of nftables.
  "src/drivers/cni/builtin/",
  "src/drivers/cni/cni-network",
  "src/drivers/egress/iptables-egress",
  "test/integration/egress",
  "test/support/leaks",
  "src/linux/cgroup/cgroup",
  "src/linux/cgroup/unified",
  "src/drivers/stats/host-stats",
  "src/drivers/oci/update",
  "test/integration/container-update",
  "test/integration/resource-classes",
  "test/integration/sandbox-cgroup",
  "test/attacks/f10-",
  "test/attacks/w16-",
  "test/attacks/p01-",
  "src/linux/process/confinement",
  "src/drivers/overlay/layer-verity",
  // CRIU asks the kernel about sockets, and locks connections by nftables.
  "src/drivers/oci/checkpoint/",
  "test/integration/checkpoint",
  "test/integration/crash-checkpoints",
  "test/integration/snapshots",
  "test/integration/sdk-examples",
  // user-mode Linux panics in it each time.
  "test/integration/pause.test",
];

/**
 * Of these, what also runs with the systemd driver, in the machine whose init is systemd. Stats do not: that kernel counts
 * processor time in steps of 10 ms, and systemd-metrics.vm.ts reads those of slices and scopes in qemu.
 */
export const withSystemd: readonly string[] = [
  "test/integration/container-exec",
  "test/integration/container-restart",
  "test/integration/container-status",
  "test/integration/container-stop",
  "test/integration/container.test",
  "test/integration/pause.test",
  "test/integration/stop-container",
];

/** Files that have not run on v2 yet; each run without `--tests` runs them. Remove what has a result. */
export const waiting: readonly string[] = [
  "src/drivers/oci/checkpoint/checkpoint.kernel.test.ts",
  "src/drivers/oci/checkpoint/rounds.kernel.test.ts",
  "test/integration/checkpoint.test.ts",
  "test/integration/checkpoint-locks.test.ts",
  "test/integration/checkpoint-pod.test.ts",
  "test/integration/checkpoint-users.test.ts",
  "test/integration/crash-checkpoints.test.ts",
  "test/integration/egress.test.ts",
  "test/integration/install.test.ts",
  "test/integration/sdk-examples.test.ts",
  "test/integration/snapshots.test.ts",
  "src/drivers/cni/builtin/bandwidth.kernel.test.ts",
  "src/drivers/cni/builtin/builtin-network.kernel.test.ts",
  "src/drivers/cni/builtin/differential.kernel.test.ts",
  "src/drivers/cni/builtin/host-ports.kernel.test.ts",
  "src/drivers/cni/builtin/lists.kernel.test.ts",
  "src/drivers/cni/builtin/rules.kernel.test.ts",
  "src/drivers/cni/cni-network.kernel.test.ts",
  "src/drivers/egress/iptables-egress.kernel.test.ts",
  "src/drivers/overlay/slow-sources.kernel.test.ts",
  "src/drivers/overlay/unpack-encrypted.kernel.test.ts",
  "src/drivers/overlay/unpack-limits.kernel.test.ts",
  "src/drivers/overlay/unpack.kernel.test.ts",
  "src/drivers/overlay/volumes.kernel.test.ts",
  "src/linux/process/monitor-clients.kernel.test.ts",
  "src/linux/process/monitor.kernel.test.ts",
  "src/stdio/monitor-log.kernel.test.ts",
  "src/drivers/records/records.kernel.test.ts",
  "src/drivers/registry/archive/hostile-archives.kernel.test.ts",
  "src/drivers/registry/node-credentials/programs.kernel.test.ts",
  "src/drivers/registry/redirects.kernel.test.ts",
  "src/drivers/shim/process/shim-binary.kernel.test.ts",
  "src/drivers/verification/policy-json/lookaside.kernel.test.ts",
  "src/drivers/verification/policy-json/signed-by.kernel.test.ts",
  "src/drivers/verification/sigstore/checker-process.kernel.test.ts",
  "src/linux/file/file-lock.kernel.test.ts",
  "src/linux/file/in-root.kernel.test.ts",
  "src/linux/file/read-files.kernel.test.ts",
  "src/linux/file/trees.kernel.test.ts",
  "src/linux/host/conntrack.kernel.test.ts",
  "src/linux/host/devices.kernel.test.ts",
  "src/linux/mount/mounts.kernel.test.ts",
  "src/linux/netlink/exchange.kernel.test.ts",
  "src/linux/netlink/route-lookup.kernel.test.ts",
  "src/linux/process/child.kernel.test.ts",
  "src/linux/process/confinement.kernel.test.ts",
  "src/linux/process/memory.kernel.test.ts",
  "src/linux/process/run.kernel.test.ts",
  "src/linux/process/sealed-program.kernel.test.ts",
  "src/linux/process/waiter.kernel.test.ts",
  "src/linux/stream/sockets.kernel.test.ts",
  "test/attacks/f10-layer-limits.test.ts",
  "test/attacks/w16-socketcall.test.ts",
  "test/integration/churn.test.ts",
  "test/integration/cli-first-hour.test.ts",
  "test/integration/cli-other-tools.test.ts",
  "test/integration/cli-objects.test.ts",
  "test/integration/cli-run-image.test.ts",
  "test/integration/cli-run-options.test.ts",
  "test/integration/sdk-containerd.test.ts",
  "test/integration/sdk-volumes.test.ts",
  "test/integration/cli-terminal.test.ts",
  "test/integration/cli.test.ts",
  "test/integration/crash-containers.test.ts",
  "test/integration/crash-images.test.ts",
  "test/integration/crash-logs.test.ts",
  "test/integration/crash-streaming.test.ts",
  "test/integration/crash.test.ts",
  "test/integration/daemon-log.test.ts",
  "test/integration/damage-disk.test.ts",
  "test/integration/damage-lost.test.ts",
  "test/integration/damage.test.ts",
  "test/integration/docs-commands.test.ts",
  "test/integration/docs-systemd.test.ts",
  "test/integration/doctor-daemon.test.ts",
  "test/integration/doctor-host.test.ts",
  "test/integration/doctor-network.test.ts",
  "test/integration/erofs.test.ts",
  "test/integration/events.test.ts",
  "test/integration/exec-many.test.ts",
  "test/integration/handler-features.test.ts",
  "test/integration/image-corpus.test.ts",
  "test/integration/image-layers.test.ts",
  "test/integration/image-policies.test.ts",
  "test/integration/image-pulls.test.ts",
  "test/integration/image-verification.test.ts",
  "test/integration/image.test.ts",
  "test/integration/load.test.ts",
  "test/integration/metrics-endpoint.test.ts",
  "test/integration/metrics-monitoring.test.ts",
  "test/integration/metrics.test.ts",
  "test/integration/node-credentials.test.ts",
  "test/integration/npm-start.test.ts",
  "test/integration/restart-records.test.ts",
  "test/integration/restart.test.ts",
  "test/integration/runtime.test.ts",
  "test/integration/sandbox-network.test.ts",
  "test/integration/sandbox-refusals.test.ts",
  "test/integration/sandbox-verbs.test.ts",
  "test/integration/sandbox.test.ts",
  "test/integration/serve.test.ts",
  "test/integration/shim-checkpoint.test.ts",
  "test/integration/shim-controller.test.ts",
  "test/integration/shim-crash-containers.test.ts",
  "test/integration/shim-crash.test.ts",
  "test/integration/shim-faults.test.ts",
  "test/integration/shim-pause.test.ts",
  "test/integration/shim-restore.test.ts",
  "test/integration/shim-sandboxer-answers.test.ts",
  "test/integration/shim-sandboxer.test.ts",
  "test/integration/shim-stopped.test.ts",
  "test/integration/shim-streaming.test.ts",
  "test/integration/status-bugs.test.ts",
  "test/integration/status.test.ts",
  "test/integration/stop-network.test.ts",
  "test/integration/stop-runtime.test.ts",
  "test/integration/stop-stuck.test.ts",
  "test/integration/streaming-attach.test.ts",
  "test/integration/streaming-port-forward.test.ts",
  "test/integration/ui-page.test.ts",
  "test/integration/ui-write.test.ts",
  "test/integration/ui.test.ts",
  "test/integration/writable-root.test.ts",
  "test/support/isolate.kernel.test.ts",
  "test/support/leaks.kernel.test.ts",
];

/** Remarks for the table of docs/vm-results.md, by the name of the run. */
export const remarks: Readonly<Record<string, string>> = {
  "src/linux/cgroup/cgroup.kernel.test.ts": "those that are skipped are for v1",
  "src/linux/cgroup/oom-watch.kernel.test.ts": "`oom_kill` of memory.events, by inotify",
  "src/drivers/overlay/layer-verity.kernel.test.ts": "fs-verity, on an ext4 in a file",
  "test/attacks/p01-own-programs.test.ts": "this kernel's Landlock limits signals, too",
  "test/attacks/q01-leave-project.test.ts": "with crun and runc",
  "test/attacks/r01-writable-cgroups.test.ts": "the skipped one is for nodes without nsdelegate",
  "test/attacks/r02-cgroup-options.test.ts":
    "without the bind, crun removed nsdelegate and memory_recursiveprot from the machine's cgroups",
  "test/attacks/w09-kernel-volumes.test.ts": "with crun and runc",
  "test/integration/nri-crash.test.ts": "kills the daemon at each call of a plugin",
  "test/integration/nri-sdk-containerd.test.ts": "on Debian's containerd 1.7.24",
  "test/integration/process-limits.test.ts": "the table of docs/security.md",
  "test/integration/resource-classes.test.ts": "io.max of a disk",
};

/** All kernel, integration and attack tests, without their variants. */
export function allFiles(): readonly string[] {
  const patterns = ["src/**/*.kernel.test.ts", "test/**/*.kernel.test.ts"];
  return globSync([...patterns, "test/integration/*.test.ts", "test/attacks/*.test.ts"]).sort();
}

/** What a run without `--all` and `--tests` runs: what v2 can change, and what has no result yet. */
export function filesByDefault(verdicts: Verdicts): readonly string[] {
  return allFiles().filter((file) => isOneOf(changedByV2, file) || verdicts[file] === undefined);
}

export function isOneOf(parts: readonly string[], file: string): boolean {
  return parts.some((part) => file.includes(part));
}
