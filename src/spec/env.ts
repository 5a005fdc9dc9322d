import type { KeyValue } from "../gen/runtime/v1/api_pb.ts";
import { quoted, refuse } from "./refuse.ts";

/** PATH of a process whose image and request give none. */
export const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What a container's environment is put together from. */
export interface EnvSources {
  readonly terminal: boolean;
  readonly hostname: string;
  /** `KEY=value` lines of the image. */
  readonly image: readonly string[];
  readonly request: readonly KeyValue[];
}

/**
 * The environment of a container's process: our own variables (PATH, TERM with a terminal,
 * HOSTNAME), then the image's, then the request's. Each key is there once, at its first place
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
 * The request's variables as text. The CRI gives values as bytes, but an OCI runtime reads them
 * from JSON, which is Unicode: a value that is not UTF-8 is `invalid-argument`, named by its key,
 * never a variable that quietly differs. So is a key that is empty or has `=`, and a NUL anywhere
 * (environ(7)).
 */
export function configEnv(envs: readonly KeyValue[]): readonly (readonly [string, string])[] {
  return envs.map(({ key, value }) => {
    if (key === "") refuse("envs: a key is empty");
    if (/[=\0]/.test(key)) refuse(`envs: a key cannot hold "=" or NUL, got ${quoted(key)}`);
    return [key, decoded(key, value)] as const;
  });
}

function decoded(key: string, value: Uint8Array): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value);
  } catch {
    refuse(`envs: the value of ${quoted(key)} is not UTF-8, and an OCI spec cannot hold it`);
  }
  if (text.includes("\0")) refuse(`envs: the value of ${quoted(key)} holds a NUL`);
  return text;
}
