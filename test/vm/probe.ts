/** Whether user-mode Linux runs on this processor. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import { writeProbe } from "./initramfs.ts";
import type { Kernel } from "./kernel.ts";

/**
 * Whether the kernel runs a program here. On some processors with AMX its first one is killed: "ptrace set fp regs
 * failed".
 */
export function runsHere({ image }: Kernel, cache: string): boolean {
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
  const { stdout } = spawnSync(image, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  return stdout.includes(word);
}
