import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";

import type { CaptureRequest, ContainerBundle } from "../../../core/container/index.ts";
import { findProgram } from "../../../linux/process/index.ts";
import { runtimeEnv } from "../runtime-command.ts";

const libcriu = ["x86_64", "aarch64"].map((arch) => `/usr/lib/${arch}-linux-gnu/libcriu.so.2`);

/** Why nothing can be captured here; false where it can. */
export const withoutCriu: string | false =
  findProgram("criu", runtimeEnv["PATH"] ?? "") === undefined
    ? "criu is not installed"
    : libcriu.some((file) => existsSync(file)) || existsSync("/usr/lib64/libcriu.so.2")
      ? false
      : "libcriu is not installed";

/**
 * Why processes with network sockets cannot be captured here; false where they can. Since Linux 6.16 a socket of IP has no
 * SO_PASSCRED, and CRIU before 4.2 fails at that.
 */
export const withoutSockets: string | false =
  withoutCriu === false && isAtLeast(release(), 6, 16) && !isAtLeast(criuVersion(), 4, 2)
    ? "CRIU is older than 4.2, and this kernel newer than 6.15"
    : withoutCriu;

function criuVersion(): string {
  const { stdout } = spawnSync("criu", ["--version"], { encoding: "utf8" });
  return /Version: (\S+)/.exec(stdout)?.[1] ?? "";
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [first = 0, second = 0] = version.split(".").map(Number);
  return first > major || (first === major && second >= minor);
}

/** A request to capture a container into new directories below `directory`. */
export function captureRequest(
  directory: string,
  options: Partial<Pick<CaptureRequest, "closeTcp" | "leaveRunning">> = {},
): CaptureRequest {
  const work = mkdtempSync(join(directory, "capture-"));
  const images = join(work, "checkpoint");
  mkdirSync(images, { mode: 0o700 });
  return { images, work, closeTcp: false, leaveRunning: true, ...options };
}

/** The bundle of a container that continues from what was captured. */
export function restoring(
  bundle: ContainerBundle,
  { images, closeTcp }: CaptureRequest,
  hostname = "restored",
): ContainerBundle {
  return { ...bundle, restore: { images, closeTcp, hostname } };
}
