import { builtFile } from "../addon.ts";

/**
 * The path of the program that is PID 1 in a pod-wide PID namespace (native/holder.c). It takes no
 * arguments and ends on SIGTERM. In its first moments only SIGKILL is certain to end it: the kernel
 * drops a signal that PID 1 neither handles nor has blocked yet.
 */
export function holderPath(): string {
  return builtFile("davit-holder");
}

/**
 * The path of the program that runs another program to its end and then waits for the process that this one left
 * behind (native/waiter.c). Its arguments are the path of the file with the pid of that process, or "-" to wait for
 * the program alone, then the program with its own arguments. It exits with the exit code of the process, 128 plus
 * the signal when a signal ended it, the program's own code when the program fails, 126 when the process does not
 * exist, and 127 when the program does not exist.
 */
export function waiterPath(): string {
  return builtFile("davit-waiter");
}

/**
 * The path of the program that runs an OCI runtime's `create`, holds the streams of the container, writes its log and
 * its exit code, and serves clients that attach (native/monitor.c). Its arguments are
 * `--cid ID --exit-dir DIR [--terminal] [--stdin | --stdin-once] [--log-max BYTES] -- RUNTIME ARG...`, its working
 * directory is the bundle, descriptor 0 is the log, and descriptor 1 gets the answer. Only SIGKILL ends it.
 */
export function monitorPath(): string {
  return builtFile("davit-monitor");
}

/**
 * The path of the program that runs a command with variables of any bytes (native/env.c). Its arguments are the
 * number of those variables, their names, and the command with its own arguments. It becomes the command. When it
 * cannot, it says why on stderr and exits with 127 if the command does not exist, else with 126.
 */
export function envProgramPath(): string {
  return builtFile("davit-env");
}

/**
 * The path of the program that runs a command in a container (native/exec.c). `execArguments` makes its arguments. It
 * exits like the waiter, or with `execDeclined`.
 */
export function execPath(): string {
  return builtFile("davit-exec");
}
