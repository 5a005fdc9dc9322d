/** A virtual machine: qemu with software emulation, and the host's root as its root. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import type { Kernel } from "./kernel.ts";

interface MachineOptions {
  readonly kernel: Kernel;
  readonly initramfs: string;
  /** The files for the kernel's messages and for the output of the job. */
  readonly consoleLog: string;
  readonly outputLog: string;
  /** Words of the kernel's command line that init.sh and main.sh understand. */
  readonly words: readonly string[];
  /** An image that the machine sees as /dev/vda. */
  readonly disk?: string;
  /** The machine is killed then. */
  readonly timeoutMs: number;
  /** Called with each part of the job's output. */
  readonly onOutput?: (part: string) => void;
}

/** How a machine's run ended. */
export interface MachineEnd {
  /** The job's exit code; undefined if the machine ended before the job did. */
  readonly code: number | undefined;
  readonly timedOut: boolean;
  readonly output: string;
}

const memoryMiB = 3072;
const running = new Set<ChildProcess>();

/** Ends every machine that runs now. */
export function killMachines(): void {
  for (const machine of running) machine.kill("SIGKILL");
}

/** Boots a machine and resolves when it has turned itself off, was reset, or is killed at the deadline. */
export async function runMachine(options: MachineOptions): Promise<MachineEnd> {
  const log = createWriteStream(options.outputLog);
  // A machine uses all processors, so it gets a lower priority.
  const command = ["-n", "10", "qemu-system-x86_64", ...qemuArgs(options)];
  const machine = spawn("nice", command, { stdio: ["ignore", "pipe", "inherit"] });
  running.add(machine);
  let output = "";
  machine.stdout.setEncoding("utf8").on("data", (part: string) => {
    const text = part.replaceAll("\r", "");
    output += text;
    log.write(text);
    options.onOutput?.(text);
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    machine.kill("SIGKILL");
  }, options.timeoutMs);
  await once(machine, "close");
  clearTimeout(timer);
  running.delete(machine);
  log.end();
  const [, code] = /^davit-vm: exit (\d+)$/m.exec(output) ?? [];
  return { code: code === undefined ? undefined : Number(code), timedOut, output };
}

function qemuArgs(options: MachineOptions): readonly string[] {
  const { kernel, initramfs, consoleLog, disk } = options;
  const time = `davit.time=${Math.floor(Date.now() / 1000)}`;
  const words = [
    time,
    "console=ttyS0",
    "panic=-1",
    // On a busy host the emulated timer looks broken to the kernel, which then panics at the boot.
    "no_timer_check",
    "loglevel=4",
    ...options.words,
  ];
  return [
    ...["-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", `${memoryMiB}`],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-kernel", kernel.image, "-initrd", initramfs, "-append", words.join(" ")],
    ...["-serial", `file:${consoleLog}`],
    ...["-device", "virtio-serial-pci", "-chardev", "stdio,id=output,signal=off"],
    ...["-device", "virtconsole,chardev=output"],
    ...["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"],
    ...["-device", "virtio-rng-pci"],
    ...(disk === undefined ? [] : ["-drive", `file=${disk},format=raw,if=virtio,cache=unsafe`]),
  ];
}
