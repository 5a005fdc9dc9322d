/** A virtual machine, with the host's root as its root: user-mode Linux, or qemu. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  closeSync,
  constants,
  createWriteStream,
  openSync,
  readFileSync,
} from "node:fs";
import type { Readable } from "node:stream";
import { environmentOf, type Kernel } from "./kernel.ts";

interface MachineOptions {
  readonly kernel: Kernel;
  readonly initramfs: string;
  /** The files for the kernel's messages and for the output of the job. */
  readonly consoleLog: string;
  readonly outputLog: string;
  /** Words of the kernel's command line that init.sh and main.sh understand. */
  readonly words: readonly string[];
  /** An image that the machine sees as /dev/vda; in user-mode Linux as /dev/ubda. */
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
  /** True if the job reset the machine, or had its power cut. */
  readonly reset: boolean;
  readonly output: string;
}

const memoryMiB = 3072;
const running = new Set<ChildProcess>();

/** Ends every machine that runs now. */
export function killMachines(): void {
  for (const machine of running) kill(machine);
}

/** Boots a machine and resolves when it has turned itself off, was reset, or is killed at the deadline. */
export async function runMachine(options: MachineOptions): Promise<MachineEnd> {
  const log = createWriteStream(options.outputLog);
  const { isUserMode, image } = options.kernel;
  const console = openSync(options.consoleLog, "a");
  const [program, args] = isUserMode
    ? [image, userModeArgs(options)]
    : ["qemu-system-x86_64", qemuArgs(options)];
  // A machine uses all processors, so it gets a lower priority.
  const machine = spawn("nice", ["-n", "10", program, ...args], {
    // The job's output: descriptor 3 of user-mode Linux, stdout of qemu.
    stdio: isUserMode ? ["ignore", console, console, "pipe"] : ["ignore", "pipe", console],
    env: environmentOf(options.kernel),
    detached: true,
  });
  closeSync(console);
  running.add(machine);
  let output = "";
  const pipe = machine.stdio[isUserMode ? 3 : 1] as Readable;
  pipe.setEncoding("utf8").on("data", (part: string) => {
    const text = part.replaceAll("\r", "");
    output += text;
    log.write(text);
    options.onOutput?.(text);
    // A loss of power: the image has what the guest has written to its disk, and its page cache is gone.
    if (/^davit-vm: cut$/m.test(output)) kill(machine);
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    kill(machine);
  }, options.timeoutMs);
  await once(machine, "close");
  clearTimeout(timer);
  running.delete(machine);
  log.end();
  const [, code] = /^davit-vm: exit (\d+)$/m.exec(output) ?? [];
  const reset = /^davit-vm: (reset|cut)$/m.test(output);
  return { code: code === undefined ? undefined : Number(code), timedOut, reset, output };
}

/** Ends the machine with its processes: each process of user-mode Linux is one of the host. */
function kill({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** The kernel's command line. */
function words(options: MachineOptions): readonly string[] {
  return [
    `davit.time=${Math.floor(Date.now() / 1000)}`,
    "panic=-1",
    "loglevel=4",
    ...(options.kernel.isUserMode
      ? ["con0=null,fd:1", "con1=null,fd:3", "con=null"]
      : // On a busy host the emulated timer looks broken to the kernel, which then panics at the boot.
        ["console=ttyS0", "no_timer_check"]),
    ...options.words,
  ];
}

function userModeArgs(options: MachineOptions): readonly string[] {
  const disk = options.disk === undefined ? [] : [`ubd0=${options.disk}`];
  return [`mem=${memoryMiB}M`, `initrd=${options.initramfs}`, ...disk, ...words(options)];
}

function qemuArgs(options: MachineOptions): readonly string[] {
  const { kernel, initramfs, disk } = options;
  // All threads of the emulator, and room for what it has translated, which is much for Node.js.
  const processor = hasKvm()
    ? ["-accel", "kvm", "-cpu", "host"]
    : ["-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"];
  return [
    ...["-machine", "q35", ...processor, "-smp", "2", "-m", `${memoryMiB}`],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-kernel", kernel.image, "-initrd", initramfs, "-append", words(options).join(" ")],
    ...["-chardev", `file,id=console,append=on,path=${options.consoleLog}`],
    ...["-serial", "chardev:console", "-chardev", "stdio,id=output,signal=off"],
    ...["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=output"],
    ...["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"],
    ...["-device", "virtio-rng-pci"],
    ...(disk === undefined ? [] : ["-drive", `file=${disk},format=raw,if=virtio,cache=unsafe`]),
  ];
}

/** True where the processor has the extension that KVM needs for an unchanged kernel, and KVM can be used. */
function hasKvm(): boolean {
  if (!/^flags\s.*\b(vmx|svm)\b/m.test(readFileSync("/proc/cpuinfo", "utf8"))) return false;
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
