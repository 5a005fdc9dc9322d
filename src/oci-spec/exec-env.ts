import { RuntimeError } from "../base/errors.ts";
import { textOfBytes } from "./byte-env.ts";
import { quoted } from "./refuse.ts";

/** A variable of a command, as the client has sent it. */
export interface ExecVariable {
  readonly key: string;
  readonly value: Uint8Array;
}

/**
 * What one command may have. An API server allows 256 variables with 32 KiB (KEP-6035) and adds its own; davit keeps
 * them until the client connects.
 */
const maxVariables = 512;
const maxBytes = 64 * 1024;

/**
 * The variables of one command as `KEY=value` lines, the last value of a key. They are literal: nothing in them is
 * expanded. `invalid-argument` for a key that is empty or has `=`, for a NUL, for a value that is not UTF-8, and for
 * more than a command may have. Errors contain no value.
 */
export function execEnv(containerId: string, envs: readonly ExecVariable[]): readonly string[] {
  const refuse = (why: string): never => {
    throw new RuntimeError("invalid-argument", `exec in container "${containerId}": envs: ${why}`);
  };
  if (envs.length > maxVariables) {
    refuse(`at most ${maxVariables} variables can be set, got ${envs.length}`);
  }
  let bytes = 0;
  const lines = new Map<string, string>();
  for (const { key, value } of envs) {
    if (key === "") refuse("a key is empty");
    if (/[=\0]/.test(key)) refuse(`a key cannot hold "=" or NUL, got ${quoted(key)}`);
    if (value.includes(0)) refuse(`the value of ${quoted(key)} holds a NUL`);
    const text = textOfBytes(value);
    if (!text.isWellFormed()) refuse(`the value of ${quoted(key)} is not UTF-8`);
    bytes += Buffer.byteLength(key) + value.length;
    if (bytes > maxBytes) refuse(`all together can have ${maxBytes} bytes; mount a file instead`);
    lines.set(key, `${key}=${text}`);
  }
  return [...lines.values()];
}
