/** Whether user-mode Linux runs on this processor. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import { writeProbe } from "./initramfs.ts";
import { environmentOf, type Kernel } from "./kernel.ts";

/**
 * The kernel as it runs a program here; undefined if it cannot. On processors with AMX its first one is killed ("ptrace set
 * fp regs failed") unless it has the preload xstate.c, which needs a C compiler.
 */
export function runningHere(kernel: Kernel, cache: string): Kernel | undefined {
  if (runs(kernel, cache)) return kernel;
  const preload = path.join(cache, "xstate.so");
  const source = path.join(import.meta.dirname, "xstate.c");
  const { status } = spawnSync("cc", ["-O2", "-shared", "-fPIC", "-o", preload, source]);
  const other = { ...kernel, preload };
  return status === 0 && runs(other, cache) ? other : undefined;
}

function runs(kernel: Kernel, cache: string): boolean {
  const [file, word] = [path.join(cache, "probe.cpio"), "davit-vm:here"];
  writeProbe(file, word);
  const args = [
    "mem=128M",
    `initrd=${file}`,
    "con0=null",
    "con1=null,fd:1",
    "con=null",
    "panic=-1",
  ];
  const { stdout } = spawnSync(kernel.image, args, {
    encoding: "utf8",
    env: environmentOf(kernel),
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  return stdout.includes(word);
}
