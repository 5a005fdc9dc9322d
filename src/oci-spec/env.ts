import type { KeyValue } from "../gen/runtime/v1/api_pb.ts";
import { textOfBytes } from "./byte-env.ts";
import { quoted, refuse } from "./refuse.ts";

/** PATH of a process whose image and request have none. */
export const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What a container's environment is put together from. */
interface EnvSources {
  readonly terminal: boolean;
  readonly hostname: string;
  /** `KEY=value` lines of the image. */
  readonly image: readonly string[];
  readonly request: readonly KeyValue[];
}

/**
 * The environment of a container's process: our own variables (PATH, TERM with a terminal,
 * HOSTNAME), then the image's, then the request's. Each key occurs once, at its first position
 * with its last value. A line of the image without `=` takes the variable away.
 *
 * `invalid-argument` as of {@link configEnv}.
 */
export function containerEnv(sources: EnvSources): readonly string[] {
  const values = new Map<string, string>([["PATH", defaultPath]]);
  if (sources.terminal) values.set("TERM", "xterm");
  values.set("HOSTNAME", sources.hostname);
  for (const line of sources.image) {
    const equals = line.indexOf("=");
    if (equals < 0) values.delete(line);
    else if (equals > 0) values.set(line.slice(0, equals), line.slice(equals + 1));
  }
  for (const [key, value] of configEnv(sources.request)) values.set(key, value);
  return [...values].map(([key, value]) => `${key}=${value}`);
}

/**
 * The request's variables as text; a value that is not UTF-8 as {@link textOfBytes} has it.
 * `invalid-argument` for a key that is empty or has `=`, for a NUL anywhere (environ(7)), and for a value
 * that is not UTF-8 and longer than the environment program accepts.
 */
export function configEnv(envs: readonly KeyValue[]): readonly (readonly [string, string])[] {
  return envs.map(({ key, value }) => {
    if (key === "") refuse("envs: a key is empty");
    if (/[=\0]/.test(key)) refuse(`envs: a key cannot hold "=" or NUL, got ${quoted(key)}`);
    if (value.includes(0)) refuse(`envs: the value of ${quoted(key)} holds a NUL`);
    const text = textOfBytes(value);
    if (!text.isWellFormed()) checkRoom(key, value);
    return [key, text] as const;
  });
}

// MAX_ARG_STRLEN, include/uapi/linux/binfmts.h: what a line may have with its NUL.
const longestLine = 128 * 1024;

/** A value that is not UTF-8 is written as twice as many digits first. */
function checkRoom(key: string, value: Uint8Array): void {
  const most = Math.floor((longestLine - Buffer.byteLength(key) - 2) / 2);
  if (value.length <= most) return;
  refuse(
    `envs: the value of ${quoted(key)} is not UTF-8 and has ${value.length} bytes, at most ${most} can be given to a process; mount it as a file`,
  );
}
