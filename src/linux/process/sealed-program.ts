import { closeSync, readlinkSync, statSync } from "node:fs";

import { sealedCopy } from "./native.ts";
import { execPath, holderPath, monitorPath, waiterPath } from "./programs.ts";

interface Copy {
  /** Identity, size and times of the file when it was copied. */
  readonly version: string;
  readonly fd: number;
}

// A copy stays in memory for as long as this process runs, so larger programs are not copied.
const limitBytes = 4 * 1024 * 1024;
// A caller that got the path of the old copy has started it long before.
const oldCopyMs = 60_000;

/** The copy of the program that runs commands, once there is one. */
let execFile: string | undefined;

/** One map for the process, because descriptors belong to the process. */
const copies = new Map<string, Copy | undefined>();

/**
 * The path at which to start a program that must be protected from containers: a sealed copy of it
 * in memory, which no process can write to. The copy is used until the file changes.
 *
 * At each call, crun and runc copy themselves into a sealed memfd and start again from there, because a
 * container could open the program as /proc/PID/exe and overwrite it (CVE-2019-5736). They
 * skip that when they run from a memfd with the seals WRITE, GROW, SHRINK and SEAL already
 * (cloned_binary.c of both), which saves half of the time of a short command. A changed file is copied again.
 *
 * Returns `path` itself for a file that is not an ELF program (a script needs its own name) or is larger than 4 MiB,
 * and when a copy cannot be made. Never fails: starting a file that does not exist fails later.
 */
export function sealedProgram(path: string): string {
  const version = versionOf(path);
  if (version === undefined) return path;
  const known = copies.get(path);
  if (known?.version === version) return pathOf(known.fd);
  const fd = copyOf(path);
  if (known !== undefined) setTimeout(() => closeSync(known.fd), oldCopyMs).unref();
  copies.set(path, fd === undefined ? undefined : { version, fd });
  return fd === undefined ? path : pathOf(fd);
}

/**
 * The path at which to start the program that is PID 1 in a pod-wide PID namespace, see {@link holderPath}. It is a
 * sealed copy: a container that may trace processes can open /proc/1/exe, and could overwrite the file on the node
 * as soon as no process runs it any more.
 */
export function holderProgram(): string {
  return sealedProgram(holderPath());
}

/**
 * The path at which to start the program that waits for a command in a container, see {@link waiterPath}. A sealed
 * copy.
 */
export function waiterProgram(): string {
  return sealedProgram(waiterPath());
}

/** The path at which to start the monitor of a container, see {@link monitorPath}. A sealed copy. */
export function monitorProgram(): string {
  return sealedProgram(monitorPath());
}

/**
 * The path at which to start the program that runs a command in a container, see {@link execPath}. A sealed copy. The
 * first one is kept: the file of an upgrade belongs to the next daemon, and may read other arguments than this one writes.
 */
export function execProgramCopy(): string {
  if (execFile !== undefined) return execFile;
  const path = execPath();
  const copy = sealedProgram(path);
  if (copy !== path) execFile = copy;
  return copy;
}

function pathOf(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`;
}

function versionOf(path: string): string | undefined {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join();
  } catch {
    return undefined;
  }
}

function copyOf(path: string): number | undefined {
  let fd: number | undefined;
  try {
    fd = sealedCopy(path, limitBytes);
  } catch {
    return undefined; // no memory, or a kernel that does not execute memfds
  }
  if (fd === undefined) return undefined;
  try {
    // If /proc is that of another PID namespace, the path is that of another process.
    if (readlinkSync(pathOf(fd)).startsWith("/memfd:")) return fd;
  } catch {
    // /proc is not mounted.
  }
  closeSync(fd);
  return undefined;
}
